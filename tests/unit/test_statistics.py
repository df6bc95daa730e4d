"""Tables and tests of the paper: exact values, small cells, and inputs that allow no test."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas import statistics
from iliopsoas.statistics import (
    associations,
    cohort,
    comparison,
    diagnoses,
    disclosure,
    formats,
    repeat,
    sensitivity,
    tables,
    tests,
)
from iliopsoas.status import InputError


def make(n=60, seed=0, sexes=("female", "male"), instance="2"):
    """volumes and sample of n participants."""
    rng = np.random.default_rng(seed)
    sex = np.array([sexes[i % len(sexes)] for i in range(n)])
    male = sex == "male"
    height = np.where(male, 176, 162) + rng.normal(0, 6, n)
    total = np.where(male, 815, 542) + rng.normal(0, 80, n) + 4 * (height - 170)
    difference = rng.normal(-7, 15, n)
    keys = {"eid": [str(7391527 + 13 * i) for i in range(n)], "instance": instance}
    volumes = pd.DataFrame(
        keys
        | {
            "status": "ok",
            "left_ml": (total + difference) / 2,
            "right_ml": (total - difference) / 2,
            "total_ml": total,
            "mean_ml": total / 2,
            "difference_ml": difference,
            "imi_ml_m2": total / (height / 100) ** 2,
        }
    )
    sample = pd.DataFrame(
        keys
        | {
            "sex": sex,
            "age": rng.integers(44, 83, n).astype(float),
            "age_group": "44-53",
            "bmi": rng.normal(26, 4, n),
            "height_cm": height,
            "weight_kg": rng.normal(75, 12, n),
            "ethnicity": "White European",
            "handedness": rng.choice(["left", "right"], n),
            "centre": "Reading",
            "visit_date": "2016-05-01",
        }
    )
    return volumes, sample


def main_table(**options):
    volumes, sample = make(**options)
    return cohort.main_visit(cohort.measured(volumes, sample))


# --- who is counted


def test_only_sampled_measured_first_visits_are_counted():
    volumes, sample = make(8)
    volumes.loc[0, ["status", "left_ml"]] = ["no_body", np.nan]
    volumes.loc[1, "left_ml"] = np.nan  # ok, but nothing was measured
    later, later_sample = make(3, instance="3")
    stranger = volumes.tail(1).assign(eid="999")
    found = cohort.measured(
        pd.concat([volumes, later, stranger]), pd.concat([sample, later_sample])
    )
    assert list(cohort.main_visit(found)["eid"]) == list(sample["eid"][2:])
    steps = cohort.flow(volumes, sample).set_index("step")["n"]
    assert steps["sampled"] == 8
    assert steps["not measured: no_body"] == 1
    assert steps["not measured: ok, but a volume is missing"] == 1
    assert steps["analysed"] == 6


def test_a_missing_column_and_a_doubled_visit_are_named():
    volumes, sample = make(4)
    with pytest.raises(InputError, match="handedness"):
        cohort.measured(volumes, sample.drop(columns="handedness"))
    with pytest.raises(InputError, match="twice"):
        cohort.measured(pd.concat([volumes, volumes.head(1)]), sample)
    with pytest.raises(InputError, match="female or male"):
        cohort.measured(volumes, sample.assign(sex="F"))


# --- tests where R is no help


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_shifts_against_scipy(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 8, 40).astype(float), rng.integers(1, 9, 35).astype(float)
    found = tests.rank_sum(x, y)
    expected = stats.mannwhitneyu(x, y, use_continuity=True, method="asymptotic")
    assert found.statistic == expected.statistic
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.effect == pytest.approx(np.mean(np.sign(x[:, None] - y)), abs=1e-12)
    assert found.low <= found.estimate <= found.high


def test_intervals_do_not_change_with_the_order_of_the_groups():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, 300), rng.normal(0.4, 1, 250)
    a, b = tests.rank_sum(x, y), tests.rank_sum(y, x)
    assert (a.estimate, a.low, a.high) == pytest.approx((-b.estimate, -b.high, -b.low), abs=2e-4)
    assert a.estimate == pytest.approx(np.median(x[:, None] - y), abs=2e-4)


def test_missing_values_are_left_out_and_counted():
    x = np.array([1.0, np.nan, 3, 4, 9])
    assert tests.rank_sum(x, [2, 5, np.nan]).missing == 2
    assert tests.spearman(x, [1, 2, np.nan, 5, 4]).n == 3
    assert tests.signed_rank(x, [0, 1, 1, np.inf, 2]).missing == 2


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (tests.rank_sum([], [1, 2]), "empty"),
        (tests.rank_sum([np.nan], [1, 2]), "empty"),
        (tests.rank_sum([2, 2], [2, 2, 2]), "equal"),
        (tests.signed_rank([], []), "no pairs"),
        (tests.signed_rank([1, 2], [1, 2]), "zero"),
        (tests.spearman([1, 2], [3, 4]), "2 pairs"),
        (tests.spearman([1, 1, 1], [1, 2, 3]), "constant"),
        (tests.shapiro([1, 2]), "2 values"),
        (tests.shapiro([3, 3, 3, 3]), "equal"),
        (tests.kruskal([[1, 2], []]), "1 groups"),
        (tests.adjusted_difference([1, 2, 3, 4], [1, 2, 3, 4], [True] * 4)[0], "one group"),
        (
            tests.adjusted_difference([1, 2, 3, 5], [1, 1, 1, 1], [True, True, False, False])[0],
            "does not vary",
        ),
    ],
)
def test_what_cannot_be_tested_has_a_reason_and_no_number(result, reason):
    assert math.isnan(result.p)
    assert math.isnan(result.estimate)
    assert reason in result.note


def test_zero_differences_take_no_part():
    rng = np.random.default_rng(3)
    difference = rng.normal(1, 2, 30)
    plain = tests.signed_rank(difference)
    padded = tests.signed_rank(np.concatenate([difference, np.zeros(12)]))
    assert padded.p == plain.p
    assert padded.n == 42
    assert "12 zero" in padded.note


def test_p_that_no_double_holds_keeps_its_logarithm():
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 20000)
    found = tests.spearman(x, x + rng.normal(0, 0.5, 20000))
    assert found.p > 0
    assert found.log10_p < -1000
    # Student's t at 10 degrees of freedom has a closed tail: compare where p still fits
    for t in (3.0, 1e3, 1e20):
        assert tests.log_two_sided_t(t, 10) == pytest.approx(
            stats.t.logsf(t, 10) + math.log(2), rel=1e-9
        )
    # and beyond: p of df = 2 is 1 - t / sqrt(2 + t^2), about 1 / t^2
    assert tests.log_two_sided_t(1e150, 2) == pytest.approx(-300 * math.log(10), rel=1e-9)
    assert tests.log_two_sided_t(1e154, 2) == pytest.approx(-308 * math.log(10), rel=1e-9)


def test_normality_above_the_limit_uses_a_stated_subsample():
    x = np.random.default_rng(5).normal(0, 1, 12000)
    a, b = tests.shapiro(x), tests.shapiro(x[::-1])
    assert "random 5000 of 12000" in a.note
    assert a == b  # not the order of rows decides who is drawn
    assert a.n == 12000


def test_q_counts_only_tests_that_were_made():
    q = tests.benjamini_hochberg([0.01, np.nan, 0.02])
    assert q[0] == pytest.approx(0.02)
    assert math.isnan(q[1])
    assert np.isnan(tests.benjamini_hochberg([np.nan])).all()


# --- tables


def test_table1_percentages_are_of_the_whole_cohort():
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


def test_table2_by_hand():
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


# --- diagnoses and small cells


@pytest.mark.parametrize(
    ("code", "block", "chapter"),
    [
        ("M171", "M00-M25", "M00-M99"),
        ("M17.1", "M00-M25", "M00-M99"),
        ("C509", "C50-C50", "C00-D48"),
        ("D48", "D37-D48", "C00-D48"),
        ("D509", "D50-D53", "D50-D89"),
        ("H599", "H55-H59", "H00-H59"),
        ("H600", "H60-H62", "H60-H95"),
        ("T983", "T90-T98", "S00-T98"),
        ("w19", "W00-X59", "V01-Y98"),
        ("X600", "X60-X84", "V01-Y98"),
        ("X85", "X85-Y09", "V01-Y98"),
        ("Y099", "X85-Y09", "V01-Y98"),
        ("E66", "E65-E68", "E00-E90"),
        ("A16", "A15-A19", "A00-B99"),
        ("D90", "", ""),
        ("17", "", ""),
        ("Block M00", "", ""),
        ("", "", ""),
    ],
)
def test_icd10_chapters_and_blocks(code, block, chapter):
    found = diagnoses.classify([code]).iloc[0]
    assert (found["block"], found["chapter"]) == (block, chapter)


def test_blocks_partition_their_chapters():
    table = diagnoses.blocks()
    order = diagnoses._order
    previous, last = -1, -1
    for row in table.itertuples():
        first, end = order(row.code[:3]), order(row.code[-3:])
        assert 0 <= first <= end, row.code
        if row.level == "chapter":
            low, high, previous = first, end, -1
        else:
            assert low <= first, row.code
            assert end <= high, row.code
            assert first > previous, row.code
            previous = end
        last = end
    assert last > 0
    assert (table["level"] == "chapter").sum() == 22


def diagnosed(counts, eids):
    """A diagnoses table: {code: (women, men)}; even eids are women."""
    rows = []
    for code, (women, men) in counts.items():
        rows += [(eid, code) for eid in eids[::2][:women]] + [
            (eid, code) for eid in eids[1::2][:men]
        ]
    return pd.DataFrame(rows, columns=["eid", "icd10"])


def test_table_s1_counts_people_once_and_sorts():
    table = main_table(n=200)
    codes = diagnosed(
        {"M170": (30, 20), "M160": (30, 20), "I10": (40, 45), "M545": (10, 8)}, table["eid"]
    )
    codes = pd.concat([codes, codes, pd.DataFrame([("0", "I10")], columns=codes.columns)])
    exact = diagnoses.table_s1(table, codes)
    assert list(exact["block"]) == ["", "I10-I15", "", "M00-M25", "M40-M54"]
    arthropathies = exact.set_index("block").loc["M00-M25"]
    assert (arthropathies["female_n"], arthropathies["male_n"], arthropathies["all_n"]) == (
        30,
        20,
        50,
    )
    assert arthropathies["female_percent"] == 30
    assert arthropathies["all_percent"] == 25


def test_small_cells_are_withheld_wherever_they_could_be_recovered():
    table = main_table(n=200)
    codes = diagnosed(
        {"C509": (30, 2), "N40": (0, 44), "N393": (20, 3), "I10": (4, 4)}, table["eid"]
    )
    # the men with N393 are others than those with N40: 44 + 3 = 47 is the chapter's count
    men = list(table["eid"][1::2][-3:])
    codes = codes[~((codes["icd10"] == "N393") & codes["eid"].isin(table["eid"][1::2]))]
    codes = pd.concat([codes, pd.DataFrame({"eid": men, "icd10": "N393"})])
    exact = diagnoses.table_s1(table, codes).set_index(["level", "chapter", "block"])
    numbers = exact[["female_n", "male_n", "all_n"]]
    assert not (numbers < 5).any().any()
    breast = exact.loc[("block", "C00-D48", "C50-C50")]
    assert breast["female_n"] == 30
    assert math.isnan(breast["male_n"])
    assert math.isnan(breast["all_n"])  # 32 - 30 would tell
    assert exact.loc[("chapter", "N00-N99", ""), "male_n"] == 47
    # 47 - 44 would tell that 3 have N30-N39
    assert math.isnan(exact.loc[("block", "N00-N99", "N40-N51"), "male_n"])
    assert exact.loc[("block", "I00-I99", "I10-I15"), ["female_n", "male_n", "all_n"]].isna().all()
    assert exact[numbers.isna().any(axis=1)]["note"].str.contains("withheld").all()
    everything = diagnoses.table_s1(table, codes, min_cell=1)
    assert everything[["female_n", "male_n", "all_n"]].notna().all().all()
    text = diagnoses.table_s1_formatted(diagnoses.table_s1(table, codes))
    assert "withheld" in set(text["Male"])


def test_a_single_small_group_of_known_sum_is_not_withheld_alone():
    shown = disclosure.suppress_partition(pd.Series({"a": 90, "b": 7, "c": 3}), 5)
    assert shown.isna().to_dict() == {"a": False, "b": True, "c": True}
    assert disclosure.suppress_partition(pd.Series({"a": 90, "b": 7}), 5).notna().all()
    assert list(disclosure.suppress_partition(pd.Series({"a": 3}), 1)) == [3]


# --- asymmetry, handedness, sexes


def test_asymmetry_signs_and_percent():
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


def test_handedness_finds_a_planted_effect_and_hides_tiny_groups():
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


# --- repeat visits and sensitivity


def test_change_per_year_is_of_the_same_person():
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


def test_sensitivity_leaves_out_the_flagged():
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


# --- whole runs that lack something


@pytest.mark.parametrize(
    "case", ["nobody", "one", "two", "one sex", "no ages", "no handedness", "constant", "tiny"]
)
def test_small_or_odd_cohorts_give_reasons_not_crashes(case, tmp_path):
    sizes = {"nobody": 4, "one": 1, "two": 2, "tiny": 7}
    sexes = ("male",) if case == "one sex" else ("female", "male")
    volumes, sample = make(sizes.get(case, 30), sexes=sexes)
    if case == "nobody":
        volumes = volumes.assign(status="no_body", left_ml=np.nan, right_ml=np.nan)
    if case == "no ages":
        sample["age"] = np.nan
    if case == "no handedness":
        sample["handedness"] = None
    if case == "constant":
        columns = [measure.column for measure in cohort.MEASURES]
        volumes[columns] = volumes.loc[0, columns].to_numpy()
    found = statistics.run_all(volumes, sample, None, None, None, tmp_path)
    assert (tmp_path / "table2.tsv").is_file()
    for name in ("table2", "correlations", "asymmetry", "normality"):
        undone = found[name][found[name]["p"].isna()]
        assert (undone["note"] != "").all(), name
    if case == "one sex":
        assert found["table2"]["female_mean"].isna().all()
        assert found["gam"].set_index("sex").loc["female", "note"] != ""
    if case == "constant":
        assert found["table2"]["p"].isna().all()


def test_no_participant_id_in_any_table(tmp_path):
    volumes, sample = make(80)
    codes = diagnosed({"M170": (30, 20)}, sample["eid"])
    statistics.run_all(volumes, sample, codes, None, None, tmp_path)
    text = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not [eid for eid in sample["eid"] if eid in text]


def test_tables_are_the_same_whatever_the_order_of_rows():
    volumes, sample = make(50)
    a = statistics.compute(volumes, sample)
    b = statistics.compute(volumes.iloc[::-1], sample.sample(frac=1, random_state=2))
    for name in a:
        pd.testing.assert_frame_equal(a[name], b[name])


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


def test_any_other_method_is_compared_by_participant():
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


# --- beside the paper

PAPER = Path(__file__).resolve().parents[2] / "resources" / "paper.tsv"


def judge(kind, value, n, run, sd=np.nan):
    paper = pd.DataFrame(
        [["x", "place", "quantity", "all", kind, value, "", n, sd, ""]], columns=comparison.COLUMNS
    )
    return comparison.paper_comparison(paper, {"x": run}).iloc[0]


def test_within_sampling_error_by_kind():
    found = comparison.Found
    mean = judge("mean", "10", 100, found(10.5, 400, 3.0), sd=2.0)
    assert mean["standard_error"] == pytest.approx(math.hypot(2 / 10, 3 / 20))
    assert mean["z"] == pytest.approx(2.0)
    assert not mean["within_sampling_error"]
    assert judge("mean", "10", 100, found(10.4, 400, 3.0), sd=2.0)["within_sampling_error"]
    assert judge("rho", "0.5", 2500, found(0.53, 2500))["within_sampling_error"]
    assert not judge("rho", "0.5", 2500, found(0.57, 2500))["within_sampling_error"]
    # a count is judged as a share of its own cohort
    assert judge("count", "2500", 5000, found(14, 28))["within_sampling_error"]
    assert not judge("count", "2500", 5000, found(25, 28))["within_sampling_error"]
    assert judge("limit", "13.3", 90, found(12.0, 90, 6.9), sd=6.9)["within_sampling_error"]
    assert judge("age_range", "60-64", 2504, found(66, 900, low=63, high=69))[
        "within_sampling_error"
    ]
    assert not judge("age_range", "60-64", 9, found(70, 9, low=66, high=74))[
        "within_sampling_error"
    ]
    assert not judge("claim", "true", 9, found(False, 9))["within_sampling_error"]


def test_a_bound_of_p_is_one_sided_and_scaled_to_the_runs_size():
    found = comparison.Found
    assert judge("p_below", "1e-15", 5000, found(1e-40, 5000))["within_sampling_error"]
    assert not judge("p_below", "1e-15", 5000, found(0.5, 5000))["within_sampling_error"]
    for p in (0.3, 1e-10):  # 28 participants cannot reach the bound, and may be clearer
        assert judge("p_below", "1e-15", 5000, found(p, 28))["within_sampling_error"]


def test_what_is_not_judged_says_why():
    for kind in ("extreme", "example", "design"):
        row = judge(kind, "5", 10, comparison.Found(7.0, 10))
        assert row["within_sampling_error"] == ""
        assert row["difference"] == 2
        assert "not judged" in row["rule"]
    missing = judge("mean", "5", 10, comparison.Found(None), sd=1.0)
    assert missing["run_value"] == ""
    assert "not available" in missing["note"]
    alone = judge("mean", "5", 10, comparison.Found(5.0, 1, np.nan), sd=1.0)
    assert alone["within_sampling_error"] == ""


def test_the_papers_numbers_are_all_there_and_consistent():
    paper = comparison.read_paper(PAPER).set_index("id")
    assert paper.index.is_unique
    assert set(paper["kind"]) <= set(comparison.RULES)
    value = paper["value"].where(~paper["kind"].isin(["claim", "age_range"])).astype(float)
    counts = value[paper.index.str.startswith("ethnicity.") & paper.index.str.endswith(".count")]
    for sex in cohort.SEXES:
        of_sex = counts[counts.index.str.contains(rf"\.{sex}\.", regex=True)]
        assert of_sex.sum() == value[f"participants.{sex}.count"]
        left, right = (value[f"measure.{side}_ml.{sex}.mean"] for side in ("left", "right"))
        assert left + right == pytest.approx(value[f"measure.total_ml.{sex}.mean"], abs=0.15)
        assert left - right == pytest.approx(value[f"measure.difference_ml.{sex}.mean"], abs=0.15)
    for name in counts.index:
        share = value[name.replace(".count", ".percent")]
        assert share == pytest.approx(100 * counts[name] / 5000, abs=0.005)
    middle = (value["agreement.upper"] + value["agreement.lower"]) / 2
    assert middle == pytest.approx(value["agreement.bias"], abs=0.05)


def test_a_cohort_drawn_as_the_paper_gives_back_its_numbers():
    from iliopsoas.figures.paper import split
    from iliopsoas.phantom.phenotypes import paper_cohort

    volumes, sample, codes = split(paper_cohort(5000, 7))
    found = statistics.compute(volumes, sample, codes, paper=PAPER)["paper_comparison"]
    chosen = found[found["id"].str.startswith(("measure.", "rho.", "asymmetry."))]
    judged = chosen[chosen["within_sampling_error"].isin([True, False])]
    assert len(judged) > 40
    assert judged["within_sampling_error"].astype(bool).mean() > 0.85
    assert judged["z"].abs().max() < 4
