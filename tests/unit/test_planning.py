"""Estimates against arithmetic done by hand on a small invented pilot."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from iliopsoas import cli, config, files
from iliopsoas.reporting import planning
from iliopsoas.status import InputError

IMAGE_STAGES = ("dixon", "landmarks", "crops", "segment", "volumes")
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def settings(**sections) -> dict:
    base = {
        "releases": [
            {"name": "r", "zips": "zips", "phenotypes": ["p.csv"], "annotations": "masks"}
        ],
        "cohort": {"size": "everyone", "shard_size": 5},
        "training": {"folds": 2, "epochs": 10, "samples_per_muscle": 4},
    }
    return config.load(base | sections).model_dump(mode="json")


def benchmark(results, name, seconds, cpu_s, memory_mb):
    path = results / "benchmarks" / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{memory_mb}\t1\t1\t1\t0\t0\t50\t{cpu_s}\n")


@pytest.fixture
def results(tmp_path):
    """Ten scans in two shards; each image stage took 100 CPU-seconds in either, in 60 s."""
    results = tmp_path / "results"
    people = [(str(1000000 + i), "2", f"r-000{1 + i // 5}") for i in range(10)]
    sample = pd.DataFrame(people, columns=["eid", "instance", "shard"])
    files.write_tsv(results / "cohort/sample.tsv", sample)
    for shard, rows in sample.groupby("shard"):
        for stage in IMAGE_STAGES:
            benchmark(results, f"{stage}/{shard}", 60, 100, 1024)
            files.write_tsv(
                results / f"shards/{shard}/{stage}.tsv",
                rows[files.KEY].assign(verdict="ok", seconds=2.0),
            )
    for model in ("fold-1", "fold-2", "final"):
        benchmark(results, f"train/{model}", 120, 240, 2048)
    for fold in ("fold-1", "fold-2"):
        benchmark(results, f"validate/{fold}", 30, 36, 512)
        benchmark(results, f"quality_rows/{fold}", 30, 36, 512)
    for stage in ("cohort", "qc", "statistics", "figures"):
        benchmark(results, stage, 36, 36, 256)
    annotated = sample.iloc[:4][files.KEY]
    files.write_tsv(results / "model/final/participants.tsv", annotated)
    for eid, instance, _ in people:
        folder = files.subject_folder(results, eid, instance)
        folder.mkdir(parents=True)
        for name in ("water.nii.gz", "iliopsoas.nii.gz"):
            (folder / name).write_bytes(b"x" * 4096)
    files.write_json(results / "run.json", {"configuration": settings()})
    return results


def by_stage(table) -> pd.DataFrame:
    return table.set_index("stage")


def test_image_stages_grow_with_scans(results):
    table = by_stage(planning.estimate(planning.read_pilot(results), settings(), scans=1000))
    # 2 shards x 100 CPU-seconds for 10 scans: 20 s a scan, 20,000 s for 1,000
    for stage in IMAGE_STAGES:
        assert table.loc[stage, "cpu_hours"] == pytest.approx(20_000 / 3600)
        assert table.loc[stage, "jobs"] == 200
        assert table.loc[stage, "memory_gb"] == pytest.approx(1)
    # 2 x 60 s of a GPU for 10 scans
    assert table.loc["segment", "gpu_hours"] == pytest.approx(12_000 / 3600)
    assert table.loc[["dixon", "landmarks", "crops", "volumes"], "gpu_hours"].isna().all()


def test_training_grows_with_samples_and_epochs_not_with_scans(results):
    pilot = planning.read_pilot(results)
    larger = settings(training={"folds": 6, "epochs": 100, "samples_per_muscle": 16})
    table = by_stage(planning.estimate(pilot, larger, scans=1000, annotated=90))
    # pilot: people of all models 4 x (2 - 1) + 4 = 8, x 4 samples x 10 epochs = 320 in 3 x 240 s
    # larger: 90 x 5 + 90 = 540, x 16 x 100 = 864,000
    assert table.loc["train", "cpu_hours"] == pytest.approx(720 * 864_000 / 320 / 3600)
    assert table.loc["train", "gpu_hours"] == pytest.approx(360 * 864_000 / 320 / 3600)
    assert table.loc["train", "jobs"] == 7
    # each annotated scan is predicted once: 2 x 36 s for 4, so 18 s each
    assert table.loc["validate", "cpu_hours"] == pytest.approx(90 * 18 / 3600)


def test_a_resumed_job_counts_what_was_done_before(results):
    benchmark(results, "dixon/r-0001", 1, 1, 100)  # nothing was left to do
    table = by_stage(planning.estimate(planning.read_pilot(results), settings(), scans=10))
    # its ledger: 5 participants x 2 s; the other shard's benchmark: 100 s
    assert table.loc["dixon", "cpu_hours"] == pytest.approx(110 / 3600)


def test_disk_and_files(results):
    pilot = planning.read_pilot(results)
    assert (pilot.image_files, pilot.image_bytes) == (10, 10 * 4096)
    assert (pilot.subject_files, pilot.subject_bytes) == (10, 10 * 4096)
    table = by_stage(planning.estimate(pilot, settings(), scans=1000))
    blocks = sum(path.stat().st_blocks * 512 for path in (results / "shards").rglob("*.tsv"))
    blocks += sum(
        path.stat().st_blocks * 512
        for stage in IMAGE_STAGES
        for path in (results / "benchmarks" / stage).glob("*.tsv")
    )
    fixed = [
        *(results / "cohort").glob("*"),
        *(results / "model").rglob("*.tsv"),
        results / "run.json",
        *(results / "benchmarks").glob("*.tsv"),
        *(results / "benchmarks/train").glob("*"),
        *(results / "benchmarks/validate").glob("*"),
        *(results / "benchmarks/quality_rows").glob("*"),
    ]
    expected = 100 * (20 * 4096 + blocks) + sum(path.stat().st_blocks * 512 for path in fixed)
    assert table.loc["results on disk", "disk_gb"] == pytest.approx(expected / 1e9)
    # 2 files a scan; 5 ledgers and 5 benchmarks a shard
    assert table.loc["results on disk", "files"] == 2000 + 200 * 10 + len(fixed)


def test_the_sum_is_the_sum(results):
    table = planning.estimate(planning.read_pilot(results), settings(), scans=500)
    total = table.iloc[-1]
    assert total["stage"] == "all"
    for column in ("cpu_hours", "gpu_hours", "disk_gb", "files", "jobs"):
        assert total[column] == pytest.approx(table[column].iloc[:-1].sum())
    assert total["memory_gb"] == pytest.approx(2)


def test_weights_of_your_own_need_no_training(results):
    ready = settings(segmentation={"weights": "model.h5"})
    table = by_stage(planning.estimate(planning.read_pilot(results), ready, scans=10))
    assert "train" not in table.index


def test_a_second_opinion_is_planned_from_a_pilot_that_had_one(results):
    asked = settings(qc={"second_opinion": True})
    table = by_stage(planning.estimate(planning.read_pilot(results), asked, scans=1000))
    assert pd.isna(table.loc["opinion", "gpu_hours"])
    assert "no second opinion" in table.loc["opinion", "note"]
    for shard in ("r-0001", "r-0002"):
        benchmark(results, f"opinion/{shard}", 20, 30, 512)
    files.write_json(results / "run.json", {"configuration": asked})
    table = by_stage(planning.estimate(planning.read_pilot(results), asked, scans=1000))
    assert table.loc["opinion", "cpu_hours"] == pytest.approx(2 * 30 * 100 / 3600)
    assert table.loc["opinion", "gpu_hours"] == pytest.approx(2 * 20 * 100 / 3600)


def test_another_network_is_unknown_and_never_free(results):
    other = settings(crops={"coarsen": 3})
    table = by_stage(planning.estimate(planning.read_pilot(results), other, scans=10))
    for stage in ("segment", "train", "validate"):
        assert pd.isna(table.loc[stage, "gpu_hours"])
        assert "crops.coarsen 1, not 3" in table.loc[stage, "note"]
    assert "segment" in table.loc["all", "note"]
    assert table.loc["dixon", "cpu_hours"] > 0


def test_hours_and_price_of_a_machine(results):
    table = planning.estimate(planning.read_pilot(results), settings(), scans=1000)
    # by hand: image stages 5 x 20,000 s; three trainings 3 x 240 s for 4 people x 4 samples x 10
    # epochs, as in the pilot; validation and quality 4 x 36 s; four tables 4 x 36 s
    cpu_s = 5 * 20_000 + 720 + 144 + 144
    # of these for a GPU: segmentation 12,000 s, training 360 s, the others 4 x 30 s
    gpu_s = 12_000 + 360 + 120
    no_gpu = planning.Machine(cores=10, core_hour=0.5)
    assert no_gpu.hours(table) == pytest.approx(cpu_s / 3600 / 10)
    assert no_gpu.cost(table) == pytest.approx(cpu_s / 3600 * 0.5)
    cpu_beside = 4 * 20_000 + 144
    many = planning.Machine(cores=1000, gpus=2, core_hour=0.5, gpu_hour=3)
    assert many.hours(table) == pytest.approx(gpu_s / 3600 / 2)
    assert many.cost(table) == pytest.approx((cpu_beside * 0.5 + gpu_s * 3) / 3600)
    few = planning.Machine(cores=2, gpus=2, core_hour=0.5)
    assert few.hours(table) == pytest.approx(cpu_beside / 3600 / 2)
    assert few.cost(table) is None  # what a GPU costs is not known


def test_the_error_is_students_t_of_the_shards(results):
    # shard 1: 5 x 100 s for 5 scans; shard 2: 100 s more
    benchmark(results, "dixon/r-0002", 60, 200, 1024)
    found = planning.uncertainty(planning.read_pilot(results))
    # rates 100 and 120: mean 110, standard error 10, t(0.975, 1) = 12.706
    assert found == pytest.approx(12.706 * 10 / 110, rel=1e-4)


def test_one_shard_cannot_tell_its_error(results):
    sample = files.read_tsv(results / "cohort/sample.tsv")
    files.write_tsv(results / "cohort/sample.tsv", sample.assign(shard="r-0001"))
    assert planning.uncertainty(planning.read_pilot(results)) is None


def test_without_a_pilot_it_refuses_and_says_what_to_do(tmp_path, results, capsys):
    with pytest.raises(InputError, match="run a small cohort"):
        planning.read_pilot(tmp_path / "nothing")
    (results / "run.json").unlink()
    with pytest.raises(InputError, match=r"no run\.json"):
        planning.read_pilot(results)
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(settings()))
    assert cli.main(["plan", str(path), "--pilot", str(tmp_path / "nothing")]) == 3
    assert "no benchmark of crops, dixon" in capsys.readouterr().err


def test_command_counts_the_zips(tmp_path, results):
    zips = tmp_path / "two words" / "10"
    zips.mkdir(parents=True)
    for index in range(30):
        (zips / f"{1000000 + index}_20201_2_0.zip").touch()
    path = tmp_path / "config.yaml"
    release = {"name": "r", "zips": str(zips.parent), "phenotypes": ["p.csv"]}
    path.write_text(json.dumps(settings(releases=[release])))
    answer = subprocess.run(
        [
            *(sys.executable, "-c", "import sys; from iliopsoas.cli import main; sys.exit(main())"),
            *("plan", str(path), "--pilot", str(results), "--json"),
        ],
        text=True,
        capture_output=True,
        check=True,
    )
    content = json.loads(answer.stdout)
    assert (content["scans"], content["pilot_scans"]) == (30, 10)
    assert content["relative_error"] == 0  # both shards cost the same
    assert content["cost"] is None
    dixon = next(row for row in content["stages"] if row["stage"] == "dixon")
    assert dixon["cpu_hours"] == pytest.approx(600 / 3600)
    assert dixon["gpu_hours"] is None
