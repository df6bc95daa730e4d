"""Several methods on the same people: overlap of masks, bias of each, disagreement as a flag."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import config, files, grid
from iliopsoas.qc.judge import judge
from iliopsoas.stages import methods
from iliopsoas.statistics import repeat

R = Path(__file__).resolve().parents[1] / "r"
REFERENCE = pd.read_csv(R / "bridge.tsv", sep="\t")
AFFINE = grid.las_affine((0.0, 0.0, 0.0))
NAMES = {"this run": "Ozone", "b": "Solar.R", "c": "Temp"}


def box(left=None, right=None):
    """A label map with a box of these columns on either side."""
    mask = np.zeros((20, 4, 5), np.uint8)
    for label, columns in ((grid.LEFT, left), (grid.RIGHT, right)):
        if columns:
            mask[slice(*columns)] = label
    return mask


def save(results, eid, **masks):
    folder = files.subject_folder(results, eid, "2")
    for name, mask in masks.items():
        file = "iliopsoas" if name == "own" else f"other-{name}"
        files.write_nifti(folder / f"{file}.nii.gz", grid.las_image(mask, AFFINE))


@pytest.fixture
def shard(tmp_path):
    """Everything agrees; one tool disagrees and another lacks a side; no other tool; refused."""
    people = pd.DataFrame({"eid": [f"100000{k}" for k in range(4)], "instance": "2"})
    same = box((12, 16), (2, 6))
    save(tmp_path / "results", "1000000", own=same, b=same, c=same)
    save(tmp_path / "results", "1000001", own=same, b=box((13, 17), (4, 8)), c=box((12, 16)))
    save(tmp_path / "results", "1000002", own=same)
    files.write_tsv(tmp_path / "manifest.tsv", people)
    verdicts = {
        "segment": ["ok", "ok", "ok", "hips_not_found"],
        "b": ["ok", "ok", "mask_missing", "ok"],
        "c": ["ok", "ok", "earlier_stage", "ok"],
    }
    for name, verdict in verdicts.items():
        table = people.assign(verdict=verdict, message="", fingerprint=name)
        files.write_tsv(tmp_path / f"{name}.tsv", table)
    return tmp_path


def run(folder):
    return methods.run(
        folder / "manifest.tsv",
        folder / "segment.tsv",
        {"b": folder / "b.tsv", "c": folder / "c.tsv"},
        folder / "methods.tsv",
        results=folder / "results",
        version="methods 1",
        processes=1,
        options=config.Run(),
    ).set_index("eid")


def test_every_two_masks_are_compared_side_by_side(shard):
    found = run(shard)
    assert list(found["verdict"]) == ["ok", "ok", "ok", "earlier_stage"]
    assert found.loc["1000000", "dice_b_c_left"] == 1
    row = found.loc["1000001"]
    # four columns each: three, and two, are shared
    assert row["dice_own_b_left"] == pytest.approx(3 / 4)
    assert row["dice_own_b_right"] == pytest.approx(2 / 4)
    assert row["dice_own_c_left"] == 1
    assert row["dice_own_left"] == pytest.approx((3 / 4 + 1) / 2)
    assert row["dice_own_right"] == pytest.approx(2 / 4)
    assert np.isnan(row["dice_own_c_right"]), "a mask without this side has no Dice"
    dice = [name for name in found if name.startswith("dice_")]
    assert found.loc["1000002", dice].isna().all()


def test_only_whose_mask_changed_is_compared_again(shard):
    run(shard)
    before = files.read_tsv(shard / "methods.tsv")["seconds"]
    ledger = files.read_tsv(shard / "c.tsv")
    ledger.loc[0, "fingerprint"] = "another mask"
    files.write_tsv(shard / "c.tsv", ledger)
    save(shard / "results", "1000000", c=box((13, 17), (2, 6)))
    found = run(shard)
    assert found.loc["1000000", "dice_own_c_left"] == pytest.approx(3 / 4)
    assert list(found["seconds"])[1:] == list(before)[1:]


def test_a_mask_no_other_tool_agrees_with_is_flagged(shard):
    people = pd.DataFrame({"eid": [f"{1000000 + k}" for k in range(4)], "instance": "2"})
    sample = people.assign(sex="male", age=60, height_cm=170.0, bmi=25.0)
    volumes = people.assign(
        status="ok", segment_fingerprint="f", left_ml=300.0, right_ml=310.0, total_ml=610.0
    )
    volumes["mean_ml"], volumes["difference_ml"], volumes["imi_ml_m2"] = 305.0, -10.0, 211.0
    found = judge(sample, volumes, {"methods": run(shard).reset_index()})
    flags = found.flags[found.flags["flag"] == "methods_disagree"].set_index("eid")["value"]
    assert flags.to_dict() == {"1000001": 2 / 4}  # its right side
    summary = found.summary.set_index("flag").loc["methods_disagree"]
    assert (summary["evaluated"], summary["not_evaluable"]) == (2, 2)
    without = judge(sample, volumes, {}).summary.set_index("flag").loc["methods_disagree"]
    assert without["evaluated"] == 0


@pytest.fixture
def three():
    """The reference's three columns as the left volumes of three methods."""
    data = pd.read_csv(R / "data/airquality.tsv", sep="\t")
    keys = pd.DataFrame({"eid": [f"{2000000 + k}" for k in range(len(data))], "instance": "2"})
    tables = {
        name: keys.assign(status="ok", left_ml=data[column], right_ml=1.0)
        for name, column in NAMES.items()
    }
    manual = keys.assign(fold=1, automatic_ml=1.0, manual_ml=data["Ozone"] + 2 * data["Temp"])
    folds = pd.concat([manual.assign(side="left"), manual.assign(side="right")])
    shuffled = tables["c"].sample(frac=1, random_state=0)
    return tables.pop("this run"), tables | {"c": shuffled}, folds


@pytest.mark.parametrize(
    "case", dict.fromkeys(REFERENCE.loc[REFERENCE["kind"] == "agreement", "case"])
)
def test_bias_and_agreement_of_each_method_agree_with_r(three, case):
    volumes, others, folds = three
    table = repeat.bland_altman_table(repeat.other_methods(volumes, others, folds))
    ours = case
    for name, column in NAMES.items():
        ours = ours.replace(column, name)
    rows = table[(table["comparison"] == ours) & (table["unit"] == "ml")].set_index("measure")
    expected = REFERENCE[REFERENCE["case"] == case].set_index("quantity")["value"]
    for quantity, value in expected.items():
        assert rows.loc["left volume", quantity] == pytest.approx(value, rel=1e-9), quantity
    assert rows.loc["left volume", "lower"] == pytest.approx(
        expected["bias"] - 1.959963984540054 * expected["sd"], rel=1e-9
    )


def test_two_methods_have_no_mean_of_the_others(three):
    volumes, others, _ = three
    names = {name for name, *_ in repeat.other_methods(volumes, {"b": others["b"]})}
    assert names == {"b - this run"}
    assert repeat.other_methods(volumes, {}) == []


def test_overlap_agrees_with_r():
    data = pd.read_csv(R / "data/airquality.tsv", sep="\t")
    ledger = pd.DataFrame({"dice_own_b_left": data["Ozone"] / 200, "dice_own_b_right": np.nan})
    found = repeat.method_overlap({"b": None}, ledger).set_index("side")
    expected = REFERENCE[REFERENCE["kind"] == "overlap"].set_index("quantity")["value"]
    for quantity, value in expected.items():
        assert found.loc["left", quantity] == pytest.approx(value, rel=1e-12)
    assert found.loc["right", "n"] == 0
    assert np.isnan(found.loc["right", "mean"])
    assert list(found["method_a"]) == ["this run"] * 2
    assert repeat.method_overlap(None, None).empty
