"""Robust location, scale and regression for cohorts of any size."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats
from statsmodels.tools.sm_exceptions import ConvergenceWarning

MIN_GROUP = 10  # fewest values of one group whose median and MAD say anything
MIN_PER_COEFFICIENT = 4  # fewest participants per coefficient of a regression
MIN_REGRESSION = 20
MIN_OWN_FIT = 50  # from here each sex gets its own coefficients and scale
MIN_KNOWN = 0.5  # a covariate known for a smaller share of a cohort is left out
_ROUNDING = 1e-9  # a spread that is rounding error alone, absolute and of the largest value


@dataclass(frozen=True)
class Scores:
    """A number for every row and how it was computed; not-a-number where it was not.

    Parameters
    ----------
    z : Series
        Robust z, or limits.
    method : str
        One sentence for the QC report.
    """

    z: pd.Series
    method: str


def _scale(residuals, values) -> float:
    """Median absolute deviation as a standard deviation, not-a-number where there is none.

    Deviations of `values` that are rounding error alone are no spread.
    """
    spread = stats.median_abs_deviation(residuals, scale="normal")
    return float(spread) if spread > _ROUNDING * max(np.abs(values).max(), 1.0) else np.nan


def grouped_z(values: pd.Series, groups: pd.Series) -> Scores:
    """(value - median) / (1.4826 MAD) within each group of at least `MIN_GROUP` values.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (ASQC 1993), whose limit is 3.5.
    """
    z = pd.Series(np.nan, index=values.index)
    for _, group in values.dropna().groupby(groups):
        if len(group) >= MIN_GROUP:
            z[group.index] = (group - group.median()) / _scale(group, group)
    return Scores(z, f"robust z within groups of at least {MIN_GROUP}")


def cohort_limits(values, sex, site, start: float, low: bool, least: int, spreads: float) -> Scores:
    """Limits that follow the cohort where it is large enough, each participant's own.

    Parameters
    ----------
    values : Series
        What is judged.
    sex, site : Series
        A participant is compared with those of the same sex and site where `least` of them have a
        value, else with the same sex, else with everyone; with nobody where these are fewer.
    start : float
        The limit of who is compared with nobody, and of a group without any spread.
    low : bool
        Whether values below the limit are flagged.
    least : int
    spreads : float
        Distance of the limit from the median, in robust standard deviations of the half of the
        values on its side. Half a distribution's spread bears a skewed one: beyond 5 lie 0.3 % of
        an exponential distribution, none of ten thousand of a normal one.

    Returns
    -------
    Scores
        `z` holds the limits.
    """
    limits = pd.Series(start, index=values.index, dtype=float)
    open_, used = values.notna(), []
    for names, what in (([sex, site], "sex and site"), ([sex], "sex"), ([], "everyone")):
        keys = [pd.Series(0, index=values.index), *names]
        known = values[values.notna() & ~pd.concat(keys, axis=1).isna().any(axis=1)]
        for _, group in known.groupby([key[known.index] for key in keys]):
            here = group.index[open_[group.index]]
            if len(group) < least or not len(here):
                continue
            away = group.median() - group if low else group - group.median()
            spread = 1.4826 * float(away[away >= 0].median())
            open_[here] = False
            if spread > _ROUNDING * max(group.abs().max(), 1.0):
                limits[here] = group.median() + (-spreads if low else spreads) * spread
                used.append((what, float(limits[here[0]])))
    if not used:
        return Scores(limits, "")
    told = [limit for _, limit in used]
    groups = " or ".join(dict.fromkeys(what for what, _ in used))
    return Scores(
        limits,
        f"limit {min(told):.3g} to {max(told):.3g}, {spreads:g} robust SD from the median of "
        f"{len(used)} group(s) of {groups}",
    )


def _fit(y: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Residuals, in robust standard deviations, of a Tukey biweight fit started from Huber's."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # a start for the next fit; an exact one
        huber = sm.RLM(y, design, M=sm.robust.norms.HuberT()).fit()
    if np.isnan(_scale(y - design @ huber.params, y)):
        return np.full(len(y), np.nan)
    tukey = sm.RLM(y, design, M=sm.robust.norms.TukeyBiweight()).fit(start_params=huber.params)
    residuals = y - design @ tukey.params
    # residuals of p fitted coefficients are too small by this factor
    freedom = np.sqrt(len(y) / max(len(y) - design.shape[1], 1))
    return residuals / (_scale(residuals, y) * freedom)


def _design(covariates: pd.DataFrame) -> np.ndarray:
    """Intercept and standardised covariates; constant ones are left out."""
    centred = covariates - covariates.mean()
    spread = centred.std()
    centred = centred.loc[:, spread > 0] / spread[spread > 0]
    return np.column_stack([np.ones(len(centred)), centred.to_numpy()])


def regression_z(y: pd.Series, covariates: pd.DataFrame, sex: pd.Series) -> Scores:
    """Residual of a robust regression, in robust standard deviations.

    Parameters
    ----------
    y : Series
        What is judged.
    covariates : DataFrame
        Numbers that explain `y`; rows with a missing one are not judged.
    sex : Series
        Fitted separately where each sex has `MIN_OWN_FIT` participants, else as a covariate.

    Notes
    -----
    Tukey's biweight, so that failures do not pull the fit (Huber and Ronchetti, Robust
    Statistics, 2009, chapter 7). A covariate that less than `MIN_KNOWN` of the cohort has is
    left out, rather than judging few. A cohort too small for a regression (fewer than
    `MIN_REGRESSION` or than `MIN_PER_COEFFICIENT` per coefficient) falls back to `grouped_z`
    within sex, which ignores the covariates; `Scores.method` says which.
    """
    z = pd.Series(np.nan, index=y.index)
    judged = covariates[y.notna() & sex.notna()]
    rare = judged.columns[judged.notna().mean() < MIN_KNOWN]
    without = f"; without {', '.join(rare)}: seldom known" if len(rare) else ""
    covariates = covariates.drop(columns=rare)
    complete = y.notna() & covariates.notna().all(axis=1) & sex.notna()
    sizes = sex[complete].value_counts()
    coefficients = covariates.shape[1] + 1
    if len(sizes) and sizes.min() >= max(MIN_OWN_FIT, MIN_PER_COEFFICIENT * coefficients):
        for _, rows in y[complete].groupby(sex[complete]):
            z[rows.index] = _fit(rows.to_numpy(float), _design(covariates.loc[rows.index]))
        return Scores(z, "robust regression (Tukey biweight) within each sex" + without)
    if complete.sum() >= max(MIN_REGRESSION, MIN_PER_COEFFICIENT * (coefficients + 1)):
        explained = covariates.assign(_sex=sex.factorize(sort=True)[0])[complete]
        z[complete] = _fit(y[complete].to_numpy(float), _design(explained.astype(float)))
        return Scores(z, "robust regression (Tukey biweight), both sexes together" + without)
    plain = grouped_z(y, sex)
    return Scores(plain.z, "cohort too small for a regression: " + plain.method)
