"""Withdrawn participants are forgotten; others who are not there today are not."""

import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.crops import CROP_SHAPE, CropReader, Crops, CropWriter
from iliopsoas.reporting.summary import page, withdrawn_from_models
from iliopsoas.sampling import record as records
from iliopsoas.stages import snapshots as releases
from iliopsoas.stages.cohort import forget


def fill(results, eids, shard):
    for eid in eids:
        files.write_text(files.subject_folder(results, eid, "2") / "dixon.json", "{}")
    table = pd.DataFrame({"eid": eids, "instance": "2"})
    files.write_tsv(results / "shards" / shard / "manifest.tsv", table)


def test_only_the_withdrawn_are_removed_and_the_record_names_nobody(tmp_path):
    fill(tmp_path, ["1000001", "1000002"], "r-0000")
    fill(tmp_path, ["1000003"], "r-0001")
    for model, eids in (("final", ["1000001", "1000002"]), ("fold-1", ["1000002"])):
        table = pd.DataFrame({"eid": eids, "instance": "2"})
        files.write_tsv(tmp_path / "model" / model / "participants.tsv", table)
    forget(tmp_path, {"1000001", "1000003"})
    assert [path.name for path in tmp_path.glob("subjects/*/*")] == ["1000002_2"]
    assert [path.name for path in tmp_path.glob("shards/*")] == ["r-0000"]
    record = (tmp_path / "cohort/removed.tsv").read_text()
    assert "100000" not in record
    (row,) = files.read_tsv(tmp_path / "cohort/removed.tsv").drop(columns="date").to_dict("records")
    assert row == {
        "reason": "in a withdrawal file",
        "scans_removed": 2,
        "images_removed": 0,
        "rows_removed": 2,
        "models_trained_on_them": "final",
    }
    assert forget(tmp_path, {"1000001", "1000003"}).empty, "nothing is left to remove"


def test_a_model_says_that_it_holds_withdrawn_participants(tmp_path):
    people = pd.DataFrame({"eid": ["1000001", "1000002", "1000003"], "instance": "2"})
    files.write_tsv(tmp_path / "model/final/participants.tsv", people)
    files.write_text(tmp_path / "model/learning_rate_sweep/0.1/model.h5", "weights")
    files.write_text(tmp_path / "model/fold-1/examples.npz", "slices")
    forget(tmp_path, {"1000001"})
    forget(tmp_path, {"1000001", "1000003"})
    assert withdrawn_from_models(tmp_path) == {"final": 2}
    assert not (tmp_path / "model/learning_rate_sweep").exists()
    assert not (tmp_path / "model/fold-1/examples.npz").exists()
    empty = pd.DataFrame({"eid": [], "status": [], "stopped_at": [], "flag": []})
    text = page(empty, empty, empty, empty, withdrawn=withdrawn_from_models(tmp_path))
    assert "The model final was trained on participants who have withdrawn since (2)" in text


def test_a_stopped_training_goes_only_with_those_it_may_hold(tmp_path):
    folds = pd.DataFrame({"eid": ["1000001", "1000002"], "instance": "2", "fold": [1, 2]})
    files.write_tsv(tmp_path / "model/folds.tsv", folds)
    fill(tmp_path, ["1000001", "1000002", "1000003"], "r-0000")
    stopped = [tmp_path / "model/final" / name for name in ("checkpoint.h5", "best.h5")]
    for path in stopped:
        files.write_text(path, "weights")
    forget(tmp_path, {"1000003"})
    assert all(path.exists() for path in stopped), "an image nobody drew on trains nothing"
    forget(tmp_path, {"1000001"})
    assert not any(path.exists() for path in stopped)


def test_exported_images_tables_and_litter_go_at_once(tmp_path):
    gone, stays = "1000001", "1000002"
    people = pd.DataFrame({"eid": [gone, stays], "instance": "2", "sex": ["female", "male"]})
    for name in ("annotation/participants.tsv", "model/cross_validation.tsv", "qc/drawn.tsv"):
        files.write_tsv(tmp_path / name, people)
    for eid in (gone, stays):
        files.write_text(tmp_path / f"annotation/{eid}_2_water.nii.gz", "image")
    files.write_text(tmp_path / "shards/r-0000/.partial-abc.h5", gone)
    files.write_text(tmp_path / "statistics/table1.tsv", "sex\tn\nfemale\t5\n")
    before = (tmp_path / "statistics/table1.tsv").stat().st_mtime_ns
    (row,) = forget(tmp_path, {gone}).to_dict("records")
    assert (row["images_removed"], row["rows_removed"]) == (1, 3)
    traces = [p for p in tmp_path.rglob("*") if p.is_file() and gone in p.read_text() + p.name]
    assert traces == []
    assert (tmp_path / f"annotation/{stays}_2_water.nii.gz").exists()
    assert files.read_tsv(tmp_path / "qc/drawn.tsv")["eid"].tolist() == [stays]
    assert (tmp_path / "statistics/table1.tsv").stat().st_mtime_ns == before


def test_frozen_releases_lose_the_rows_and_stay_sound(tmp_path):
    volumes = pd.DataFrame({"eid": ["1000001", "1000002"], "instance": "2", "total_ml": [1.0, 2.0]})
    files.write_tsv(tmp_path / "volumes.tsv", volumes)
    files.write_tsv(tmp_path / "statistics/table2.tsv", pd.DataFrame({"n": [2]}))
    files.write_json(tmp_path / "run.json", {})
    releases.freeze(tmp_path, "first")
    forget(tmp_path, {"1000001"})
    kept = files.read_tsv(tmp_path / "frozen/first/volumes.tsv")
    assert kept["eid"].tolist() == ["1000002"]
    manifest = releases.verify(tmp_path, "first").set_index("file")
    assert manifest.loc["volumes.tsv", "note"] == "rows removed after withdrawals"
    assert (tmp_path / "frozen/first/volumes.tsv").stat().st_mode & 0o222 == 0


def test_nothing_to_forget_leaves_no_record(tmp_path):
    fill(tmp_path, ["1000001"], "r-0000")
    assert forget(tmp_path, {"2000000"}).empty
    assert not (tmp_path / "cohort").exists()


def test_ledgers_journals_and_crops_lose_their_rows_at_once(tmp_path):
    gone, stays = "1000001", "1000002"
    shard = tmp_path / "shards/r-0001"
    people = pd.DataFrame({"eid": [gone, stays], "instance": "2", "verdict": "ok"})
    files.write_tsv(shard / "dixon.tsv", people)
    files.write_text(
        shard / "landmarks.unfinished.jsonl",
        f'{{"eid": "{gone}", "verdict": "ok"}}\n{{"eid": "{stays}", "seconds": 1.{gone}0}}\n'
        f'{{"eid": "{gone}", "verd',
    )
    rng = np.random.default_rng(0)
    crops = {eid: crop_of(rng, labelled=eid == stays) for eid in (gone, stays)}
    with CropWriter(shard / "crops.h5") as writer:
        for eid, cut in crops.items():
            writer.add(f"{eid}_2", cut)
    untouched = tmp_path / "shards/r-0002/crops.h5"
    with CropWriter(untouched) as writer:
        writer.add(f"{stays}_3", crops[stays])
    at = untouched.stat().st_mtime_ns
    forget(tmp_path, {gone})
    assert files.read_tsv(shard / "dixon.tsv")["eid"].tolist() == [stays]
    (line,) = (shard / "landmarks.unfinished.jsonl").read_text().splitlines()
    assert stays in line
    with CropReader(shard / "crops.h5") as reader:
        assert reader.subjects == [f"{stays}_2"]
        for side in ("left", "right"):
            np.testing.assert_array_equal(
                reader.read_raw(f"{stays}_2", side), crops[stays].raw[side]
            )
            np.testing.assert_array_equal(
                reader.read_label(f"{stays}_2", side), crops[stays].label[side]
            )
            assert reader.origin(f"{stays}_2", side) == crops[stays].origin[side]
    assert gone.encode() not in (shard / "crops.h5").read_bytes()
    assert untouched.stat().st_mtime_ns == at


def crop_of(rng, labelled):
    def both(make):
        return {side: make() for side in ("left", "right")}

    return Crops(
        raw=both(lambda: rng.integers(0, 900, CROP_SHAPE, dtype=np.int16)),
        divisor=both(lambda: float(rng.integers(500, 900))),
        origin=both(lambda: tuple(rng.integers(0, 90, 3).tolist())),
        label=both(lambda: rng.integers(0, 2, CROP_SHAPE, dtype=np.uint8)) if labelled else None,
    )


def test_whatever_is_named_after_them_goes_but_not_what_the_user_gave(tmp_path):
    gone = "1000001"
    ours = ["annotation/1000001-2-Left.nrrd", "qc/review/1000001_2.png", "bids/sub-1000001/a.json"]
    theirs = ["zips/10/1000001_20201_2_0.zip", "masks/1000001_2.nii.gz", "other/21000001_2.png"]
    for name in (*ours, *theirs):
        files.write_text(tmp_path / name, "x")
    table = pd.DataFrame({"eid": [gone, "1000002"], "31-0.0": 1})
    files.write_tsv(tmp_path / "table.tsv", table)
    forget(tmp_path, {gone}, spare=[tmp_path / n for n in ("zips", "masks", "table.tsv")])
    assert [name for name in ours if (tmp_path / name).exists()] == []
    assert [name for name in theirs if not (tmp_path / name).exists()] == []
    assert gone in (tmp_path / "table.tsv").read_text()


def test_a_shard_of_nobody_else_goes_by_the_record_too(tmp_path):
    record = pd.DataFrame(
        {"eid": ["1000001", "1000002"], "instance": "2", "shard": ["r-0001", "r-0002"]}
    )
    record = record.assign(**dict.fromkeys(set(records.COLUMNS) - set(record), "1"))
    files.write_tsv(tmp_path / records.RECORD, record[records.COLUMNS])
    for shard in ("r-0001", "r-0002"):
        files.write_text(tmp_path / "shards" / shard / "crops.tsv", "")
    forget(tmp_path, {"1000001"})
    assert [path.name for path in tmp_path.glob("shards/*")] == ["r-0002"]
    assert records.read(tmp_path)["eid"].tolist() == ["1000002"]
