"""Small counts are withheld, so that a shared table names nobody."""

import numpy as np
import pandas as pd


def suppress(counts: pd.DataFrame, minimum: int, total: str | None = None) -> pd.DataFrame:
    """Withhold counts below `minimum`, and totals that would give them away.

    Parameters
    ----------
    counts : DataFrame
        Counts; columns are groups.
    minimum : int
        Smallest count that may be shown; with 1 or less everything is shown.
    total : str, optional
        Column that is the sum of the others; withheld where any of them is.

    Returns
    -------
    DataFrame
        Floats; NaN where withheld.
    """
    shown = counts.astype(float)
    if minimum <= 1:
        return shown
    shown = shown.where(shown >= minimum)
    if total is not None:
        parts = [column for column in counts.columns if column != total]
        shown[total] = shown[total].where(shown[parts].notna().all(axis=1))
    return shown


def protect_parts(parts: pd.Series, shown: pd.Series, whole: float) -> pd.Series:
    """Withhold one more part where the rest would bound a withheld one from below.

    People counted in `whole` are in at least one of the parts, so a single withheld part
    is at least whole - sum of the others. Where that is above 0, the smallest other part
    is withheld too.
    """
    hidden = shown.isna()
    if hidden.sum() != 1 or hidden.all() or not np.isfinite(whole):
        return shown
    if whole - shown.sum() > 0:
        shown = shown.copy()
        shown[shown.idxmin()] = np.nan
    return shown


def suppress_partition(counts: pd.Series, minimum: int) -> pd.Series:
    """As `suppress`, for counts whose sum is known: never exactly one is withheld.

    The next smallest is withheld with a single small one.
    """
    if minimum <= 1:
        return counts.astype(float)
    shown = counts.astype(float).where(counts >= minimum)
    if shown.isna().sum() == 1 and len(shown) > 1:
        shown[shown.idxmin()] = np.nan
    return shown


def cell(count, percent, digits: int = 2) -> str:
    """``18 (0.36)``, or ``withheld``."""
    if np.isfinite(count):
        return f"{int(count)} ({percent:.{digits}f})"
    return "withheld"
