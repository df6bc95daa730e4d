"""Tables 1, 2 and S2: exact values and how they are printed."""

import math

import numpy as np
import pandas as pd
import pytest

from iliopsoas.statistics import cohort, formats, tables


def test_table1_percentages_are_of_the_whole_cohort(main_table):
    table = main_table(n=100)
    table.loc[:5, "ethnicity"] = "Asian"
    table.loc[6:20, "ethnicity"] = None
    exact = tables.table1(table, min_cell=1).set_index(["variable", "level", "sex"])
    assert exact.loc[("Participants", "", "female"), "percent"] == 50
    assert exact.loc[("Ethnicity", "Asian", "male"), "n"] == 3
    assert exact.loc[("Ethnicity", "Asian", "male"), "percent"] == 3
    assert exact.loc["Ethnicity"]["percent"].sum() == pytest.approx(100)
    assert exact.loc[("Ethnicity", "Not reported", "female"), "n"] > 0
    women = table.loc[table["sex"] == "female", "bmi"]
    assert exact.loc[("BMI", "", "female"), "sd"] == pytest.approx(women.std())
    assert exact.loc[("BMI", "", "female"), "max"] == women.max()
    text = tables.table1_formatted(tables.table1(table, 1)).set_index("")
    assert text.loc["Asian", "Male"] == "3 (3.00)"
    assert text.loc["BMI (kg/m²)", "Female"] == f"{women.mean():.1f} ± {women.std():.1f}"


def test_table2_by_hand(main_table):
    table = main_table(n=80)
    exact = tables.table2(table).set_index("measure")
    assert list(exact.index) == [measure.column for measure in cohort.MEASURES]
    men = table.loc[table["sex"] == "male", "left_ml"]
    assert exact.loc["left_ml", "male_mean"] == pytest.approx(men.mean())
    assert exact.loc["left_ml", "male_min"] == men.min()
    assert exact.loc["left_ml", "shift"] < 0  # female - male
    assert exact.loc["left_ml", "rank_biserial"] < 0
    assert (exact["q"] >= exact["p"]).all()
    assert exact.loc["imi_ml_m2", "unit"] == "ml/m²"
    assert "< 10⁻¹⁵" in list(tables.table2_formatted(tables.table2(main_table(n=400)))["p"])


def test_cross_validation_means_and_the_spread_between_folds():
    rows = [
        (fold, str(eid), "2", side, dice, 100.0, 98.0)
        for fold, eid, side, dice in [
            (1, 1, "left", 0.8),
            (1, 1, "right", 0.9),
            (1, 2, "left", 0.7),
            (1, 2, "right", 0.8),
            (2, 3, "left", 0.9),
            (2, 3, "right", 1.0),
        ]
    ]
    columns = ["fold", "eid", "instance", "side", "dice", "automatic_ml", "manual_ml"]
    exact = tables.cross_validation(pd.DataFrame(rows, columns=columns)).set_index("fold")
    assert exact.loc["1", "subjects"] == 2
    assert exact.loc["1", "dice_mean"] == pytest.approx(0.8)
    assert exact.loc["mean of folds", "dice_mean"] == pytest.approx((0.8 + 0.95) / 2)
    assert exact.loc["mean of folds", "dice_sd"] == pytest.approx(np.std([0.8, 0.95], ddof=1))
    assert exact.loc["all muscles", "bias_percent"] == pytest.approx(100 * 2 / 99)
    assert "no cross-validation" in tables.cross_validation(None)["note"].iloc[0]
    # of weights from elsewhere there are no folds, and nobody knows whom they were trained on
    elsewhere = pd.DataFrame(rows, columns=columns).assign(fold=0)
    (row,) = tables.cross_validation(elsewhere).to_dict("records")
    assert (row["fold"], row["subjects"]) == ("all muscles", 3)
    assert row["dice_mean"] == pytest.approx(5.1 / 6)
    assert "not known" in row["note"]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (1e-16, "< 10⁻¹⁵"),
        (0.0, "< 10⁻¹⁵"),
        (0.04, "0.040"),
        (0.99999, "1.000"),
        (3.2e-8, "3.2 \N{MULTIPLICATION SIGN} 10⁻⁸"),
        (9.99e-5, "1.0 \N{MULTIPLICATION SIGN} 10⁻⁴"),
        (math.nan, "\N{EN DASH}"),
    ],
)
def test_p_as_the_paper_prints_it(p, text):
    assert formats.p_value(p) == text


def test_numbers_round_without_a_negative_zero():
    assert formats.number(-0.04) == "0.0"
    assert formats.number(-6.5) == "\N{MINUS SIGN}6.5"
    assert formats.number(math.nan) == "\N{EN DASH}"
