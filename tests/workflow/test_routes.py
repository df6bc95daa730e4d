"""The routes that users take, with the real scripts: to report.zip, and then nothing to do."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from iliopsoas import files

pytestmark = pytest.mark.slow
NOTHING = "Nothing to be done"


def volumes(workflow) -> pd.DataFrame:
    return files.read_tsv(workflow.results / "volumes.tsv")


def to_its_end(workflow) -> pd.DataFrame:
    """Run; the report is of this run, and a second call has nothing to do."""
    report = workflow.results / "report.zip"
    before = report.stat().st_mtime_ns if report.exists() else 0
    workflow.run()
    assert report.stat().st_mtime_ns > before
    assert NOTHING in workflow.run()
    table = volumes(workflow)
    assert table["status"].notna().all()
    return table


def own_weights(workflow) -> str:
    """The run's own network in the place of weights from elsewhere."""
    path = workflow.folder / "elsewhere.h5"
    shutil.copy(workflow.results / "model/fold-1/model.h5", path)
    workflow.settings["segmentation"] = {"weights": "elsewhere.h5"}
    return files.sha256(path)


@pytest.mark.parametrize("annotated", [True, False])
def test_weights_from_elsewhere_with_annotations_and_without(route, annotated):
    before = volumes(route)
    sha256 = own_weights(route)
    if not annotated:
        route.settings["releases"][0]["annotations"] = None
    after = to_its_end(route)
    measured = after[after["status"] == "ok"]
    assert len(measured) == (before["status"] == "ok").sum()
    assert set(measured["weights_sha256"]) == {sha256}
    assert set(before["weights_sha256"].dropna()).isdisjoint({sha256})
    # another file under the same name is noticed by the next call, at once
    shutil.copy(route.results / "model/fold-2/model.h5", route.folder / "elsewhere.h5")
    again = to_its_end(route)
    assert set(again["weights_sha256"].dropna()) == {files.sha256(route.folder / "elsewhere.h5")}


def test_an_ensemble_of_the_fold_models(route):
    route.settings["segmentation"] = {"ensemble": True}
    table = to_its_end(route)
    found = table["weights_sha256"].dropna().str.split(",")
    assert set(found.str.len()) == {2}


def test_first_visits_alone_after_both(route):
    route.settings["cohort"]["instances"] = [2]
    assert set(to_its_end(route)["instance"]) == {"2"}


def test_masks_of_another_tool(route):
    route.settings["other_methods"] = [{"name": "truth", "folder": "phantom/truth"}]
    to_its_end(route)
    truth = files.read_tsv(route.folder / "phantom/truth.tsv").set_index(files.KEY)
    other = files.read_tsv(route.results / "other/truth/volumes.tsv").set_index(files.KEY)
    measured = other[other["status"] == "ok"]
    pd.testing.assert_series_equal(
        measured["left_ml"], truth.loc[measured.index, "left_ml"], rtol=1e-6
    )


# draws a box on either side of the body, whoever it is, and fails on the second of a folder
BOXES = """
import pathlib, sys, nibabel, numpy
for path in sorted(pathlib.Path(sys.argv[1]).iterdir())[:1]:
    image = nibabel.load(path)
    labels = numpy.zeros(image.shape, "uint8")
    labels[150:170, 80:100, 140:200], labels[54:74, 80:100, 140:200] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), pathlib.Path(sys.argv[2], path.name))
sys.exit("no memory left")
"""


def test_masks_that_a_tools_command_draws_here_and_exports(route):
    (route.folder / "boxes.py").write_text(BOXES)
    command = f"'{sys.executable}' '{route.folder}/boxes.py' {{inputs}} {{outputs}}"
    route.settings["dixon"] = route.settings["dixon"] | {"contrasts": ["in_phase"]}
    route.settings["run"] = {"max_failed_share": 0.5, "max_machine_failures": 1}
    route.settings["other_methods"] = [
        {"name": "truth", "folder": "phantom/truth"},
        {"name": "boxes", "folder": "results/boxes", "command": command, "contrast": "in_phase"},
    ]
    before = route.modified("subjects/*/*/iliopsoas.nii.gz")
    measured = to_its_end(route).query("status == 'ok'")
    assert route.modified("subjects/*/*/iliopsoas.nii.gz") == before
    assert len(list(route.results.glob("subjects/*/*/in_phase.nii.gz"))) >= len(measured)
    drawn = files.read_tsv(route.results / "other/boxes/volumes.tsv")
    shards = len(list(route.results.glob("shards/*/tool/boxes.tsv")))
    counts = drawn["status"].value_counts()
    assert counts["ok"] == shards == 2
    assert counts["tool_failed"] == len(measured) - shards
    overlap = files.read_tsv(route.results / "statistics/method_overlap.tsv")
    assert len(overlap) == 3 * 2
    assert set(overlap.query("method_b == 'truth'")["n"]) <= {len(measured), len(measured) - 1}
    raised = files.read_tsv(route.results / "qc/summary.tsv").set_index("flag")["evaluated"]
    assert raised["methods_disagree"] == len(measured)
    route.run("export_bids", "export_phenotypes")
    exported = route.results / "individual_level"
    masks = list(exported.glob("bids/sub-*/ses-*/anat/*_seg-iliopsoas_dseg.nii.gz"))
    assert len(masks) == len(measured)
    assert len(list(exported.glob("bids/sub-*/ses-*/anat/*_seg-boxes_dseg.nii.gz"))) == shards
    names = {path.name[4:].split("_")[0] for path in masks}
    assert names.isdisjoint(measured["eid"])
    phenotypes = pd.read_csv(exported / "phenotypes/regenie.txt", sep=" ")
    assert phenotypes["total_ml"].notna().sum() == (measured["instance"] == "2").sum()
    assert NOTHING in route.run("export_bids", "export_phenotypes")


def test_images_not_kept_and_then_the_zips_are_gone(route):
    before = volumes(route)
    route.settings["run"]["keep"] = "results"
    pd.testing.assert_frame_equal(to_its_end(route), before)
    for folder in route.results.glob("subjects/*/*"):
        assert len(list(folder.iterdir())) <= 6
    (route.folder / "phantom/zips").rename(route.folder / "not mounted")
    assert NOTHING in route.run()
    # what shows images is drawn without them, and everything else as ever
    route.settings["statistics"] = {"min_cell": 3}
    pd.testing.assert_frame_equal(to_its_end(route), before)
    for name in ("1", "3", "S1"):
        assert (route.results / f"figures/figure{name}.png").stat().st_size > 1000


def test_a_folder_of_ones_own_results_elsewhere_and_the_repeat_visit_alone(finished, tmp_path):
    """As in a container: the workflow lies elsewhere, the working folder holds data alone."""
    own, results = tmp_path / "mine", tmp_path / "another disk/results"
    own.mkdir()
    for name in ("zips", "phenotypes.csv"):
        (own / name).symlink_to(finished.folder / "phantom" / name)
    shutil.copy(finished.results / "model/final/model.h5", own / "model.h5")
    settings = {
        "results": str(results),
        "releases": [{"name": "mine", "zips": "zips", "phenotypes": ["phenotypes.csv"]}],
        "cohort": {"instances": [3]},
        "statistics": {"instance": 3, "repeat_instance": 2},
        "segmentation": {"weights": "model.h5"},
        "crops": {"coarsen": 3},
        "network": {"base_filters": 4},
        "run": {"max_failed_share": 0.5},
    }
    (own / "mine.yaml").write_text(yaml.safe_dump(settings))
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--cores", "2", "--resources", "gpu=1", "--configfile", "mine.yaml"),
    ]

    def call() -> str:
        done = subprocess.run(
            command,
            cwd=own,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        assert done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    call()
    table = files.read_tsv(results / "volumes.tsv")
    assert set(table["instance"]) == {"3"}
    assert (results / "report.zip").exists()
    assert NOTHING in call()
    assert {path.name for path in own.iterdir()} <= {
        *("zips", "phenotypes.csv", "model.h5", "mine.yaml", ".snakemake", "logs"),
    }


def test_nothing_of_a_user_is_lost(route):
    """Masks being drawn, decisions saved beside the page, a manuscript in the egress folder."""
    route.run("export_for_annotation", "egress")
    mine = [
        route.results / "annotation/drawing.nii.gz",
        route.results / "qc/review/decisions_jf.tsv",
    ]
    for path in mine:
        path.write_text("hours of work")
    route.settings["training"]["to_annotate"] = 2
    route.settings["qc"] = {"review_sample": 1}
    route.run("export_for_annotation", "qc")
    assert all(path.read_text() == "hours of work" for path in mine)
    manuscript = route.folder / "paper/manuscript.txt"
    manuscript.parent.mkdir()
    manuscript.write_text("years of work")
    route.settings["egress"] = {"folder": "paper"}
    printed = route.run("egress", check=False)
    assert "paper" in printed
    assert manuscript.read_text() == "years of work"


def test_a_rules_script_runs_by_itself_with_a_jobs_real_paths(route):
    """As in a debugger; see scripts/debug.py."""
    ledger = "results/shards/small-0001/landmarks.tsv"
    before = (route.folder / ledger).read_bytes()
    (route.folder / "config.yaml").write_text(yaml.safe_dump(route.settings))
    command = [sys.executable, str(ROOT / "scripts/debug.py"), ledger]
    subprocess.run([*command, "--configfile", "config.yaml"], cwd=route.folder, check=True)
    assert (route.folder / ledger).read_bytes() == before
    assert "done before" in (route.results / "logs/landmarks/small-0001.log").read_text()
