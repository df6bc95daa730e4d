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


def suppress_margins(counts: pd.DataFrame, minimum: int, total=None, whole=None) -> pd.DataFrame:
    """Withhold small counts of a table whose rows and columns add up, and what gives them away.

    A count that is withheld alone in its row or column is the total less the others; so is a
    sum of withheld parts that is itself small. Further counts, the smallest first, are withheld
    until no row and no column does either.

    Parameters
    ----------
    counts : DataFrame
        Counts of parts and totals.
    minimum : int
        Smallest count that may be shown; with 1 or less everything is shown.
    total : column label, optional
        The column that is the sum of the others.
    whole : row label, optional
        The row that is the sum of the others.

    Returns
    -------
    DataFrame
        Floats; NaN where withheld.
    """
    exact = counts.astype(float)
    hidden = (exact < minimum) if minimum > 1 else exact.isna()
    lines = []  # the places of a sum's parts, and of the sum where it is in the table
    if total is not None:
        parts = [column for column in exact if column != total]
        lines += [([(row, c) for c in parts], (row, total)) for row in exact.index]
    if whole is not None:
        parts = [row for row in exact.index if row != whole]
        lines += [([(r, column) for r in parts], (whole, column)) for column in exact]
    changed = minimum > 1
    while changed:
        changed = False
        for parts, sum_at in lines:
            in_table = sum_at[0] in exact.index and sum_at[1] in exact.columns
            out = [at for at in parts if hidden.at[at]]
            sum_hidden = in_table and hidden.at[sum_at]
            given_away = (
                len(out) == (0 if sum_hidden else 1)
                or (not sum_hidden and 0 < sum(exact.at[at] for at in out) < minimum)
            ) and (out or sum_hidden)
            rest = [at for at in parts if not hidden.at[at]]
            if given_away and not rest and in_table and not sum_hidden:
                rest = [sum_at]
            if given_away and rest:
                hidden.at[min(rest, key=exact.at.__getitem__)] = True
                changed = True
    return exact.mask(hidden)
