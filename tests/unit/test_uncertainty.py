"""Results corrected for measurement error: planted truth, and formulas worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas.statistics import uncertainty


def cohort(n=3000, error=40.0, bias=-12.0, seed=1):
    """People whose true volumes are known, measured with bias and error by one network."""
    rng = np.random.default_rng(seed)
    bmi = rng.normal(27, 4, n)
    true = 700 + 12 * (bmi - 27) + rng.normal(0, 80, n)
    half = rng.normal(0, error / math.sqrt(2), (2, n))
    left, right = (true / 2 + bias / 2 + part for part in half)
    table = pd.DataFrame(
        {
            "eid": np.arange(n).astype(str),
            "instance": "2",
            "sex": "male",
            "bmi": bmi,
            "age": rng.uniform(45, 80, n),
            "height_cm": rng.normal(175, 7, n),
            "left_ml": left,
            "right_ml": right,
        }
    )
    table["total_ml"] = left + right
    table["difference_ml"] = left - right
    table["imi_ml_m2"] = table["total_ml"] / (table["height_cm"] / 100) ** 2
    return table, true


def annotated(n=90, error=40.0, bias=-12.0, seed=2):
    rng = np.random.default_rng(seed)
    parts = []
    for side in ("left", "right"):
        manual = rng.normal(350, 50, n)
        parts.append(
            pd.DataFrame(
                {
                    "fold": np.arange(n) % 6 + 1,
                    "eid": [str(900000 + i) for i in range(n)],
                    "instance": "2",
                    "side": side,
                    "manual_ml": manual,
                    "automatic_ml": manual + bias / 2 + rng.normal(0, error / math.sqrt(2), n),
                }
            )
        )
    return pd.concat(parts)


PAIRS = (("Volume and BMI", "bmi", "total_ml"),)


def row(table, result):
    return table[(table["result"] == result) & (table["sex"] == "male")].iloc[0]


def test_the_error_is_that_of_the_cross_validation():
    folds = annotated()
    found = uncertainty.errors(folds)
    off = (folds["automatic_ml"] - folds["manual_ml"]).groupby(folds["eid"]).sum()
    assert found["total_ml"] == (90, pytest.approx(off.mean()), pytest.approx(off.std()))
    assert uncertainty.errors(None) == {}
    assert uncertainty.errors(folds[folds["eid"] < "900005"]) == {}


def test_attenuation_worked_by_hand():
    values = np.array([1.0, 2, 3, 4, 5, 6])  # variance 3.5
    assert uncertainty.reliability(values, math.sqrt(0.7)) == pytest.approx(0.8)
    found = uncertainty.corrected_correlation(0.4, 6, values, math.sqrt(0.7), 50)
    assert found[0] == pytest.approx(0.4 / math.sqrt(0.8))
    assert found[1] < found[0] < found[2]
    spearman = uncertainty.corrected_correlation(
        0.4, 6, values, math.sqrt(0.7), 50, kind="spearman"
    )
    linear = 2 * math.sin(math.pi * 0.4 / 6) / math.sqrt(0.8)
    assert spearman[0] == pytest.approx(6 / math.pi * math.asin(linear / 2))
    assert math.isnan(uncertainty.corrected_correlation(0.4, 6, values, 5.0, 50)[0])


def test_planted_truth_is_recovered_where_the_measured_is_off():
    table, true = cohort()
    found = uncertainty.uncertainty(table, annotated(), pairs=PAIRS)
    truth = {
        "mean total_ml": 700.0,
        "SD of total_ml": math.sqrt(80**2 + 48**2),
        "mean difference_ml": 0.0,
        "rho of Volume and BMI": 6 / math.pi * math.asin(48 / math.hypot(80, 48) / 2),
        "slope of bmi on total_ml": 12 * 16 / (80**2 + 48**2),
    }
    for result, value in truth.items():
        item = row(found, result)
        assert item["corrected_low"] < value < item["corrected_high"], result
    for result in ("mean total_ml", "SD of total_ml", "slope of bmi on total_ml"):
        item = row(found, result)
        assert not item["measured_low"] < truth[result] < item["measured_high"], result
    assert abs(row(found, "mean total_ml")["corrected"] - true.mean()) < 15


def test_intervals_of_corrected_results_cover_the_truth():
    truth = {
        "mean total_ml": 700.0,
        "SD of total_ml": math.hypot(80, 48),
        "rho of Volume and BMI": 6 / math.pi * math.asin(48 / math.hypot(80, 48) / 2),
        "slope of bmi on total_ml": 12 * 16 / (80**2 + 48**2),
    }
    runs = 80
    covered = dict.fromkeys(truth, 0)
    for seed in range(runs):
        table, _ = cohort(400, seed=100 + seed)
        found = uncertainty.uncertainty(table, annotated(60, seed=500 + seed), pairs=PAIRS)
        for result, value in truth.items():
            item = row(found, result)
            covered[result] += item["corrected_low"] < value < item["corrected_high"]
    for result, count in covered.items():
        assert count / runs > 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs), (result, count)


def test_weights_follow_each_volumes_own_error():
    table, _ = cohort(200)
    sides = [
        pd.DataFrame({"eid": table["eid"], "instance": "2", "side": side})
        for side in ("left", "right")
    ]
    quality = pd.concat(sides, ignore_index=True)
    half = np.where(quality["eid"].astype(int) < 20, 1000.0, 20.0) * stats.norm.ppf(0.975)
    quality = quality.assign(error_low_ml=-half, error_high_ml=half)
    table.loc[:19, "total_ml"] += 900  # badly measured
    weight = uncertainty.weights(table, quality)
    assert weight[:20].max() < weight[20:].min()
    found = uncertainty.weighted_mean(table["total_ml"], np.where(np.arange(200) < 20, 0, 1))
    kept = table["total_ml"][20:]
    assert found[0] == pytest.approx(kept.mean())
    equal = uncertainty.weighted_mean(kept, np.full(180, 7.0))
    assert equal[0] == pytest.approx(kept.mean())
    assert equal[1:] == pytest.approx(stats.t.interval(0.95, 179, kept.mean(), stats.sem(kept)))
    assert uncertainty.weights(table, None) is None


def test_without_annotated_participants_nothing_is_corrected_and_the_table_says_why():
    found = uncertainty.uncertainty(cohort(50)[0], None, pairs=PAIRS)
    assert found["corrected"].isna().all()
    assert found["note"].str.contains("annotated").all()
    assert row(found, "mean total_ml")["measured"] > 0
