"""Profiles along the muscle, and one slice as a stand-in for the volume."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import grid
from iliopsoas.masks import profile
from iliopsoas.masks import vertebrae as vertebrae_of
from iliopsoas.statistics import slices
from iliopsoas.status import InputError

FOLDER = Path(__file__).resolve().parents[1] / "r"
SPACING = (2.0, 2.5, 3.0)
AFFINE = grid.las_affine(origin=(80.0, -60.0, -500.0), spacing=SPACING)


def wedge():
    """Left muscle whose cross-section grows by two columns a level, right one a box."""
    mask = np.zeros((60, 40, 50), np.uint8)
    for step in range(12):
        mask[30 : 32 + 2 * step, 10:20, 10 + step] = grid.LEFT
    mask[5:15, 10:20, 20:41] = grid.RIGHT
    return mask


def test_areas_and_places_of_a_wedge_and_a_box():
    levels = profile.per_level(wedge(), AFFINE, hip_mm=-440.0)
    left = levels[levels["side"] == "left"]
    np.testing.assert_allclose(left["area_cm2"], 10 * 2.5 * 2 * (2 + 2 * np.arange(12)) / 100)
    assert left["z"].tolist() == list(range(10, 22))
    assert left["level_mm"].iloc[0] == pytest.approx(-500 + 30)
    assert left["above_hip_mm"].iloc[0] == pytest.approx(-30)
    np.testing.assert_allclose(left["position"], np.arange(12) / 11)
    right = levels[levels["side"] == "right"]
    assert set(right["area_cm2"].round(9)) == {10 * 2 * 10 * 2.5 / 100}
    # areas times slice thickness are the volume
    volume = (wedge() == grid.LEFT).sum() * 2 * 2.5 * 3 / 1000
    assert (left["area_cm2"] * 0.3).sum() == pytest.approx(volume)


def test_fat_fraction_by_level_follows_the_image_and_ignores_the_rim():
    mask = wedge()
    water = np.full(mask.shape, 100.0)
    fat = np.zeros(mask.shape)
    fat[:] = np.arange(50) / (1 - np.arange(50) / 100)  # z percent of fat at level z
    rim = (mask == grid.RIGHT) & ~np.pad(np.ones((8, 8, 19), bool), ((6, 46), (11, 21), (21, 10)))
    fat[rim] = 5000.0
    right = profile.per_level(mask, AFFINE, water, fat).query("side == 'right'").set_index("z")
    assert math.isnan(right.loc[20, "fat_fraction_percent"])  # wholly rim: not measured, not 0
    for z in range(21, 40):
        assert right.loc[z, "fat_fraction_percent"] == pytest.approx(z)


def test_a_side_that_is_empty_has_no_rows_and_an_oblique_grid_is_refused():
    mask = wedge()
    mask[mask == grid.RIGHT] = 0
    assert set(profile.per_level(mask, AFFINE)["side"]) == {"left"}
    assert profile.per_level(np.zeros((5, 5, 5), int), AFFINE).empty
    turned = AFFINE.copy()
    turned[0, 1] = 0.3
    with pytest.raises(InputError, match="without rotation"):
        profile.per_level(mask, turned)


def test_resampled_profiles_keep_shape_and_height():
    levels = profile.per_level(wedge(), AFFINE, hip_mm=-440.0)
    places = profile.heights({"11": (0, 0, 20), "12": (0, 0, 20), "1": (0, 0, 197)}, AFFINE)
    rows = profile.table(profile.resample(levels, places)).set_index("side")
    left = rows.loc["left", profile.columns("area")].astype(float)
    np.testing.assert_allclose(left, np.linspace(1.0, 12.0, 41), rtol=1e-9)
    assert rows.loc["left", "lowest_above_hip_mm"] == -30
    assert rows.loc["left", "span_mm"] == 33
    assert rows.loc["left", "trunk_mm"] == 177 * 3
    assert rows["fat_0"].isna().all()  # no images, no fat fraction


def test_lumbar_levels_from_landmarks_stand_in_order_and_say_their_error():
    found = profile.heights({11: (0, 0, 163), 12: (0, 0, 163), 1: (0, 0, 340)}, grid.las_affine())
    levels = [found[profile.level_column(name)] for name in ("L4/5", "L4", "L3/4", "L3")]
    assert levels == sorted(levels)
    assert 120 < levels[0] < 160 < levels[3] < 220  # mm above the femoral heads
    assert found["level_source"] == "landmarks"
    assert 12 < found["level_error_mm"] < 25
    nothing = profile.heights({"1": (0, 0, 340)}, grid.las_affine())
    assert set(nothing.values()) == {None}


def test_a_vertebra_mask_replaces_the_estimate():
    vertebrae = np.zeros((10, 10, 50), int)
    for label, low in ((30, 10), (31, 22), (32, 34)):  # L5, L4, L3
        vertebrae[4:6, 4:6, low : low + 9] = label
    labels = {"L5": [30], "L4": [31], "L3": [32], "L2": [33]}
    z = vertebrae_of.middles(vertebrae, AFFINE, labels)
    assert z == {"L5": -500 + 3 * 14, "L4": -500 + 3 * 26, "L3": -500 + 3 * 38}
    landmarks = {"11": (0, 0, 0), "12": (0, 0, 0), "1": (0, 0, 49), "2": (0, 0, 49)}
    found = profile.heights(landmarks, AFFINE, z)
    assert found["l4_above_hip_mm"] == 78
    assert found["l34_above_hip_mm"] == pytest.approx((78 + 114) / 2)
    assert found["level_source"] == "vertebrae"
    assert found["level_error_mm"] < 1
    some = profile.heights(landmarks, AFFINE, {"L4": z["L4"]})
    assert some["l3_above_hip_mm"] is None  # not both: the estimate does not fill in


# --- one slice for the volume


def cohort_of(areas, volume, sex, lowest=-60.0, span=300.0, error=10.0):
    """profiles.tsv and people: `areas` (n, positions) of both muscles together."""
    n = len(volume)
    parts = []
    for side in grid.SIDES:
        part = {"eid": np.arange(n).astype(str), "instance": "2", "side": side}
        part |= {"lowest_above_hip_mm": lowest, "span_mm": span, "trunk_mm": 531.0}
        part |= {"level_error_mm": error, "level_source": "landmarks"}
        part |= {profile.level_column(k): 531 * v for k, v in profile.LUMBAR_SHARES.items()}
        part |= dict(zip(profile.columns("area"), np.asarray(areas).T / 2, strict=True))
        parts.append(pd.DataFrame(part))
    people = pd.DataFrame({"eid": np.arange(n).astype(str), "instance": "2", "sex": sex})
    return pd.concat(parts), people.assign(total_ml=volume)


def test_one_slice_agrees_with_r():
    reference = pd.read_csv(FOLDER / "measures.tsv", sep="\t").query("kind == 'slice'")
    trees = pd.read_csv(FOLDER / "data" / "trees.tsv", sep="\t")
    flat = np.repeat(trees[["Girth"]].to_numpy(float), 41, axis=1)
    found = slices.slices(*cohort_of(flat, trees["Volume"], "female"))
    for level in ("L3", "100", "0.500"):
        row = found[(found["sex"] == "female") & (found["level"] == level)].iloc[0]
        for quantity, value in zip(reference["quantity"], reference["value"], strict=True):
            assert row[quantity] == pytest.approx(value, rel=1e-9)
        assert row["error_percent_per_cm"] == pytest.approx(0, abs=1e-9)
        assert row["n"] == 31
    assert (found[found["sex"] == "male"]["note"] != "").all()


def planted(n, seed=0):
    """Profiles whose area at place s is volume x shape(s) x (1 + noise(s)), noise least at 0.6."""
    rng = np.random.default_rng(seed)
    sex = np.resize(["female", "male"], n)
    volume = np.where(sex == "male", 800, 550) * (1 + 0.13 * rng.standard_normal(n))
    s = profile.POSITIONS
    shape = 0.02 + 0.04 * np.exp(-(((s - 0.55) / 0.25) ** 2))
    spread = 0.05 + 0.4 * np.abs(s - 0.6)
    areas = volume[:, None] * shape * (1 + spread * rng.standard_normal((n, 1)))
    return cohort_of(areas, volume, sex), spread


def test_planted_truth_is_recovered_within_sampling_error():
    (profiles, people), spread = planted(6000)
    found = slices.slices(profiles, people)
    places = found[(found["axis"] == "position") & (found["sex"] == "male")]
    # of area = volume (1 + e): r^2 = var / (var + spread^2 (1 + var)), var of volume relative
    var = 0.13**2
    expected = np.sqrt(var / (var + spread**2 * (1 + var)))
    error = (1 - expected**2) / math.sqrt(3000)
    assert (np.abs(places["r"] - expected) < 4 * error + 1e-3).all()
    best = float(places.loc[places["best"], "level"].iloc[0])
    assert best == pytest.approx(0.6, abs=0.026)
    assert (places["r_low"] < expected).mean() > 0.9


def test_the_error_per_cm_is_the_slope_of_the_area():
    n = 60
    volume = np.linspace(500, 900, n)
    # 0.1 % of the volume per mm, from 20 cm2 per litre
    heights = -60 + 300 * profile.POSITIONS
    areas = volume[:, None] / 1000 * (20 + 0.02 * (heights - 100))
    found = slices.slices(*cohort_of(areas, volume, "male"))
    row = found[(found["axis"] == "mm") & (found["level"] == "100") & (found["sex"] == "male")]
    row = row.iloc[0]
    assert row["r"] == pytest.approx(1)
    assert row["area_change_percent_per_cm"] == pytest.approx(1.0, rel=1e-6)
    # predicted volume is off by 1 % of each volume: root mean square over the mean
    assert row["error_percent_per_cm"] == pytest.approx(
        math.sqrt(np.mean(volume**2)) / volume.mean(), rel=1e-6
    )


def test_a_misplaced_slice_tells_less_as_a_simulation_says():
    rng = np.random.default_rng(3)
    n = 400
    volume = rng.normal(800, 100, n)
    heights = -60 + 300 * profile.POSITIONS
    areas = volume[:, None] / 40 * (1 + 0.004 * (heights - 150))
    profiles, people = cohort_of(areas, volume, "male", error=12.0)
    found = slices.slices(profiles, people)
    row = found[(found["level"] == "150") & (found["sex"] == "male")].iloc[0]
    off = rng.normal(0, 12, (2000, n))
    wrong = volume / 40 * (1 + 0.004 * off)
    simulated = np.corrcoef(wrong.ravel(), np.broadcast_to(volume, off.shape).ravel())[0, 1] ** 2
    assert row["r_squared_misplaced"] == pytest.approx(simulated, abs=0.003)
    assert row["r_squared"] == pytest.approx(1)


def test_outside_a_muscle_there_is_no_slice():
    profiles, people = planted(40)[0]
    profiles.loc[profiles["eid"].isin(["0", "2"]), "lowest_above_hip_mm"] = 0.0
    found = slices.slices(profiles, people)
    row = found[(found["level"] == "-50") & (found["sex"] == "female")].iloc[0]
    assert row["n"] == 18
    assert "2 without both muscles here" in row["note"]
    one_sided = profiles[~((profiles["side"] == "left") & (profiles["eid"] == "1"))]
    assert slices.slices(one_sided, people).query("sex == 'male'")["n"].max() == 19


def test_without_profiles_the_table_says_so():
    people = planted(4)[0][1]
    assert "no profiles" in slices.slices(None, people)["note"].iloc[0]
