"""Small samples: what can be estimated is, and no interval promises more than it holds."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas.statistics import agreement, hypotheses, sensitivity, trend

FOLDER = Path(__file__).resolve().parents[1] / "r"
REFERENCE = pd.read_csv(FOLDER / "measures.tsv", sep="\t", keep_default_na=False)
SMALL = {
    "pair": [3, 8],
    "three": [-1, 4, 6.5],
    "four": [2, 2.5, -7, 11],
    "five": [0.7, -1.6, -0.2, -1.2, -0.1],
    "tied": [1, 1, 1, 2],
    "six": [0.4, 1.1, 2.3, 3.8, 5.9, 7.7],
}


def reference(kind, case):
    rows = REFERENCE[(REFERENCE["kind"] == kind) & (REFERENCE["case"] == case)]
    return dict(zip(rows["quantity"], rows["value"].astype(float), strict=True))


@pytest.mark.parametrize("case", SMALL)
def test_a_pseudomedian_without_a_95_percent_interval_is_still_estimated(case):
    expected = reference("signed_rank_small", case)
    found = hypotheses.signed_rank(SMALL[case])
    assert found.estimate == pytest.approx(expected["estimate"], abs=1e-6)
    assert found.p == pytest.approx(expected["p"], rel=1e-9)
    assert expected["level"] < 0.95  # R could not reach it either
    assert math.isnan(found.low)
    assert "95%" in found.note


def test_equal_differences_estimate_themselves():
    found = hypotheses.signed_rank([4.0, 4.0, 4.0])
    assert found.estimate == 4.0
    assert math.isnan(found.low)


@pytest.mark.parametrize(("n", "m"), [(1, 50), (2, 6), (3, 3), (3, 4), (4, 4), (5, 9)])
def test_two_groups_have_a_95_percent_interval_only_where_their_sizes_allow_one(n, m):
    x, y = np.arange(n) * 1.3, 20 + np.arange(m) * 0.7
    found = hypotheses.rank_sum(x, y)
    if found.p >= 0.05:  # complete separation is not significant: no interval can be
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert "too few values" in found.note
    else:
        assert found.low <= found.estimate <= found.high < 0
    assert math.isfinite(found.estimate)


@pytest.mark.parametrize("n", [20, 1500, 50000])
def test_limits_of_agreement_have_exact_intervals_at_any_size(n):
    rng = np.random.default_rng(n)
    a = rng.normal(300, 50, n)
    found = agreement.bland_altman(a + rng.normal(0, 5, n), a)
    for name, share in (("upper_low", 0.025), ("upper_high", 0.975)):
        factor = reference("limit", f"{n} {share}")["factor"]
        assert found[name] == pytest.approx(found["bias"] + factor * found["sd"], rel=1e-7)
    assert found["limits_method"].startswith("exact")


@pytest.mark.parametrize("n", [12, 30])
def test_searching_for_a_break_finds_one_by_chance_in_at_most_5_percent(n):
    rng = np.random.default_rng(n)
    runs = 1500
    p = [
        trend.broken_stick(rng.integers(44, 83, n), 5 - 0.3 * n + rng.normal(0, 20, n))["p"]
        for _ in range(runs)
    ]
    share = np.mean(np.array(p) < 0.05)
    error = math.sqrt(0.05 * 0.95 / runs)
    assert share < 0.05 + 3 * error
    assert share > 0.02  # and is not bought by giving up


def test_the_difference_of_two_slopes_changes_has_welchs_interval():
    rng = np.random.default_rng(8)
    rows = []
    for sex, n in (("female", 14), ("male", 25)):
        age = rng.uniform(45, 80, n)
        index = 250 - np.maximum(age - 60, 0) + rng.normal(0, 2, n)
        rows.append(pd.DataFrame({"sex": sex, "age": age, "imi_ml_m2": index}))
    table = pd.concat(rows)
    female, male, both = trend.acceleration(table, trend.fits(table)).to_dict("records")
    # standard errors from the intervals of each sex, degrees of freedom n - 4
    errors = [
        (row["change_high"] - row["change_low"]) / 2 / stats.t.ppf(0.975, row["n"] - 4)
        for row in (female, male)
    ]
    variances = np.square(errors)
    df = variances.sum() ** 2 / (variances[0] ** 2 / 10 + variances[1] ** 2 / 21)
    half = stats.t.ppf(0.975, df) * math.sqrt(variances.sum())
    assert both["change_high"] - both["change"] == pytest.approx(half, rel=1e-9)


def test_means_of_few_participants_have_t_intervals():
    values = pd.Series([400.0, 450.0, 480.0, 520.0])
    columns = ("total_ml", "mean_ml", "left_ml", "right_ml", "difference_ml", "imi_ml_m2")
    table = pd.DataFrame(dict.fromkeys(columns, pd.concat([values, values * 1.2])))
    table = table.assign(sex=["female"] * 4 + ["male"] * 4, height_cm=170.0, bmi=25.0, age=60.0)
    found = sensitivity.main_results(table).iloc[0]
    low, high = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (found["low"], found["high"]) == pytest.approx((low, high))
