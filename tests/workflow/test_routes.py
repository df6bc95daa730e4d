"""The routes that users take, with the real scripts: to report.zip, and then nothing to do."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from iliopsoas import files, starter

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
    judged = route.results / "model/configured/validation.tsv"
    assert judged.exists() == annotated
    if annotated:  # as the fold's own model was judged on whom it had not seen
        fold = files.read_tsv(route.results / "model/fold-1/validation.tsv").drop(columns="fold")
        rows = files.read_tsv(judged).drop(columns="fold")
        assert rows["eid"].nunique() == 4
        pd.testing.assert_frame_equal(rows.merge(fold[[*files.KEY, "side"]]), fold)
        agreement = files.read_tsv(route.results / "statistics/bland_altman.tsv")
        assert (agreement["comparison"] == "network - manual").any()
    if annotated:
        a_corrected_mask_comes_back(route)
        # another file under the same name is noticed by the next call, at once
        shutil.copy(route.results / "model/fold-2/model.h5", route.folder / "elsewhere.h5")
        hashes = set(to_its_end(route)["weights_sha256"].dropna())
        assert hashes == {files.sha256(route.folder / "elsewhere.h5")}
    else:
        opinions_of_the_starter(route)


def a_corrected_mask_comes_back(route):
    """Marked to be redone, exported, corrected, and measured in the place of the network's."""
    measured = volumes(route).query("status == 'ok'")
    known = files.read_tsv(route.results / "model/folds.tsv")
    (row, *_) = measured[~measured["eid"].isin(known["eid"])].to_dict("records")
    name = files.subject_name(row["eid"], row["instance"])
    decision = {key: row[key] for key in files.KEY} | {"rater": "AB", "decision": "redo"}
    decision |= {"note": "cut off", "time": "2026-01-01T00:00:00Z", "mode": "open"}
    decision["judged"] = row["segment_fingerprint"]
    files.write_tsv(route.folder / "decisions.tsv", pd.DataFrame([decision]))
    route.settings["qc"] = {"decisions": "decisions.tsv"}
    route.run("export_for_annotation")
    exported = files.read_tsv(route.results / "annotation/participants.tsv").set_index("asked_by")
    assert exported.loc["review", "eid"] == row["eid"]
    assert exported.loc["review", "proposal"] == "this run"
    shutil.copy(
        route.results / f"annotation/{name}_proposed.seg.nrrd",
        route.folder / f"phantom/annotations/{name}.seg.nrrd",
    )
    route.settings["segmentation"]["annotated"] = "manual"
    after = to_its_end(route).set_index(files.KEY)
    assert after.loc[(row["eid"], row["instance"]), "network"] == "manual"
    assert (after["network"] == "manual").sum() == 5
    # the mask is as the network left it, and who was to be redone is in the statistics again
    assert after.loc[(row["eid"], row["instance"]), "left_ml"] == row["left_ml"]
    assert files.read_tsv(route.results / "qc/excluded.tsv").empty
    route.settings["segmentation"]["annotated"] = "network"


def opinions_of_the_starter(route):
    """Nothing annotated: on the masks of other weights, then by itself, and on one scan."""
    route.settings["qc"] = {"second_opinion": True}
    to_its_end(route)
    measured = int((volumes(route)["status"] == "ok").sum())
    quality = files.read_tsv(route.results / "qc/quality.tsv")
    assert len(quality) == 2 * measured
    assert set(quality["learned_on"]) == {"synthetic"}
    route.settings["segmentation"] = {}
    table = to_its_end(route).query("status == 'ok'")
    assert set(table["network"]) == {"starter"}
    assert "synthetic people only" in (route.results / "summary.md").read_text()
    ledgers = [files.read_tsv(path) for path in route.results.glob("shards/*/opinion.tsv")]
    opinions = pd.concat(ledgers).query("verdict == 'ok'")
    assert opinions["left_mirror_dice"].notna().all()
    assert "left_second_dice" not in opinions or opinions["left_second_dice"].isna().all()

    row = table.iloc[0]
    (scan, *_) = route.folder.glob(f"phantom/zips/{row['eid']}_20201_{row['instance']}_*.zip")
    command = [sys.executable, "-m", "iliopsoas", "measure", str(scan), "-o", "one"]
    subprocess.run([*command, "--second-opinion"], cwd=route.folder, check=True)
    one = files.read_json(route.folder / "one/volumes.json")
    assert one["network"] == "starter"
    # N4 is coarser in this run
    assert one["total_ml"] == pytest.approx(row["total_ml"], rel=0.03)
    assert set(one["predicted_quality"]) == {"left", "right"}


def test_an_ensemble_fine_tuned_from_the_starter_at_a_calibrated_threshold(route):
    route.settings["training"]["start"] = "starter"
    route.settings["segmentation"] = {"ensemble": True, "threshold": "calibrated"}
    table = to_its_end(route)
    found = table["weights_sha256"].dropna().str.split(",")
    assert set(found.str.len()) == {2}
    began = files.read_json(route.results / "model/fold-1/model.json")
    assert files.sha256(starter.WEIGHTS) in str(began)
    chosen = files.read_tsv(route.results / "model/thresholds.tsv").set_index("model")["threshold"]
    ledgers = [files.read_tsv(path) for path in route.results.glob("shards/*/segment.tsv")]
    assert set(pd.concat(ledgers)["threshold"].dropna()) == {chosen["final"]}
    # a fold's threshold rests on the other fold's curve alone
    curve = files.read_tsv(route.results / "model/fold-2/threshold_curve.tsv")
    total = curve.groupby("threshold")[["automatic_ml", "manual_ml"]].sum()
    above = total.index[total["automatic_ml"] >= total["manual_ml"]]
    assert above.max() - 1e-9 <= chosen["fold-1"] <= above.max() + 0.05


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


def test_masks_that_a_tools_command_draws_here_and_exports(route):
    route.settings["dixon"] = route.settings["dixon"] | {"contrasts": ["in_phase"]}
    route.settings["other_methods"] = [
        {"name": "truth", "folder": "phantom/truth"},
        route.boxes(contrast="in_phase"),
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
