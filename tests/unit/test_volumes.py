"""Volumes and measures against solids of known size, in every orientation."""

import itertools

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import grid
from iliopsoas.masks import profile, volumes
from iliopsoas.status import InputError, Verdict

SPACING = (2.0, 2.5, 3.0)  # mm; no two alike, so that exchanged axes show


@pytest.fixture
def boxes():
    """A right box of 6 x 8 x 20 voxels and a left one with a wider part, on a LAS grid."""
    mask = np.zeros((40, 30, 50), np.uint8)
    mask[5:11, 10:18, 12:32] = grid.RIGHT
    mask[25:31, 10:18, 10:40] = grid.LEFT
    mask[25:34, 10:20, 33:36] = grid.LEFT
    return mask, grid.las_affine(origin=(80.0, -60.0, -500.0), spacing=SPACING)


def test_volumes_areas_and_lengths_of_boxes(boxes):
    mask, affine = boxes
    found = volumes.measure(mask, affine, height_cm=150)
    voxel = 2.0 * 2.5 * 3.0 / 1000
    right, left = 6 * 8 * 20 * voxel, (6 * 8 * 27 + 9 * 10 * 3) * voxel
    assert found["right_ml"] == pytest.approx(right)
    assert found["left_ml"] == pytest.approx(left)
    assert found["total_ml"] == pytest.approx(left + right)
    assert found["mean_ml"] == pytest.approx((left + right) / 2)
    assert found["difference_ml"] == pytest.approx(left - right)
    assert found["imi_ml_m2"] == pytest.approx((left + right) / 2.25)
    assert found["left_max_area_cm2"] == pytest.approx(9 * 2.0 * 10 * 2.5 / 100)
    assert found["left_max_area_z"] == 33
    assert found["left_max_area_level_mm"] == pytest.approx(-500 + 33 * 3.0)
    assert found["left_length_mm"] == pytest.approx(30 * 3.0)
    assert found["right_length_mm"] == pytest.approx(20 * 3.0)


def test_volume_of_the_stitched_grid_is_the_papers_voxel():
    mask = np.zeros(grid.SHAPE, np.uint8)
    mask[60:70, 60:70, 150:160] = 1
    mask[140:150, 60:70, 150:160] = 2
    found = volumes.measure(mask, grid.las_affine())
    assert found["left_ml"] == pytest.approx(1000 * 2.232142925**2 * 3.0 / 1000)


def test_fat_fraction_ignores_the_rim(boxes):
    mask, affine = boxes
    water, fat = np.full(mask.shape, 90.0), np.full(mask.shape, 10.0)
    core = np.zeros(mask.shape, bool)
    core[26:30, 11:17, 11:39] = True
    fat[(mask == grid.LEFT) & ~core] = 900.0  # partial volume at the surface
    water[26, 11, 11:39], fat[26, 11, 11:39] = 0.0, 100.0
    found = volumes.measure(mask, affine, water, fat)
    assert found["right_fat_fraction_median_percent"] == pytest.approx(10.0)
    assert found["right_fat_fraction_mean_percent"] == pytest.approx(10.0)
    assert found["left_fat_fraction_median_percent"] == pytest.approx(10.0)
    assert 10.0 < found["left_fat_fraction_mean_percent"] < 20.0


def test_fat_fraction_leaves_out_voxels_without_signal(boxes):
    mask, affine = boxes
    water, fat = np.full(mask.shape, 60.0), np.full(mask.shape, 40.0)
    water[27, 12:16, 12:20] = fat[27, 12:16, 12:20] = 0
    found = volumes.measure(mask, affine, water, fat)
    assert found["left_fat_fraction_mean_percent"] == pytest.approx(40.0)


def test_any_orientation_gives_the_same_measures(boxes):
    mask, affine = boxes
    rng = np.random.default_rng(3)
    water, fat = rng.uniform(50, 100, (2, *mask.shape))
    image = nib.Nifti1Image(mask, affine)
    expected = volumes.measure(mask, affine, water, fat, height_cm=170)
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turn = np.column_stack([axes, flips])
            turned = image.as_reoriented(turn)
            found = volumes.measure(
                turned.get_fdata().astype(np.uint8),
                turned.affine,
                nib.Nifti1Image(water, affine).as_reoriented(turn).get_fdata(),
                nib.Nifti1Image(fat, affine).as_reoriented(turn).get_fdata(),
                height_cm=170,
            )
            assert found == pytest.approx(expected)


def test_other_tools_label_numbers(boxes):
    mask, affine = boxes
    foreign = np.select([mask == grid.LEFT, mask == grid.RIGHT], [88, 89]).astype(np.int16)
    foreign[0, 0, 0] = 1  # another organ's label
    split = foreign.copy()
    split[25:31, 10:18, 10:20][split[25:31, 10:18, 10:20] == 88] = 90
    expected = volumes.measure(mask, affine)
    assert volumes.measure(foreign, affine, labels={"left": 88, "right": 89}) == expected
    assert volumes.measure(split, affine, labels={"left": [88, 90], "right": 89}) == expected
    with pytest.raises(InputError, match="sides are"):
        volumes.measure(foreign, affine, labels={"links": 88})


def test_an_empty_side_is_missing_with_a_reason_and_never_zero(boxes):
    mask, affine = boxes
    mask[mask == grid.LEFT] = 0
    found = volumes.measure(mask, affine, height_cm=170)
    for name in ("left_ml", "total_ml", "mean_ml", "difference_ml", "imi_ml_m2", "left_length_mm"):
        assert found[name] is None
    assert found["right_ml"] > 0
    assert "left muscle: no voxel" in found["missing_reason"]
    assert 0 not in [value for value in found.values() if value is not None]


@pytest.mark.parametrize("height", [None, float("nan"), 0, -3])
def test_no_height_no_index(boxes, height):
    found = volumes.measure(*boxes, height_cm=height)
    assert found["imi_ml_m2"] is None
    assert found["total_ml"] is not None
    assert volumes.NO_HEIGHT in found["missing_reason"]


def test_a_hole_without_signal_does_not_pass_for_fat():
    """Magnitude images of muscle with 5 % fat, whose upper fifth an implant has taken away."""
    rng = np.random.default_rng(5)
    mask = np.zeros((30, 30, 50), np.uint8)
    mask[6:24, 6:24, 5:45] = grid.LEFT
    level = np.full(mask.shape, 700.0)
    level[..., 37:] = 0
    water, fat = (
        np.hypot(share * level + rng.normal(0, 14, level.shape), rng.normal(0, 14, level.shape))
        for share in (0.95, 0.05)
    )
    found = volumes.measure(mask, grid.las_affine(), water, fat)
    truth = found["left_fat_fraction_median_percent"]
    assert truth == pytest.approx(5, abs=0.7)
    for name in ("mean", "whole"):  # of noise alone it is 50 %
        assert found[f"left_fat_fraction_{name}_percent"] == pytest.approx(truth, abs=0.7), name
    seen = 8 / 10  # of the levels
    assert found["left_lean_ml"] == pytest.approx(seen * found["left_ml"], rel=0.01)
    assert found["left_intramuscular_fat_ml"] < 0.01 * found["left_ml"]
    levels = profile.per_level(mask, grid.las_affine(), water, fat)
    shown = levels["fat_fraction_percent"].dropna()
    assert len(shown) == 31  # of the eroded mask's levels, those with signal
    np.testing.assert_allclose(shown, truth, atol=1)


def test_a_muscle_too_thin_for_a_fat_fraction_says_so(boxes):
    mask, affine = boxes
    mask[mask == grid.RIGHT] = 0
    mask[5:7, 10:18, 12:32] = grid.RIGHT  # two voxels wide: nothing is left after erosion
    water = np.ones(mask.shape)
    found = volumes.measure(mask, affine, water, water)
    assert found["right_fat_fraction_median_percent"] is None
    assert "right muscle: fewer than" in found["missing_reason"]


def test_an_oblique_grid_keeps_volumes_and_loses_levels(boxes):
    mask, affine = boxes
    angle = np.deg2rad(10)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    found = volumes.measure(mask, rotation @ affine)
    assert found["total_ml"] == pytest.approx(volumes.measure(mask, affine)["total_ml"])
    assert found["left_max_area_cm2"] is None
    assert "oblique" in found["missing_reason"]


def test_impossible_input_is_refused(boxes):
    mask, affine = boxes
    with pytest.raises(InputError, match="3-D"):
        volumes.measure(mask[0], affine)
    with pytest.raises(InputError, match="invertible"):
        volumes.measure(mask, np.zeros((4, 4)))
    with pytest.raises(InputError, match="water image has shape"):
        volumes.measure(mask, affine, mask[:-1], mask)


def ledger(rows, **columns):
    people = pd.DataFrame(rows, columns=["eid", "instance", "verdict", "message"])
    return people.assign(seconds=1.0, fingerprint="f", **columns)


@pytest.fixture
def cohort():
    sample = pd.DataFrame(
        {
            "eid": ["1000011", "1000022", "1000033", "1000044"],
            "instance": ["2", "2", "3", "2"],
            "height_cm": [170.0, np.nan, 180.0, 160.0],
        }
    )
    dixon = ledger(
        [
            ("1000011", "2", "ok", ""),
            ("1000022", "2", "ok", ""),
            ("1000033", "3", str(Verdict.TRUNCATED_ZIP), "ends early"),
            ("1000099", "2", "ok", ""),  # withdrawn since
        ],
        scan_sha256=["a", "b", None, "z"],
        swaps_corrected=["S4", "", None, ""],
    )
    measured = ledger(
        [
            ("1000011", "2", "ok", ""),
            ("1000022", "2", "ok", ""),
            ("1000033", "3", str(Verdict.EARLIER_STAGE), "dixon"),
        ],
        left_ml=[300.0, 280.0, None],
        right_ml=[310.0, 290.0, None],
        total_ml=[610.0, 570.0, None],
        missing_reason=[volumes.NO_HEIGHT, "left muscle: x; " + volumes.NO_HEIGHT, None],
    )
    return sample, {"volumes": measured, "dixon": dixon}


def test_table_has_a_row_for_everyone_in_the_contracts_order(cohort):
    table = volumes.table(*cohort)
    assert list(table.columns[:9]) == [
        "eid",
        "instance",
        "status",
        "left_ml",
        "right_ml",
        "total_ml",
        "mean_ml",
        "difference_ml",
        "imi_ml_m2",
    ]
    assert list(table.columns) == list(volumes.COLUMNS)
    assert list(table["eid"]) == ["1000011", "1000022", "1000033", "1000044"]
    assert list(table["status"]) == ["ok", "ok", "truncated_zip", "no_verdict"]
    assert list(table["stopped_at"].fillna("")) == ["", "", "dixon", "dixon"]
    assert table.loc[2, "message"] == "ends early"
    assert list(table["scan_sha256"][:2]) == ["a", "b"]


def test_table_takes_the_index_from_the_samples_height(cohort):
    table = volumes.table(*cohort)
    assert table.loc[0, "imi_ml_m2"] == pytest.approx(610 / 1.7**2)
    assert pd.isna(table.loc[0, "missing_reason"])
    assert pd.isna(table.loc[1, "imi_ml_m2"])
    assert table.loc[1, "missing_reason"] == "left muscle: x; " + volumes.NO_HEIGHT
    assert table.loc[2:, "total_ml"].isna().all()


def test_table_gives_no_volume_to_a_participant_that_a_later_check_stopped(cohort):
    sample, ledgers = cohort
    ledgers["segment"] = ledger([("1000011", "2", str(Verdict.SEGMENTATION_EMPTY), "left")])
    table = volumes.table(sample, ledgers)
    assert table.loc[0, "status"] == "segmentation_empty"
    assert pd.isna(table.loc[0, "total_ml"])


def test_table_refuses_double_rows_and_unknown_stages(cohort):
    sample, ledgers = cohort
    with pytest.raises(InputError, match="more than one row"):
        volumes.table(pd.concat([sample, sample]), ledgers)
    with pytest.raises(InputError, match="unknown stage"):
        volumes.table(sample, {"dixn": ledgers["dixon"]})


def test_every_column_has_a_unit_and_a_definition():
    assert all(unit and text for unit, text in volumes.COLUMNS.values())


def test_lean_volume_and_intramuscular_fat_add_up_and_the_surface_is_told_apart(boxes):
    mask, affine = boxes
    water, fat = np.full(mask.shape, 95.0), np.full(mask.shape, 5.0)
    fat[25:31, 10:18, 10] = 400.0  # the lowest level: surface, fat beside the muscle
    fat[27:29, 12:16, 20:24] = 25.0 / 75.0 * 95.0  # 32 voxels of 25 % in the middle
    water[26, 12, 30] = fat[26, 12, 30] = 0.0  # no signal: neither
    voxel = 2.0 * 2.5 * 3.0 / 1000
    found = volumes.measure(mask, affine, water, fat)
    voxels = (mask == grid.LEFT).sum()
    assert found["left_intramuscular_fat_ml"] == pytest.approx((48 + 32) * voxel)
    assert found["left_lean_ml"] == pytest.approx((voxels - 48 - 32 - 1) * voxel)
    core = voxels * (1 - found["left_partial_volume_percent"] / 100)
    assert found["left_intramuscular_fat_core_percent"] == pytest.approx(100 * 32 / (core - 1))
    assert found["right_partial_volume_percent"] == pytest.approx(100 * (1 - 4 * 6 * 18 / 960))
    whole = (80 * 48 + 25 * 32 + 5 * (voxels - 81)) / (voxels - 1)  # 400 of 495 is 80.8 %
    assert found["left_fat_fraction_whole_percent"] == pytest.approx(whole, abs=0.05)
    assert found["lean_ml"] == pytest.approx(found["left_lean_ml"] + found["right_lean_ml"])
    strict = volumes.measure(mask, affine, water, fat, fat_voxel_percent=26)
    assert strict["left_intramuscular_fat_ml"] == pytest.approx(48 * voxel)
    none = volumes.measure(mask, affine)
    assert none["left_lean_ml"] is None
    assert none["left_partial_volume_percent"] == found["left_partial_volume_percent"]


def test_further_measures_come_after_the_first_ones_and_before_provenance():
    names = list(volumes.COLUMNS)
    assert names[3:9] == [
        "left_ml",
        "right_ml",
        "total_ml",
        "mean_ml",
        "difference_ml",
        "imi_ml_m2",
    ]
    assert names.index("right_length_mm") < names.index("left_lean_ml")
    assert names.index("fat_fraction_percent") < names.index("missing_reason")
