"""Sides, hands, sexes, visits, methods, and what flags change."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas import statistics
from iliopsoas.statistics import associations, cohort, repeat, sensitivity
from iliopsoas.status import InputError


def test_asymmetry_signs_and_percent(main_table):
    table = main_table(n=300)
    exact = associations.asymmetry(table).set_index("sex")
    women = table[table["sex"] == "female"]
    difference = women["left_ml"] - women["right_ml"]
    row = exact.loc["female"]
    assert row["difference_ml"] == pytest.approx(difference.mean())
    expected = (100 * difference / ((women["left_ml"] + women["right_ml"]) / 2)).mean()
    assert row["difference_percent"] == pytest.approx(expected)
    interval = stats.t.interval(0.95, len(difference) - 1, difference.mean(), stats.sem(difference))
    assert (row["difference_ml_low"], row["difference_ml_high"]) == pytest.approx(interval)
    assert row["rank_biserial"] < 0  # the right is larger


def test_handedness_finds_a_planted_effect_and_hides_tiny_groups(main_table):
    table = main_table(n=400)
    table.loc[table["handedness"] == "left", "difference_ml"] += 30
    table.loc[:2, "handedness"] = "both"
    table.loc[3, "handedness"] = None
    exact = associations.handedness(table)
    pair = exact[exact["hand"] == "right against left"]
    assert (pair["p"] < 1e-6).all()
    assert (pair["estimate"] < 0).all()
    tiny = exact[(exact["kind"] == "group") & (exact["hand"] == "both")]
    assert tiny["mean"].isna().all()
    assert tiny["note"].str.contains("withheld").all()


def test_height_correction_removes_what_height_explains():
    rng = np.random.default_rng(0)
    n = 4000
    male = np.arange(n) % 2 == 1
    height = np.where(male, 176, 163) + rng.normal(0, 6, n)
    table = pd.DataFrame(
        {
            "sex": np.where(male, "male", "female"),
            "height_cm": height,
            "total_ml": 5 * height + rng.normal(0, 20, n),
        }
    )
    table["imi_ml_m2"] = table["total_ml"] / (height / 100) ** 2
    rows = associations.sex_differences(table)
    plain, _, moved, model = (rows.iloc[i] for i in range(4))
    assert plain["p"] < 1e-100  # only because men are taller
    assert moved["low"] < 0 < moved["high"]
    assert model["low"] < 0 < model["high"]


def test_change_per_year_is_of_the_same_person(make):
    volumes, sample = make(40)
    later, later_sample = make(40, instance="3")
    grown = [measure.column for measure in cohort.MEASURES]
    later[grown] = volumes[grown] * 0.98
    later_sample["visit_date"] = "2018-05-01"
    later_sample.loc[0, "visit_date"] = None
    shuffled = later.sample(frac=1, random_state=1)
    both = repeat.pairs(
        cohort.measured(pd.concat([volumes, shuffled]), pd.concat([sample, later_sample]))
    )
    row = repeat.repeat(both).query("measure == 'total_ml' and sex == 'both'").iloc[0]
    years = 730 / 365.25
    assert row["percent_per_year_mean"] == pytest.approx(-2 / years, rel=1e-6)
    assert row["n"] == 40
    assert "1 without a time" in row["note"]
    table = repeat.bland_altman_table(repeat.comparisons(None, both))
    percent = table.query("unit == '%' and measure == 'total volume'").iloc[0]
    assert percent["bias"] == pytest.approx(100 * -0.02 / 0.99)


def test_any_other_method_is_compared_by_participant(make):
    volumes, sample = make(30)
    other = volumes[["eid", "instance", "left_ml", "right_ml"]].iloc[::-1].copy()
    other["left_ml"] += 10
    other = other.iloc[5:]
    found = statistics.compute(volumes, sample, others={"another": other})["bland_altman"]
    rows = found[found["comparison"] == "another - this run"].set_index(["measure", "unit"])
    assert rows.loc[("left volume", "ml"), "bias"] == pytest.approx(10)
    assert rows.loc[("right volume", "ml"), "bias"] == pytest.approx(0)
    assert rows.loc[("total volume", "ml"), "n"] == 25
    with pytest.raises(InputError, match="volumes of another"):
        statistics.compute(volumes, sample, others={"another": other.drop(columns="left_ml")})


def test_sensitivity_leaves_out_the_flagged(main_table):
    table = main_table(n=60)
    table.loc[0, "total_ml"] = 1e6
    flags = pd.DataFrame(
        {
            "eid": [table.loc[0, "eid"]],
            "instance": ["2"],
            "flag": ["outlier"],
            "severity": ["review"],
        }
    )
    found = sensitivity.sensitivity(table, flags).set_index(["result", "sex"])
    row = found.loc[("mean total_ml", table.loc[0, "sex"])]
    assert row["value_all"] > 10_000
    assert row["value_unflagged"] < 1000
    assert row["n_unflagged"] == row["n_all"] - 1
    assert row["difference"] == row["value_unflagged"] - row["value_all"]
    kept = sensitivity.sensitivity(table, flags, severities=["serious"])
    assert (kept["n_all"] == kept["n_unflagged"]).all()
