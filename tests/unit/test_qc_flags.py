"""Quality flags on cohorts with planted faults, and on images with known ones."""

import functools

import numpy as np
import pandas as pd
import pytest

from iliopsoas import config, grid
from iliopsoas.masks import volumes
from iliopsoas.qc import evidence, flags, registry, robust
from iliopsoas.qc.checks import CHECKS
from iliopsoas.status import InputError

PEOPLE = 400


def make_cohort(people=PEOPLE, seed=1):
    """Sample, volume table and ledgers of a healthy cohort, by the paper's means and SDs."""
    rng = np.random.default_rng(seed)
    male = np.arange(people) % 2 == 1
    height = np.where(male, rng.normal(176, 6.8, people), rng.normal(162.5, 6.1, people))
    age = rng.uniform(45, 81, people)
    bmi = rng.normal(26.5, 4, people).clip(17, 50)
    total = np.where(male, 815.0, 542.0) * (height / np.where(male, 176, 162.5)) ** 2
    total *= np.exp(-0.004 * (age - 63) + 0.012 * (bmi - 26.5) + rng.normal(0, 0.09, people))
    difference = total / 2 * rng.normal(-0.02, 0.055, people)
    sample = pd.DataFrame(
        {
            "eid": [f"{1000001 + 11 * i}" for i in range(people)],
            "instance": "2",
            "sex": np.where(male, "male", "female"),
            "age": age.round(),
            "height_cm": height.round(1),
            "bmi": bmi.round(1),
            "centre": np.where(rng.random(people) < 0.5, "Reading", "Cheadle"),
        }
    )
    left, right = (total + difference) / 2, (total - difference) / 2
    key = sample[["eid", "instance"]]
    measured = key.assign(
        verdict="ok",
        message="",
        fingerprint="f",
        left_ml=left,
        right_ml=right,
        total_ml=total,
        mean_ml=total / 2,
        difference_ml=difference,
        left_length_mm=height * 1.7 + rng.normal(0, 9, people),
        right_length_mm=height * 1.7 + rng.normal(0, 9, people),
        left_fat_fraction_median_percent=rng.normal(8, 2, people).clip(1),
        right_fat_fraction_median_percent=rng.normal(8, 2, people).clip(1),
        **{
            f"{side}_{name}": value
            for side in grid.SIDES
            for name, value in {
                "crop_border_cm2": 0.0,
                "image_border_voxels": 0,
                "outside_body_percent": 0.0,
                "across_midline_percent": 0.0,
                "loose_percent": 0.0,
                "lowest_mm": -640.0,
                "highest_mm": -290.0,
                "end_area_percent": rng.uniform(1, 12, people),
                "area_step_percent": rng.uniform(4, 12, people),
                "water_step_percent": rng.uniform(2, 9, people),
                "water_ratio": rng.normal(0.6, 0.03, people),
            }.items()
        },
    )
    dixon = key.assign(verdict="ok", message="", swaps_corrected=np.nan, stations_missing=np.nan)
    dixon = dixon.assign(snr=rng.normal(25, 2, people), swap_confidence=1.4)
    dixon = dixon.assign(slices_interpolated=np.nan, unreadable_files=0)
    for seam, place in (("3_2", -280.0), ("4_3", -450.0), ("5_4", -610.0), ("6_5", -820.0)):
        dixon[f"seam_mm_{seam}"] = place
        dixon[f"seam_agreement_{seam}"] = rng.normal(0.97, 0.005, people)
    dixon = dixon.assign(published_grid=True, intensities_clipped="False", in_phase_made=np.nan)
    dixon = dixon.assign(slices_trimmed="[]", channels_refitted="", stations_acquired_twice="")
    landmarks = key.assign(verdict="ok", hip_spread=1.0, shoulder_spread=1.5)
    landmarks["hip_confidence"] = rng.normal(0.92, 0.02, people).clip(max=1)
    landmarks = landmarks.assign(hips_mirrored="", shoulders_default=False)
    segment = key.assign(
        verdict="ok", sd_ml_left=left * 0.01, sd_ml_right=right * 0.01, mean_probability=0.95
    )
    segment = segment.assign(left_removed_percent=0.2, right_removed_percent=0.1)
    segment = segment.assign(left_filled_percent=0.1, right_filled_percent=0.0)
    return sample, {"dixon": dixon, "landmarks": landmarks, "segment": segment, "volumes": measured}


def run(sample, ledgers, **limits):
    table = volumes.table(sample, ledgers)
    return flags.evaluate(evidence.cohort(sample, table, ledgers), limits)


@functools.cache
def flags_of_120():
    return run(*make_cohort(120))[0]


def flagged(result, person):
    return set(result.loc[result["eid"] == person, "flag"])


def put(ledger, row, **values):
    for name, value in values.items():
        if isinstance(value, str):
            ledger[name] = ledger[name].astype(object)
        ledger.loc[row, name] = value


def put_volumes(ledger, row, left, right):
    put(ledger, row, left_ml=left, right_ml=right, total_ml=left + right)
    put(ledger, row, mean_ml=(left + right) / 2, difference_ml=left - right)


def test_a_healthy_cohort_is_hardly_flagged():
    found, summary = run(*make_cohort())
    assert found["eid"].nunique() <= 0.03 * PEOPLE
    assert set(found["severity"]) <= {"review"}
    assert list(found.columns) == flags.FLAG_COLUMNS
    assert list(summary["flag"]) == list(CHECKS)


@pytest.mark.parametrize(
    ("flag", "stage", "values"),
    [
        ("touches_crop", "volumes", {"right_crop_border_cm2": 3.0}),
        ("touches_image", "volumes", {"left_image_border_voxels": 4}),
        ("in_pieces", "volumes", {"left_loose_percent": 9.0}),
        ("outside_body", "volumes", {"left_outside_body_percent": 4.0}),
        ("across_midline", "volumes", {"right_across_midline_percent": 8.0}),
        ("ends_flat", "volumes", {"right_end_area_percent": 80.0}),
        ("area_jumps", "volumes", {"right_area_step_percent": 60.0}),
        ("unlike_muscle_fat", "volumes", {"left_fat_fraction_median_percent": 88.0}),
        ("unlike_muscle_signal", "volumes", {"right_water_ratio": 0.2}),
        ("seam_in_muscle", "volumes", {"left_water_step_percent": 150.0}),
        ("length_outlier", "volumes", {"left_length_mm": 150.0, "right_length_mm": 150.0}),
        ("in_pieces", "segment", {"left_removed_percent": 30.0}),
        ("models_disagree", "segment", {"sd_ml_left": 60.0}),
        ("network_unsure", "segment", {"mean_probability": 0.55}),
        ("swaps_corrected", "dixon", {"swaps_corrected": "S4,S5-left"}),
        ("swap_uncertain", "dixon", {"swap_confidence": 0.3}),
        ("exchange_doubtful", "dixon", {"exchanges_doubtful_ml": 40.0}),
        ("exchange_mended", "dixon", {"exchanges_mended_ml": 47.0}),
        ("metal_at_hip", "landmarks", {"void_ml": 45.0}),
        ("outline_cut", "dixon", {"outline_cut_percent": 30.0}),
        ("stations_missing", "dixon", {"stations_missing": "6"}),
        ("low_signal_to_noise", "dixon", {"snr": 2.0}),
        ("slices_interpolated", "dixon", {"slices_interpolated": "3:W:2"}),
        ("stations_differ", "dixon", {"seam_agreement_4_3": 0.3}),
        ("stations_differ", "dixon", {"seam_agreement_3_2": 0.3}),
        ("stations_acquired_twice", "dixon", {"stations_acquired_twice": "[3]"}),
        ("slices_trimmed", "dixon", {"slices_trimmed": "[4]"}),
        ("channels_refitted", "dixon", {"channels_refitted": "4:F"}),
        ("in_phase_made", "dixon", {"in_phase_made": "[2]"}),
        ("unreadable_files", "dixon", {"unreadable_files": 2}),
        ("off_published_grid", "dixon", {"published_grid": "False"}),
        ("intensities_clipped", "dixon", {"intensities_clipped": "True"}),
        ("hip_mirrored", "landmarks", {"hips_mirrored": "11"}),
        ("shoulders_default", "landmarks", {"shoulders_default": "True"}),
        ("holes_filled", "segment", {"right_filled_percent": 9.0}),
        ("hips_doubtful", "landmarks", {"hip_confidence": 0.0}),
        ("landmarks_spread", "landmarks", {"shoulder_spread": 12.0}),
    ],
)
def test_a_planted_fault_raises_its_flag_and_no_other(flag, stage, values):
    sample, ledgers = make_cohort(120)
    before = flags_of_120()
    put(ledgers[stage], 7, **values)
    found, _ = run(sample, ledgers)
    person = sample.loc[7, "eid"]
    assert flagged(found, person) - flagged(before, person) == {flag}
    row = found[(found["eid"] == person) & (found["flag"] == flag)].iloc[0]
    check = CHECKS[flag]
    if not check.relative:
        assert row["limit"] == (getattr(config.QualityControl(), check.limit) if check.limit else 0)
    assert "{" not in row["reading"]
    assert "nan" not in row["reading"]
    others = found[found["eid"] != person].reset_index(drop=True)
    assert set(others["eid"]) <= set(before["eid"]) | {person}


@pytest.mark.parametrize(
    ("scale_left", "scale_right", "expected"),
    [
        (0.6, 1.0, {"asymmetry_large", "asymmetry_outlier"}),
        (0.6, 0.6, {"volume_outlier", "index_outlier"}),
        (1.6, 1.6, {"volume_outlier", "index_outlier"}),
        (0.1, 1.0, {"volume_low", "asymmetry_large", "asymmetry_outlier"}),
        (3.0, 3.0, {"volume_high", "volume_outlier"}),
    ],
)
def test_a_changed_volume_raises_the_flags_that_mean_it(scale_left, scale_right, expected):
    sample, ledgers = make_cohort()
    row = 9
    values = ledgers["volumes"].loc[row]
    put_volumes(
        ledgers["volumes"], row, values["left_ml"] * scale_left, values["right_ml"] * scale_right
    )
    found, _ = run(sample, ledgers)
    assert expected <= flagged(found, sample.loc[row, "eid"])


def test_height_explains_a_large_volume_that_raw_z_would_flag():
    sample, ledgers = make_cohort(600)
    tall = 1
    sample.loc[tall, ["height_cm", "bmi", "age"]] = [199.0, 34.0, 46.0]
    expected = 815 * (199 / 176) ** 2 * np.exp(0.004 * 17 + 0.012 * 7.5)
    put_volumes(ledgers["volumes"], tall, expected * 0.49, expected * 0.51)
    totals = ledgers["volumes"]["total_ml"]
    plain = robust.grouped_z(totals, sample["sex"]).z
    assert plain[tall] > 3.5
    found, _ = run(sample, ledgers)
    assert "volume_outlier" not in flagged(found, sample.loc[tall, "eid"])


def test_failures_do_not_hide_one_another():
    sample, ledgers = make_cohort()
    bad = list(range(0, PEOPLE, 10))  # a tenth of the cohort, all women, far too small
    for row in bad:
        put_volumes(ledgers["volumes"], row, 105.0, 105.0)
    found, _ = run(sample, ledgers)
    caught = set(found.loc[found["flag"] == "volume_outlier", "eid"])
    assert caught >= set(sample.loc[bad, "eid"])
    assert len(caught) <= len(bad) + 0.03 * PEOPLE


def test_what_is_missing_is_not_evaluated_and_counted():
    sample, ledgers = make_cohort()
    sample.loc[3, "bmi"] = np.nan
    ledgers["dixon"] = ledgers["dixon"].drop(columns="snr")
    ledgers["segment"].loc[5, "mean_probability"] = np.nan
    put_volumes(ledgers["volumes"], 3, 105.0, 105.0)
    found, summary = run(sample, ledgers)
    summary = summary.set_index("flag")
    assert "volume_outlier" not in flagged(found, sample.loc[3, "eid"])
    assert summary.loc["volume_outlier", "not_evaluable"] == 1
    assert summary.loc["volume_outlier", "reason"] == "bmi missing"
    assert summary.loc["low_signal_to_noise", "evaluated"] == 0
    assert summary.loc["low_signal_to_noise", "reason"] == "not known in this run: dixon.snr"
    assert summary.loc["network_unsure", "not_evaluable"] == 1
    for row in summary.itertuples():
        assert row.evaluated + row.not_evaluable == PEOPLE
        assert bool(row.reason) == bool(row.not_evaluable)


def test_refused_participants_are_flagged_by_their_verdict_and_spoil_no_distribution():
    sample, ledgers = make_cohort()
    put(ledgers["dixon"], 4, verdict="truncated_zip", message="ends after 3 members")
    found, summary = run(sample, ledgers)
    row = found[found["eid"] == sample.loc[4, "eid"]].iloc[0]
    assert (row["flag"], row["severity"]) == ("truncated_zip", "no_volume")
    assert row["reading"] == "no volume; dixon: ends after 3 members"
    assert pd.isna(row["value"])
    assert (summary["evaluated"] + summary["not_evaluable"] == PEOPLE - 1).all()


def test_a_side_without_a_volume_is_serious():
    sample, ledgers = make_cohort()
    names = ["left_ml", "total_ml", "mean_ml", "difference_ml"]
    ledgers["volumes"].loc[6, names] = np.nan
    found, _ = run(sample, ledgers)
    rows = found[found["eid"] == sample.loc[6, "eid"]]
    assert list(rows["flag"]) == ["side_missing"]
    assert list(rows["severity"]) == ["serious"]


def test_two_visits_that_disagree_are_both_flagged():
    sample, ledgers = make_cohort()
    for table in (sample, *ledgers.values()):
        table.loc[21, ["eid", "instance"]] = [table.loc[1, "eid"], "3"]
    first = ledgers["volumes"].loc[1]
    put_volumes(ledgers["volumes"], 21, first["left_ml"] * 1.02, first["right_ml"])
    found, _ = run(sample, ledgers)
    assert "visits_disagree" not in set(found["flag"])
    put_volumes(ledgers["volumes"], 21, first["left_ml"] * 0.8, first["right_ml"] * 0.8)
    found, summary = run(sample, ledgers)
    rows = found[found["flag"] == "visits_disagree"]
    assert list(rows["instance"]) == ["2", "3"]
    assert rows["value"].to_numpy() == pytest.approx(-200 * 0.2 / 1.8)
    assert summary.set_index("flag").loc["visits_disagree", "evaluated"] == 2


@pytest.mark.parametrize("people", [1, 2, 6, 12, 28])
def test_small_cohorts_are_judged_as_far_as_they_can_be(people):
    sample, ledgers = make_cohort(people)
    put(ledgers["volumes"], 0, left_outside_body_percent=20.0)
    found, summary = run(sample, ledgers)
    assert "outside_body" in flagged(found, sample.loc[0, "eid"])
    summary = summary.set_index("flag")
    evaluated = summary.loc["volume_outlier", "evaluated"]
    assert evaluated == (people if people == 28 else 0)
    if evaluated == 0:
        assert "too few" in summary.loc["volume_outlier", "reason"]


def test_one_sex_or_no_spread_is_no_error():
    sample, ledgers = make_cohort(60)
    sample["sex"] = "female"
    ledgers["volumes"][["left_water_ratio", "right_water_ratio"]] = 0.6
    sample["height_cm"] = 170.0
    _, summary = run(sample, ledgers)
    summary = summary.set_index("flag")
    assert summary.loc["unlike_muscle_signal", "evaluated"] == 0  # no spread, no judgement
    assert summary.loc["volume_outlier", "evaluated"] == 60


def test_a_covariate_that_hardly_anybody_has_is_left_out_and_named():
    sample, ledgers = make_cohort()
    sample.loc[np.arange(PEOPLE) % 25 != 0, "bmi"] = np.nan
    height = sample["height_cm"]
    _, summary = run(sample, ledgers)
    row = summary.set_index("flag").loc["volume_outlier"]
    assert row["evaluated"] == PEOPLE
    assert row["method"].startswith("robust regression")
    assert row["method"].endswith("without bmi: seldom known")
    assert "bmi" not in summary.set_index("flag").loc["length_outlier", "method"]
    # height is still adjusted for
    totals = ledgers["volumes"]["total_ml"]
    covariates = sample[["height_cm", "bmi"]]
    z = robust.regression_z(np.log(totals), covariates, sample["sex"]).z
    for sex in ("female", "male"):
        rows = sample["sex"] == sex
        assert abs(np.corrcoef(z[rows], height[rows])[0, 1]) < 0.1
        assert np.corrcoef(totals[rows], height[rows])[0, 1] > 0.3


def test_rounding_error_is_no_spread():
    rng = np.random.default_rng(2)
    x = pd.DataFrame({"height": rng.normal(170, 7, 200)})
    y = 5.0 + 0.01 * x["height"]
    sex = pd.Series(["female"] * 200)
    assert robust.regression_z(y, x, sex).z.isna().all()
    noise = pd.Series(1e-14 * rng.normal(size=200))
    assert robust.grouped_z(noise, sex).z.isna().all()
    judged = robust.regression_z(y + rng.normal(0, 0.01, 200), x, sex).z
    assert judged.std() == pytest.approx(1, abs=0.2)


def test_limits_come_from_the_configuration():
    sample, ledgers = make_cohort(60)
    found, _ = run(sample, ledgers, min_snr=1000)
    assert (found["flag"] == "low_signal_to_noise").sum() == 60
    with pytest.raises(InputError, match="min_snrr"):
        run(sample, ledgers, min_snrr=3)


def test_every_check_is_defined_limited_and_sourced():
    limits = config.QualityControl().model_dump()
    for name, check in CHECKS.items():
        assert check.definition, name
        assert check.source, name
        assert check.origin, name
        assert check.limit in limits or check.limit is None, name
        assert check.direction in {"high", "low", "both"}, name


def test_verdicts_put_the_worst_first_and_refused_ones_after_the_flagged():
    sample, ledgers = make_cohort(120)
    put(ledgers["volumes"], 3, left_outside_body_percent=2.0)
    put(ledgers["volumes"], 5, left_outside_body_percent=40.0, left_loose_percent=12)
    put(ledgers["dixon"], 8, verdict="truncated_zip")
    put(ledgers["dixon"], 9, swaps_corrected="4")
    found, _ = run(sample, ledgers, max_outlier_z=99, max_asymmetry_z=99, max_length_z=99)
    table = flags.verdicts(sample, found)
    assert len(table) == 120
    assert list(table["eid"][:4]) == list(sample.loc[[5, 3, 9, 8], "eid"])
    assert list(table["qc"][:4]) == ["serious", "serious", "note", "no_volume"]
    assert set(table["qc"][4:]) == {"pass"}
    # predicted quality orders those with the same verdict, however many flags they have
    predicted = sample.assign(**{flags.PREDICTED: np.linspace(0.7, 0.9, 120)})
    ordered = flags.verdicts(predicted, found)["eid"]
    assert list(ordered[:4]) == list(sample.loc[[3, 5, 9, 8], "eid"])
    assert list(ordered[4:7]) == list(sample.loc[[0, 1, 2], "eid"])
    predicted.loc[77, flags.PREDICTED] = np.nan
    assert flags.verdicts(predicted, found)["eid"][4] == sample.loc[77, "eid"]
    assert table.loc[0, "flags"].split(",")[0] == "outside_body"
    noted = flags.annotate(volumes.table(sample, ledgers), table)
    assert list(noted.columns) == list(volumes.COLUMNS)
    assert noted.loc[5, "qc_verdict"] == "serious"


# --- evidence on images --------------------------------------------------------------------------


def spindle(shape=(60, 40, 80)):
    """Two tapering muscles, a body around them, and a water image."""
    x, y, z = np.indices(shape)
    mask = np.zeros(shape, np.uint8)
    radius = 6 * np.sin(np.pi * np.clip((z - 15) / 50, 0, 1))
    for label, centre in ((grid.RIGHT, 18), (grid.LEFT, 42)):
        inside = (x - centre) ** 2 + (y - 20) ** 2 < radius**2
        mask[inside & (radius > 0.5)] = label
    body = (x > 2) & (x < 57) & (y > 2) & (y < 37)
    water = np.where(mask > 0, 100.0, np.where(body, 40.0, 0.0)).astype(np.float32)
    landmarks = {"11": (20, 20, 20), "12": (40, 20, 20)}
    boxes = {"right": ((-5, 5, 10), (30, 35, 75)), "left": ((30, 5, 10), (65, 35, 75))}
    return mask, body, water, landmarks, boxes


def gather(mask, body, water, landmarks, boxes):
    affine = grid.las_affine(spacing=(2.0, 2.0, 3.0))
    return evidence.gather(mask, affine, water, body, landmarks, boxes)


def test_evidence_of_good_masks():
    found = gather(*spindle())
    for side in grid.SIDES:
        assert found[f"{side}_crop_border_cm2"] == 0
        assert found[f"{side}_image_border_voxels"] == 0
        assert found[f"{side}_outside_body_percent"] == 0
        assert found[f"{side}_across_midline_percent"] is None  # the crops end there
        assert found[f"{side}_loose_percent"] == 0
        levels = np.flatnonzero((spindle()[0] == grid.SIDES[side]).any(axis=(0, 1)))
        assert found[f"{side}_lowest_mm"] == grid.ORIGIN_RAS_MM[2] + 3 * levels[0]
        assert found[f"{side}_highest_mm"] == grid.ORIGIN_RAS_MM[2] + 3 * levels[-1]
        assert found[f"{side}_end_area_percent"] < 10
        assert found[f"{side}_water_step_percent"] == 0
        assert found[f"{side}_water_ratio"] == pytest.approx(1.0)
        assert found[f"{side}_edge_contrast"] == pytest.approx(60 / 140, abs=0.02)
    assert set(found) == set(evidence.COLUMNS)


def test_evidence_sees_each_planted_fault():
    mask, body, water, landmarks, boxes = spindle()
    cut = mask.copy()
    cut[:, :, 40:] = 0
    assert gather(cut, body, water, landmarks, boxes)["left_end_area_percent"] > 90
    boxes_low = boxes | {"left": ((30, 5, 10), (65, 35, 40))}
    touching = gather(mask, body, water, landmarks, boxes_low)["left_crop_border_cm2"]
    assert touching == pytest.approx((mask[:, :, 39] == grid.LEFT).sum() * 0.04)
    strange = mask.copy()
    strange[25:27, 20, 40] = grid.LEFT
    strange[0, 0, 0] = grid.RIGHT
    found = gather(strange, body, water, landmarks, {})  # as of another tool's masks
    assert found["left_across_midline_percent"] == pytest.approx(
        100 * 2 / (strange == grid.LEFT).sum()
    )
    assert found["left_loose_percent"] == pytest.approx(100 * 2 / (mask == grid.LEFT).sum())
    assert found["right_image_border_voxels"] == 1
    assert found["right_outside_body_percent"] > 0
    seam = water.copy()
    seam[:, :, 40:] *= 0.5
    step = gather(mask, body, seam, landmarks, boxes)["right_water_step_percent"]
    assert step == pytest.approx(200 * 50 / 150)


def test_evidence_without_images_or_mask_is_missing():
    mask, *_ = spindle()
    found = evidence.gather(np.where(mask == grid.LEFT, 0, mask), grid.las_affine())
    assert all(found[f"left_{name}"] is None for name in evidence.SIDE_EVIDENCE)
    assert found["right_loose_percent"] == 0
    assert found["right_water_ratio"] is None
    assert found["right_across_midline_percent"] is None


def test_lists_in_ledgers_are_counted():
    cells = ["S4,S5", "[4, 5]", [1, 2, 3], "[]", "", np.nan, np.nan, 4.0, "11 12"]
    table = pd.DataFrame({"dixon.swaps_corrected": pd.Series(cells, dtype=object)})
    table["dixon.verdict"] = ["ok"] * 6 + ["truncated_zip", "ok", "ok"]
    counts = registry.Evidence(table).count("dixon.swaps_corrected")
    assert list(counts[:6]) == [2, 2, 3, 0, 0, 0]
    assert np.isnan(counts[6])
    assert list(counts[7:]) == [1, 2]


def test_a_misspelt_name_of_evidence_is_an_error_and_not_a_check_that_never_fires():
    known = registry.Evidence(pd.DataFrame({"dixon.snr": [3.0], "dixon.snrr": [3.0]}))
    assert list(known.number("dixon.snr")) == [3.0]
    for name in ("dixon.snrr", "dixonn.snr", "snr", "volumes.left_componentss"):
        with pytest.raises(KeyError, match="no table"):
            known.number(name)
    with pytest.raises(registry.Absent):
        known.number("dixon.swap_confidence")


@pytest.mark.parametrize("low", [True, False])
def test_a_start_limit_gives_way_to_the_cohorts_own(low):
    rng = np.random.default_rng(5)
    n = 600
    values = pd.Series(rng.gamma(4, 1, n) * np.where(np.arange(n) < 300, 1, 10))
    values *= -1 if low else 1
    sex = pd.Series(np.where(np.arange(n) < 300, "female", "male"))
    site = pd.Series(np.where(np.arange(n) % 2, "Reading", "Cheadle"))
    site[590:] = "Bristol"  # too few: compared with their sex
    site[580:590] = None
    start = -0.5 if low else 0.5
    found = robust.cohort_limits(values, sex, site, start, low, 100, 5)
    beyond = values < found.z if low else values > found.z
    assert beyond.sum() <= 4  # the start would flag nearly all of them
    assert found.z[:300].abs().max() < found.z[300:].abs().min()
    assert len(set(found.z[580:])) == 1
    fewer = robust.cohort_limits(values, sex, site, start, low, 1000, 5)
    assert set(fewer.z) == {start}
    assert fewer.method == ""


def test_failures_do_not_move_the_cohorts_own_limit_far():
    rng = np.random.default_rng(6)
    clean = pd.Series(rng.gamma(4, 1, 1000))
    failed = clean.copy()
    failed[:100] = 60.0
    same = pd.Series("x", index=clean.index)
    limits = [robust.cohort_limits(v, same, same, 1.0, False, 100, 5).z[0] for v in (clean, failed)]
    assert limits[1] < 1.35 * limits[0] < 60


def test_a_group_without_spread_keeps_the_start_limit():
    values = pd.Series(np.zeros(300))
    same = pd.Series("x", index=values.index)
    assert set(robust.cohort_limits(values, same, same, 2.0, False, 100, 5).z) == {2.0}


def test_limits_of_a_large_cohort_are_named_and_those_of_a_small_one_are_the_start():
    sample, ledgers = make_cohort(400)
    _, summary = run(sample, ledgers)
    row = summary.set_index("flag").loc["low_signal_to_noise"]
    assert row["method"].startswith("limit ")
    assert "sex and site" in row["method"]
    assert row["limit"] == 5
    _, summary = run(*make_cohort(60))
    assert summary.set_index("flag").loc["low_signal_to_noise", "method"] == ""


def test_a_flag_on_everybody_stops_being_one_where_the_cohort_is_large():
    sample, ledgers = make_cohort(400)
    rng = np.random.default_rng(3)
    ledgers["landmarks"]["hip_confidence"] = rng.normal(0.4, 0.03, 400)  # other scans than ours
    put(ledgers["landmarks"], 7, hip_confidence=0.0)
    found, _ = run(sample, ledgers)
    assert list(found.loc[found["flag"] == "hips_doubtful", "eid"]) == [sample.loc[7, "eid"]]


def test_regression_gives_back_the_planted_residual():
    rng = np.random.default_rng(2)
    x = pd.DataFrame({"a": rng.normal(size=500), "b": rng.normal(size=500)})
    noise = rng.normal(0, 2.0, 500)
    noise[:25] += 40
    y = 3 + 2 * x["a"] - x["b"] + noise
    sex = pd.Series(np.where(np.arange(500) % 2, "male", "female"))
    scores = robust.regression_z(y, x, sex)
    assert "within each sex" in scores.method
    assert scores.z.to_numpy() == pytest.approx(noise / 2.0, rel=0.2, abs=0.5)


def test_the_crops_follow_from_the_landmarks():
    joints = {"1": (30, 80, 350), "2": (190, 80, 350), "11": (62, 77, 160), "12": (142, 77, 160)}
    boxes = evidence.crop_boxes(joints, grid.SHAPE)
    assert boxes["left"] == ((102, 39, 97), (198, 135, 289))
    assert boxes["right"] == ((6, 39, 97), (102, 135, 289))
    assert evidence.crop_boxes({"11": (1, 2, 3)}, grid.SHAPE) == {}
    mask = np.zeros(grid.SHAPE, np.uint8)
    mask[102, 60:70, 200] = grid.LEFT  # on the face towards the midline
    found = evidence.gather(mask, grid.las_affine(), landmarks=joints)
    assert found["left_crop_border_cm2"] == pytest.approx(10 * 2.232142925 * 3.0 / 100)
