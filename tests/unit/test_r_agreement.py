"""Every test, interval and curve agrees with R on its own public data sets and simulated ones.

The values come from tests/r/reference.R; where R with mgcv is present the script is
run again and must give the committed values.
"""

import contextlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas.statistics import agreement, gam, hypotheses

FOLDER = Path(__file__).resolve().parents[1] / "r"
REFERENCE = pd.read_csv(FOLDER / "reference.tsv", sep="\t", keep_default_na=False)
CURVES = pd.read_csv(FOLDER / "gam_curves.tsv", sep="\t")


def cases(kind):
    chosen = REFERENCE[REFERENCE["kind"] == kind]
    groups = chosen.groupby(["data", "x", "y"], sort=False)
    return [
        pytest.param(*key, dict(zip(rows["quantity"], rows["value"].astype(float), strict=True)),
                     id="-".join(key))
        for key, rows in groups
    ]  # fmt: skip


def table(name):
    data = pd.read_csv(FOLDER / "data" / f"{name}.tsv", sep="\t", dtype=str)
    for column in data:  # to the last digit, whatever pandas' default
        with contextlib.suppress(ValueError):
            data[column] = data[column].astype(float)
    if name == "airquality":
        data["late"] = (data["Month"] >= 8).astype(int)
    if name == "iris":
        data["virginica"] = (data["Species"] == "virginica").astype(int)
    return data


def close(found, expected, relative=1e-6):
    assert found == pytest.approx(expected, rel=relative, abs=0)


def check(result, expected):
    close(result.statistic, expected["statistic"])
    if expected["p"] < 1e-300:  # R's own p has underflowed or lost digits
        assert result.p <= 1e-300
        assert result.log10_p < -300
    else:
        close(result.p, expected["p"], 1e-4)
        close(result.log10_p, np.log10(expected["p"]), 1e-4)


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("rank_sum"))
def test_rank_sum(data, x, y, expected):
    rows = table(data)
    first, second = (group[x].to_numpy() for _, group in rows.groupby(y))
    result = hypotheses.rank_sum(first, second)
    check(result, expected)
    for name in ("estimate", "low", "high"):
        close(getattr(result, name), expected[name])


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("signed_rank"))
def test_signed_rank(data, x, y, expected):
    rows = table(data)
    result = hypotheses.signed_rank(rows[x], rows[y])
    check(result, expected)
    for name in ("estimate", "low", "high"):
        close(getattr(result, name), expected[name])


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("spearman"))
def test_spearman(data, x, y, expected):
    rows = table(data)
    result = hypotheses.spearman(rows[x], rows[y])
    check(result, expected)
    close(result.estimate, expected["rho"])


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("shapiro"))
def test_shapiro(data, x, y, expected):
    check(hypotheses.shapiro(table(data)[x]), expected)


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("kruskal"))
def test_kruskal(data, x, y, expected):
    check(hypotheses.kruskal([group[x] for _, group in table(data).groupby(y)]), expected)


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("adjusted"))
def test_difference_at_equal_covariate(data, x, y, expected):
    rows = table(data)
    covariate, group = y.split()
    second = rows[group] == sorted(rows[group].unique())[1]
    result, adjusted = hypotheses.adjusted_difference(rows[x], rows[covariate], second)
    for name in ("estimate", "low", "high"):
        close(getattr(result, name), expected[name])
    close(result.p, expected["p"], 1e-4)
    moved = rows[x] - expected["slope"] * (rows[covariate] - rows[covariate].mean())
    np.testing.assert_allclose(adjusted, moved, rtol=1e-9)


@pytest.mark.parametrize(("data", "x", "y", "expected"), cases("bland_altman"))
def test_bland_altman(data, x, y, expected):
    rows = table(data)
    result = agreement.bland_altman(rows[x], rows[y])
    for name, value in expected.items():
        # R's qt(ncp=) is itself good to about 1e-8
        close(result[name], value, 1e-6)


def test_benjamini_hochberg():
    rows = REFERENCE[REFERENCE["kind"] == "benjamini_hochberg"]
    q = hypotheses.benjamini_hochberg(rows["y"].astype(float))
    np.testing.assert_allclose(q, rows["value"].astype(float), rtol=1e-9)


def gam_data(name, y, x):
    rows = table(name.split("_")[0])
    if name.startswith("cohort_"):
        rows = rows[rows["sex"] == name.split("_")[1]]
    return rows[x].to_numpy(float), rows[y].to_numpy(float)


@pytest.mark.parametrize(("data", "y", "x", "expected"), cases("gam"))
def test_gam(data, y, x, expected):
    fit = gam.fit(*gam_data(data, y, x))
    curve = CURVES[CURVES["data"] == data]
    at = curve["x"].to_numpy()
    value, error = fit.evaluate(at)
    span = np.ptp(curve["fit"])
    assert fit.n == expected["n"]
    assert np.abs(value - curve["fit"]).max() < 0.005 * span
    assert np.abs(error - curve["se"]).max() < 0.005 * span
    close(fit.edf, expected["edf"], 0.05)
    close(fit.scale, expected["scale"], 1e-3)
    close(fit.r_squared, expected["r_squared"], 1e-3)
    close(fit.deviance_explained, expected["deviance_explained"], 1e-3)
    close(fit.coefficients[0], expected["intercept"])
    close(np.sqrt(fit.covariance[0, 0]), expected["intercept_se"], 1e-3)
    slope, slope_error = fit.evaluate(at, order=1)
    # where REML's optimum is a straight line mgcv stops a little before it
    steepest = np.abs(curve["derivative"]).max() * (2 if expected["edf"] < 1.05 else 1)
    assert np.abs(slope - curve["derivative"]).max() < 0.01 * steepest
    assert np.abs(slope_error - curve["derivative_se"]).max() < 0.01 * steepest


@pytest.mark.r
@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is absent: reference not re-run")
def test_r_gives_the_committed_values(tmp_path):
    has_mgcv = subprocess.run(["Rscript", "-e", "library(mgcv)"], capture_output=True)
    if has_mgcv.returncode:
        pytest.skip("R has no mgcv: reference not re-run")
    subprocess.run(
        ["Rscript", FOLDER / "reference.R", tmp_path], check=True, capture_output=True, timeout=300
    )
    again = pd.read_csv(tmp_path / "reference.tsv", sep="\t", keep_default_na=False)
    keys = ["kind", "data", "x", "y", "quantity"]
    assert again[keys].equals(REFERENCE[keys])
    smooth = REFERENCE["kind"] == "gam"  # mgcv's optimum moves a little between versions
    for part, relative in ((~smooth, 1e-7), (smooth, 1e-3)):
        np.testing.assert_allclose(
            again["value"][part].astype(float),
            REFERENCE["value"][part].astype(float),
            rtol=relative,
        )
    curves = pd.read_csv(tmp_path / "gam_curves.tsv", sep="\t")
    assert curves["data"].equals(CURVES["data"])
    for name, group in CURVES.groupby("data"):
        found = curves.loc[group.index, "fit"]
        assert np.abs(found - group["fit"]).max() < 1e-3 * np.ptp(group["fit"]), name
