"""The whole workflow on a small synthetic cohort: contract, faults, reruns."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, grid

pytestmark = pytest.mark.slow

IMAGE_RULES = {
    "phantom",
    "dixon_shard",
    "landmarks_shard",
    "crops_shard",
    "segment_shard",
    "volumes_shard",
    "train",
    "validate",
}
STATISTICS = [
    "table1",
    "table2",
    "table_s1",
    "cross_validation",
    "bland_altman",
    "correlations",
    "normality",
    "asymmetry",
    "handedness",
    "gam",
    "paper_comparison",
]


def table(workflow, name):
    return files.read_tsv(workflow.results / name)


def test_a_second_call_has_nothing_to_do(workflow):
    assert "Nothing to be done" in workflow.run()


def test_sample_keeps_its_contract(workflow):
    sample = table(workflow, "cohort/sample.tsv")
    assert sample.columns[:14].tolist() == [
        *("eid", "instance", "release", "shard", "sex", "age", "age_group", "bmi", "height_cm"),
        *("weight_kg", "ethnicity", "handedness", "centre", "visit_date"),
    ]
    assert len(sample) == 9, "eight participants, one of them with a repeat visit"
    assert sample["shard"].str.fullmatch(r"small-\d+").all()
    assert sample["sex"].isin(["female", "male"]).all()


def test_images_keep_their_contract(workflow):
    volumes = table(workflow, "volumes.tsv")
    measured = volumes[volumes["status"] == "ok"]
    assert len(measured) >= 5
    for row in measured.itertuples():
        folder = files.subject_folder(workflow.results, row.eid, row.instance)
        for name, kind in (("water", "int16"), ("fat", "int16"), ("body", "uint8")):
            image = nib.load(folder / f"{name}.nii.gz")
            assert image.shape == grid.SHAPE
            assert image.get_data_dtype() == kind
            np.testing.assert_allclose(image.affine, grid.las_affine(), atol=1e-3)
        mask = nib.load(folder / "iliopsoas.nii.gz")
        labels = np.asanyarray(mask.dataobj)
        assert set(np.unique(labels)) <= {0, 1, 2}
        assert (labels == 1).sum() * grid.VOXEL_ML == pytest.approx(row.left_ml, rel=1e-6)
        assert (labels == 2).sum() * grid.VOXEL_ML == pytest.approx(row.right_ml, rel=1e-6)
        assert row.difference_ml == pytest.approx(row.left_ml - row.right_ml)
        landmarks = json.loads((folder / "landmarks.json").read_text())
        assert {"1", "2", "11", "12"} <= set(landmarks)
        # right has the smaller x
        assert landmarks["11"][0] < landmarks["12"][0]


def test_no_identity_in_image_headers_or_pictures(workflow):
    ids = set(table(workflow, "cohort/sample.tsv")["eid"])
    pictures = [*workflow.results.glob("figures/*"), *workflow.results.glob("subjects/**/*.png")]
    assert pictures
    for path in [*pictures, *workflow.results.glob("subjects/**/*.nii.gz")]:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = nib.load(path).header.binaryblock
        assert not any(eid.encode() in content for eid in ids), path.name


def test_planted_faults_are_in_the_ledger_and_nowhere_zero(workflow):
    truth = pd.read_csv(workflow.folder / "phantom/truth.tsv", sep="\t", dtype=str)
    volumes = table(workflow, "volumes.tsv").merge(
        truth[["eid", "instance", "planted_fault"]], on=files.KEY
    )
    expected = {"truncated": "truncated_zip", "missing:3": "station_missing"}
    planted = volumes[volumes["planted_fault"].isin(expected)]
    assert len(planted) == 2
    for row in planted.to_dict("records"):
        assert row["status"] == expected[row["planted_fault"]]
        assert row["stopped_at"] == "dixon"
        assert row["message"]
        assert all(pd.isna(value) for key, value in row.items() if key.endswith(("_ml", "_m2")))
    ledgers = pd.concat(
        files.read_tsv(path) for path in workflow.results.glob("shards/*/dixon.tsv")
    )
    assert len(ledgers) == len(volumes)
    assert ledgers["verdict"].notna().all()
    others = volumes[~volumes["planted_fault"].isin(expected)]
    assert not (others[["left_ml", "right_ml"]] == 0).any().any()


def test_cross_validation_keeps_participants_apart(workflow):
    rows = table(workflow, "model/cross_validation.tsv")
    assert {"fold", "eid", "instance", "side", "dice", "automatic_ml", "manual_ml"} <= set(rows)
    assert rows.groupby("eid")["fold"].nunique().eq(1).all()
    assert rows["eid"].nunique() == 4
    assert sorted(rows["side"].unique()) == ["left", "right"]


def test_statistics_figures_and_report_are_there(workflow):
    for name in STATISTICS:
        assert (workflow.results / f"statistics/{name}.tsv").stat().st_size, name
    for name in ["1", "2", "3", "4", "5", "6", "7", "S1", "S2"]:
        for kind in ("png", "svg"):
            assert (workflow.results / f"figures/figure{name}.{kind}").stat().st_size > 1000, name
    assert (workflow.results / "report.zip").stat().st_size > 10_000
    assert (workflow.results / "qc/review/index.html").exists()


def test_every_number_of_the_paper_stands_beside_this_runs(workflow):
    comparison = table(workflow, "statistics/paper_comparison.tsv")
    assert len(comparison) > 60
    assert comparison.filter(regex="(?i)paper").notna().any(axis=None)


def test_logs_name_nobody(workflow):
    ids = set(table(workflow, "cohort/sample.tsv")["eid"])
    for path in workflow.results.glob("logs/**/*.log"):
        found = set(re.findall(r"(?<!\d)\d{7}(?!\d)", path.read_text()))
        assert not found & ids, path.name


def test_a_lost_statistics_table_is_remade_alone(workflow):
    (workflow.results / "statistics/table2.tsv").unlink()
    rules = workflow.rules_run()
    assert "statistics" in rules
    assert not rules & (IMAGE_RULES | {"cohort", "qc"})


def test_a_changed_statistics_setting_reruns_no_image_stage(workflow):
    workflow.settings["statistics"] = {"min_cell": 3}
    rules = workflow.rules_run()
    assert "statistics" in rules
    assert not rules & (IMAGE_RULES | {"cohort", "qc"})


def test_a_reviewers_decision_takes_a_participant_out_and_lets_them_in_again(workflow):
    person = table(workflow, "volumes.tsv").query("status == 'ok'").iloc[0]
    saved = workflow.folder / "decided" / "decisions_jf.tsv"
    saved.parent.mkdir()
    header = "eid\tinstance\trater\tdecision\tnote\ttime\n"
    row = f"{person['eid']}\t{person['instance']}\tjf\treject\tcut\t2026-01-01T00:00:00Z\n"
    saved.write_text(header + row)
    workflow.settings["qc"] = {"decisions": "decided"}
    rules = workflow.rules_run()
    assert {"qc_flags", "statistics"} <= rules
    assert not rules & (IMAGE_RULES | {"cohort"})
    assert table(workflow, "qc/excluded.tsv")["eid"].tolist() == [person["eid"]]
    flow = table(workflow, "statistics/flow.tsv").set_index("step")["n"]
    assert flow["not measured: rejected_in_review"] == 1
    saved.write_text(header + row.replace("reject", "accept"))  # the folder's time stays
    workflow.run()
    assert table(workflow, "qc/excluded.tsv").empty
    again = table(workflow, "statistics/flow.tsv").set_index("step")["n"]
    assert again["analysed"] == flow["analysed"] + 1


def test_masks_of_another_tool_are_measured_and_compared(workflow):
    """The truth in the place of another tool's masks; it stays configured from here on."""
    workflow.settings["other_methods"] = [{"name": "truth", "folder": "phantom/truth"}]
    rules = workflow.rules_run()
    assert not rules & (IMAGE_RULES | {"cohort"})
    other = table(workflow, "other/truth/volumes.tsv")
    assert other["eid"].tolist() == table(workflow, "volumes.tsv")["eid"].tolist()
    measured = other[other["status"] == "ok"]
    expected = files.read_tsv(workflow.folder / "phantom/truth.tsv").set_index(files.KEY)
    expected = expected.loc[list(measured[files.KEY].itertuples(index=False, name=None))]
    for name in ("left_ml", "right_ml"):
        np.testing.assert_allclose(measured[name], expected[name], rtol=1e-6)
    agreement = table(workflow, "statistics/bland_altman.tsv")
    assert (agreement["comparison"] == "truth - this run").sum() == 6
    assert (workflow.results / "other/truth/bland_altman.png").stat().st_size > 1000
    assert len(table(workflow, "other/truth/statistics/table2.tsv")) == 6
    assert (workflow.results / "other/truth/flags.tsv").exists()
    assert "Nothing to be done" in workflow.run()


def test_a_lost_participant_is_remade_and_nobody_else(workflow):
    volumes = table(workflow, "volumes.tsv")
    row = volumes[volumes["status"] == "ok"].iloc[-1]
    shard = (
        table(workflow, "cohort/sample.tsv")
        .set_index(files.KEY)
        .loc[(row["eid"], row["instance"]), "shard"]
    )
    folder = files.subject_folder(workflow.results, row["eid"], row["instance"])
    mask_before = (folder / "iliopsoas.nii.gz").read_bytes()
    before = workflow.modified("subjects/*/*/water.nii.gz")
    (folder / "water.nii.gz").write_bytes((folder / "water.nii.gz").read_bytes()[:-1000])
    rules = workflow.rules_run("--forcerun", f"results/shards/{shard}/dixon.tsv")
    assert "dixon_shard" in rules
    assert not rules & {"phantom", "cohort"}
    after = workflow.modified("subjects/*/*/water.nii.gz")
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {str((folder / "water.nii.gz").relative_to(workflow.results))}
    assert (folder / "iliopsoas.nii.gz").read_bytes() == mask_before
    assert "Nothing to be done" in workflow.run()


def test_added_participants_are_the_only_ones_processed(workflow):
    before = workflow.modified("subjects/*/*/*.nii.gz")
    models = workflow.modified("model/*/model.h5")
    assert len(models) == 3
    ledgers = workflow.modified("shards/*/dixon.tsv")
    workflow.settings["phantom"]["participants"] += 1
    rules = workflow.rules_run()
    assert "phantom" in rules
    assert not rules & {"train", "validate"}
    after = workflow.modified("subjects/*/*/*.nii.gz")
    assert {path: after[path] for path in before} == before
    assert len(after) > len(before)
    assert workflow.modified("model/*/model.h5") == models
    now = workflow.modified("shards/*/dixon.tsv")
    assert {path: now[path] for path in ledgers} == ledgers
    assert len(now) == len(ledgers) + 1
    assert len(table(workflow, "volumes.tsv")) == 10


def test_a_withdrawn_participant_leaves_no_trace(workflow):
    volumes = table(workflow, "volumes.tsv")
    trained_on = table(workflow, "model/final/participants.tsv")["eid"]  # test_governance's case
    free = (volumes["status"] == "ok") & ~volumes["eid"].isin(trained_on)
    eid = volumes.loc[free, "eid"].iloc[-1]
    models = workflow.modified("model/*/model.h5")
    others = workflow.modified("subjects/*/*/water.nii.gz")
    (workflow.folder / "w12345_20260101.csv").write_text(f"{eid}\n")
    workflow.settings.setdefault("withdrawals", []).append("w12345_20260101.csv")
    workflow.run()
    assert workflow.modified("model/*/model.h5") == models, "nobody was trained on them"
    names = [str(path) for path in workflow.results.rglob("*") if eid in path.name]
    assert names == []
    holders = [
        path
        for path in workflow.results.rglob("*")
        if path.is_file() and eid.encode() in path.read_bytes()
    ]
    assert holders == []
    assert eid not in set(table(workflow, "volumes.tsv")["eid"])
    now = workflow.modified("subjects/*/*/water.nii.gz")
    assert now == {path: time for path, time in others.items() if eid not in path}


def test_every_table_has_the_columns_that_are_declared(workflow):
    from iliopsoas import tables

    found = 0
    for path in sorted(workflow.results.rglob("*.tsv")):
        name = path.relative_to(workflow.results).as_posix()
        if name.startswith("benchmarks/"):  # Snakemake's own
            continue
        with path.open() as file:
            tables.check(name, file.readline().rstrip("\n").split("\t"))
        found += 1
    assert found > 30
