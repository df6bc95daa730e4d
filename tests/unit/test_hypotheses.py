"""Tests and effect sizes where R is no help: ties, intervals, inputs that allow no test."""

import math

import numpy as np
import pytest
from scipy import stats

from iliopsoas.statistics import hypotheses


@pytest.mark.parametrize("seed", range(5))
def test_ties_and_shifts_against_scipy(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 8, 40).astype(float), rng.integers(1, 9, 35).astype(float)
    found = hypotheses.rank_sum(x, y)
    expected = stats.mannwhitneyu(x, y, use_continuity=True, method="asymptotic")
    assert found.statistic == expected.statistic
    assert found.p == pytest.approx(expected.pvalue, rel=1e-10)
    assert found.effect == pytest.approx(np.mean(np.sign(x[:, None] - y)), abs=1e-12)
    assert found.low <= found.estimate <= found.high


def test_intervals_do_not_change_with_the_order_of_the_groups():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, 300), rng.normal(0.4, 1, 250)
    a, b = hypotheses.rank_sum(x, y), hypotheses.rank_sum(y, x)
    assert (a.estimate, a.low, a.high) == pytest.approx((-b.estimate, -b.high, -b.low), abs=2e-4)
    assert a.estimate == pytest.approx(np.median(x[:, None] - y), abs=2e-4)


def test_missing_values_are_left_out_and_counted():
    x = np.array([1.0, np.nan, 3, 4, 9])
    assert hypotheses.rank_sum(x, [2, 5, np.nan]).missing == 2
    assert hypotheses.spearman(x, [1, 2, np.nan, 5, 4]).n == 3
    assert hypotheses.signed_rank(x, [0, 1, 1, np.inf, 2]).missing == 2


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (hypotheses.rank_sum([], [1, 2]), "empty"),
        (hypotheses.rank_sum([np.nan], [1, 2]), "empty"),
        (hypotheses.rank_sum([2, 2], [2, 2, 2]), "equal"),
        (hypotheses.signed_rank([], []), "no pairs"),
        (hypotheses.signed_rank([1, 2], [1, 2]), "zero"),
        (hypotheses.spearman([1, 2], [3, 4]), "2 pairs"),
        (hypotheses.spearman([1, 1, 1], [1, 2, 3]), "constant"),
        (hypotheses.shapiro([1, 2]), "2 values"),
        (hypotheses.shapiro([3, 3, 3, 3]), "equal"),
        (hypotheses.kruskal([[1, 2], []]), "1 groups"),
        (hypotheses.adjusted_difference([1, 2, 3, 4], [1, 2, 3, 4], [True] * 4)[0], "one group"),
        (
            hypotheses.adjusted_difference([1, 2, 3, 5], [1, 1, 1, 1], [True, True, False, False])[
                0
            ],
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
    plain = hypotheses.signed_rank(difference)
    padded = hypotheses.signed_rank(np.concatenate([difference, np.zeros(12)]))
    assert padded.p == plain.p
    assert padded.n == 42
    assert "12 zero" in padded.note


def test_p_that_no_double_holds_keeps_its_logarithm():
    rng = np.random.default_rng(4)
    x = rng.normal(0, 1, 20000)
    found = hypotheses.spearman(x, x + rng.normal(0, 0.5, 20000))
    assert found.p > 0
    assert found.log10_p < -1000
    # Student's t at 10 degrees of freedom has a closed tail: compare where p still fits
    for t in (3.0, 1e3, 1e20):
        assert hypotheses.log_two_sided_t(t, 10) == pytest.approx(
            stats.t.logsf(t, 10) + math.log(2), rel=1e-9
        )
    # and beyond: p of df = 2 is 1 - t / sqrt(2 + t^2), about 1 / t^2
    assert hypotheses.log_two_sided_t(1e150, 2) == pytest.approx(-300 * math.log(10), rel=1e-9)
    assert hypotheses.log_two_sided_t(1e154, 2) == pytest.approx(-308 * math.log(10), rel=1e-9)


def test_normality_above_the_limit_uses_a_stated_subsample():
    x = np.random.default_rng(5).normal(0, 1, 12000)
    a, b = hypotheses.shapiro(x), hypotheses.shapiro(x[::-1])
    assert "random 5000 of 12000" in a.note
    assert a == b  # not the order of rows decides who is drawn
    assert a.n == 12000


def test_q_counts_only_tests_that_were_made():
    q = hypotheses.benjamini_hochberg([0.01, np.nan, 0.02])
    assert q[0] == pytest.approx(0.02)
    assert math.isnan(q[1])
    assert np.isnan(hypotheses.benjamini_hochberg([np.nan])).all()
