"""The curve of the index by age, its bands, and the age from which the decline is steeper."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, interpolate

from iliopsoas.statistics import gam, trend
from iliopsoas.statistics.cohort import SEXES


def ages(n, rng):
    return np.clip(np.round(rng.normal(63.3, 8.3, n)), 44, 82)


def cohort_of(n, knee, seed=0, slopes=(-0.3, -2.0)):
    """Men's index bends at `knee`; women's is straight."""
    rng = np.random.default_rng(seed)
    sex = np.where(np.arange(n) % 2, "male", "female")
    age = ages(n, rng)
    imi = np.where(sex == "male", 262, 205) + slopes[0] * (age - 63) + rng.normal(0, 25, n)
    imi += np.where(sex == "male", (slopes[1] - slopes[0]) * np.maximum(age - knee, 0), 0)
    return pd.DataFrame({"sex": sex, "age": age, "imi_ml_m2": imi})


@pytest.mark.parametrize("order", [0, 1, 2])
def test_basis_is_the_natural_cubic_spline(order):
    rng = np.random.default_rng(1)
    knots = np.sort(rng.uniform(40, 80, 9))
    values = rng.normal(0, 1, 9)
    x = np.linspace(knots[0], knots[-1], 200)
    expected = interpolate.CubicSpline(knots, values, bc_type="natural")(x, order)
    np.testing.assert_allclose(gam.basis(x, knots, order) @ values, expected, atol=1e-9)


def test_penalty_is_the_integrated_squared_second_derivative():
    rng = np.random.default_rng(2)
    knots = np.sort(rng.uniform(0, 10, 7))
    values = rng.normal(0, 1, 7)
    spline = interpolate.CubicSpline(knots, values, bc_type="natural")
    expected = sum(integrate.quad(lambda t: spline(t, 2) ** 2, a, b)[0] for a, b in pairwise(knots))
    assert values @ gam._curvature(knots)[1] @ values == pytest.approx(expected, rel=1e-9)


def test_reml_is_stationary_and_matches_the_mixed_model():
    """REML of the smooth as a random effect, written out with the full covariance matrix."""
    rng = np.random.default_rng(3)
    x = np.sort(rng.uniform(0, 1, 80))
    y = np.sin(6 * x) + rng.normal(0, 0.3, 80)
    fit = gam.fit(x, y, 8)
    penalty = fit.constraint.T @ gam._curvature(fit.knots)[1] @ fit.constraint
    design = gam.basis(x, fit.knots) @ fit.constraint
    values, vectors = np.linalg.eigh(penalty)
    fixed = np.column_stack([np.ones(80), design @ vectors[:, :1]])
    random = design @ vectors[:, 1:] / np.sqrt(values[1:])

    def restricted(smoothing):
        v = np.eye(80) + random @ random.T / smoothing
        inverse = np.linalg.inv(v)
        information = fixed.T @ inverse @ fixed
        residual = y - fixed @ np.linalg.solve(information, fixed.T @ inverse @ y)
        quadratic = residual @ inverse @ residual
        parts = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1]
        return 78 * math.log(quadratic) + parts

    at = restricted(fit.smoothing)
    for factor in (0.5, 0.9, 1.1, 2):
        assert restricted(fit.smoothing * factor) > at


def test_bands_are_no_wider_than_needed_and_cover():
    """The simultaneous band of the slope holds along the whole curve in about 95 % of draws."""
    rng = np.random.default_rng(4)
    x = np.repeat(np.arange(44, 83), 20).astype(float)
    fit = gam.fit(x, 0.01 * (x - 60) ** 2 + rng.normal(0, 4, len(x)))
    grid = np.linspace(*fit.range, 300)
    for order in (0, 1):
        rows = fit.rows(grid, order)
        critical = gam.critical_value(rows, fit.covariance, fit.residual_df)
        draws = rng.multivariate_normal(np.zeros(fit.k), fit.covariance, 8000) @ rows.T
        _, error = fit.evaluate(grid, order)
        held = np.mean(np.abs(draws / error).max(axis=1) <= critical)
        assert 1.96 < critical < 4
        assert 0.94 < held < 0.985


def test_fewer_ages_than_basis_functions_and_none_at_all():
    x = np.repeat([50.0, 60, 70, 80, 82], 6)
    y = np.arange(30.0) % 7
    fit = gam.fit(x, y, 10)
    assert fit.k == 5
    assert "reduced from 10 to 5" in fit.note
    with pytest.raises(gam.TooFew, match="distinct"):
        gam.fit([50, 50, 60, 60], [1, 2, 3, 4])
    with pytest.raises(gam.TooFew, match="constant"):
        gam.fit(x, np.ones(30))
    with pytest.raises(gam.TooFew):
        gam.fit([], [])
    with pytest.raises(ValueError, match="outside"):
        fit.evaluate([90.0])


def test_missing_values_change_nothing():
    rng = np.random.default_rng(5)
    x, y = rng.uniform(0, 1, 60), rng.normal(0, 1, 60)
    a = gam.fit(x, y)
    b = gam.fit(np.append(x, [0.5, np.nan]), np.append(y, [np.nan, 1.0]))
    assert a.edf == b.edf
    assert a.scale == b.scale


def test_the_break_is_found_where_it_is():
    table = cohort_of(8000, knee=62.0)
    found = trend.acceleration(table, trend.fits(table)).set_index("sex")
    men, women = found.loc["male"], found.loc["female"]
    assert men["accelerates"]
    assert men["break_low"] <= 62 <= men["break_high"]
    assert men["break_high"] - men["break_low"] < 8
    assert men["change_low"] < -1.7 < men["change_high"]
    assert men["p"] < 1e-10
    assert not women["accelerates"]
    assert "no steepening" in women["statement"]
    assert found.loc["male - female", "change_high"] < 0


def test_break_against_a_plain_least_squares_search():
    rng = np.random.default_rng(6)
    x = rng.uniform(0, 10, 200)
    y = np.maximum(x - 6, 0) + rng.normal(0, 0.5, 200)
    found = trend.broken_stick(x, y, step=0.05)
    best = None
    for knee in np.arange(*np.quantile(x, [0.1, 0.9]), 0.05):
        design = np.column_stack([np.ones(200), x, np.maximum(x - knee, 0)])
        beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
        if best is None or rss[0] < best[0]:
            best = rss[0], knee, beta
    assert found["break_x"] == pytest.approx(best[1])
    assert found["slope_before"] == pytest.approx(best[2][1])
    assert found["change"] == pytest.approx(best[2][2])


def test_no_break_is_claimed_at_the_stated_rate_and_intervals_cover():
    rng = np.random.default_rng(7)
    false_alarms, covered, runs = 0, 0, 400
    for _ in range(runs):
        x = ages(400, rng)
        noise = rng.normal(0, 25, 400)
        false_alarms += trend.broken_stick(x, -0.5 * x + noise)["p"] < 0.05
        bent = trend.broken_stick(x, -4 * np.maximum(x - 62, 0) + noise)
        covered += bent["break_low"] <= 62 <= bent["break_high"]
    assert false_alarms / runs < 0.08
    assert false_alarms / runs > 0.015  # a bound, not a test that never rejects
    assert covered / runs > 0.91


def test_a_rise_that_levels_off_is_no_acceleration_of_a_decline():
    rng = np.random.default_rng(8)
    age = ages(4000, rng)
    imi = (
        200 + 2 * np.minimum(age - 62, 0) + 0.5 * np.maximum(age - 62, 0) + rng.normal(0, 20, 4000)
    )
    table = pd.DataFrame({"sex": "male", "age": age, "imi_ml_m2": imi})
    men = trend.acceleration(table, trend.fits(table)).set_index("sex").loc["male"]
    assert men["p"] < 0.001
    assert men["change"] < 0
    assert not men["accelerates"]


def test_curves_in_numbers():
    table = cohort_of(3000, knee=62.0)
    curves = trend.fits(table)
    points = trend.curve_table(curves, points=50)
    assert list(points["sex"].unique()) == list(SEXES)
    for _, part in points.groupby("sex"):
        slope = np.gradient(part["fit"], part["x"])
        np.testing.assert_allclose(part["slope"][1:-1], slope[1:-1], atol=0.05)
        assert (part["slope_all_low"] < part["slope_low"]).all()
        assert (part["fit_low"] < part["fit"]).all()
    summary = trend.summary(curves).set_index("sex")
    assert summary.loc["male", "edf"] > summary.loc["female", "edf"]
    nobody = trend.fits(table[table["sex"] == "male"])
    assert isinstance(nobody["female"], str)
    assert trend.summary(nobody).set_index("sex").loc["female", "note"]
