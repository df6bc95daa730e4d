"""Robust location, scale and regression for cohorts of any size."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import stats

MIN_GROUP = 10  # fewest values of one group whose median and MAD say anything
MIN_PER_COEFFICIENT = 4  # fewest participants per coefficient of a regression
MIN_REGRESSION = 20
MIN_OWN_FIT = 50  # from here each sex gets its own coefficients and scale


@dataclass(frozen=True)
class Scores:
    """Robust z of every row and how it was computed; not-a-number where it was not.

    Parameters
    ----------
    z : Series
    method : str
        One sentence for the QC report.
    """

    z: pd.Series
    method: str


def _scale(residuals) -> float:
    """Median absolute deviation as a standard deviation, not-a-number where it is 0."""
    spread = stats.median_abs_deviation(residuals, scale="normal")
    return float(spread) if spread > 0 else np.nan


def grouped_z(values: pd.Series, groups: pd.Series) -> Scores:
    """(value - median) / (1.4826 MAD) within each group of at least `MIN_GROUP` values.

    Iglewicz and Hoaglin, How to Detect and Handle Outliers (ASQC 1993), whose limit is 3.5.
    """
    z = pd.Series(np.nan, index=values.index)
    for _, group in values.dropna().groupby(groups):
        if len(group) >= MIN_GROUP:
            z[group.index] = (group - group.median()) / _scale(group)
    return Scores(z, f"robust z within groups of at least {MIN_GROUP}")


def _fit(y: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Residuals, in robust standard deviations, of a Tukey biweight fit started from Huber's."""
    huber = sm.RLM(y, design, M=sm.robust.norms.HuberT()).fit()
    if not huber.scale > 0:
        return np.full(len(y), np.nan)
    tukey = sm.RLM(y, design, M=sm.robust.norms.TukeyBiweight()).fit(start_params=huber.params)
    residuals = y - design @ tukey.params
    # residuals of p fitted coefficients are too small by this factor
    freedom = np.sqrt(len(y) / max(len(y) - design.shape[1], 1))
    return residuals / (_scale(residuals) * freedom)


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
    Statistics, 2009, chapter 7). A cohort too small for it (fewer than `MIN_REGRESSION`
    or than `MIN_PER_COEFFICIENT` per coefficient) falls back to `grouped_z` within sex, which
    ignores the covariates; `Scores.method` says which.
    """
    z = pd.Series(np.nan, index=y.index)
    complete = y.notna() & covariates.notna().all(axis=1) & sex.notna()
    sizes = sex[complete].value_counts()
    coefficients = covariates.shape[1] + 1
    if len(sizes) and sizes.min() >= max(MIN_OWN_FIT, MIN_PER_COEFFICIENT * coefficients):
        for _, rows in y[complete].groupby(sex[complete]):
            z[rows.index] = _fit(rows.to_numpy(float), _design(covariates.loc[rows.index]))
        return Scores(z, "robust regression (Tukey biweight) within each sex")
    if complete.sum() >= max(MIN_REGRESSION, MIN_PER_COEFFICIENT * (coefficients + 1)):
        explained = covariates.assign(_sex=sex.factorize(sort=True)[0])[complete]
        z[complete] = _fit(y[complete].to_numpy(float), _design(explained.astype(float)))
        return Scores(z, "robust regression (Tukey biweight), both sexes together")
    plain = grouped_z(y, sex)
    return Scores(plain.z, "cohort too small for a regression: " + plain.method)
