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
    """As `suppress_margins`, for counts whose sum is known and not among them."""
    row = pd.DataFrame([[*counts, counts.sum()]])
    shown = suppress_margins(row, minimum, total=len(counts))
    return pd.Series(shown.to_numpy()[0, :-1], index=counts.index)


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
    if minimum <= 1:
        return exact
    values = exact.to_numpy()
    lines = _sums(exact, total, whole)  # of every sum: 1 for its parts, -1 for itself
    hidden = (values < minimum).ravel()
    while True:
        given_away = [lines[:, cell] != 0 for cell in _solvable(lines, hidden)]
        for line in lines:
            out = values.ravel()[hidden & (line > 0)]
            if not hidden[line < 0].any() and 0 < out.sum() < minimum:
                given_away.append((lines == line).all(axis=1))
        for beside in given_away:
            near = (lines[beside] > 0).any(axis=0) & ~hidden
            near = near if near.any() else (lines[beside] < 0).any(axis=0) & ~hidden
            if near.any():  # the smallest of the parts, a sum only where no part is left
                hidden[np.flatnonzero(near)[values.ravel()[near].argmin()]] = True
                break
        else:
            return exact.mask(hidden.reshape(values.shape))


def _sums(table: pd.DataFrame, total, whole) -> np.ndarray:
    rows, columns = table.shape
    lines = []
    if total is not None:
        for row in range(rows):
            line = np.zeros((rows, columns))
            line[row] = np.where(table.columns == total, -1, 1)
            lines.append(line.ravel())
    if whole is not None:
        for column in range(columns):
            line = np.zeros((rows, columns))
            line[:, column] = np.where(table.index == whole, -1, 1)
            lines.append(line.ravel())
    return np.array(lines).reshape(len(lines), rows * columns)


def _solvable(lines: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Withheld cells that the sums determine: no solution of the sums moves them."""
    cells = np.flatnonzero(hidden)
    if not len(lines) or not len(cells):
        return cells[:0]
    _, size, basis = np.linalg.svd(lines[:, cells])
    free = basis[(size > 1e-9).sum() :]
    return cells[(np.abs(free) < 1e-9).all(axis=0)]
