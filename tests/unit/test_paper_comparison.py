"""This run's numbers beside the paper's."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import statistics
from iliopsoas.statistics import cohort, comparison

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
