"""How much a second visit must differ before the muscle has changed: repeatability and power."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas.statistics.cohort import FURTHER, by_sex

POWER, LEVEL = 0.8, 0.95
MEASURES = ("total_ml", "left_ml", "right_ml", "mean_ml", "imi_ml_m2", *FURTHER)
SIZES = (20, 50, 100, 200, 500, 1000, 5000, 20000, 60000)  # participants of a study, for power


def repeatability(first, second, level: float = LEVEL) -> dict:
    """Agreement of two visits, and the smallest change that exceeds measurement error.

    Parameters
    ----------
    first, second : array_like, shape (n,)
        The same measure of the same participants; pairs with a missing value are left out.

    Returns
    -------
    dict
        n; icc_agreement and icc_consistency, two-way, single measures (ICC(A,1), ICC(C,1) of
        McGraw and Wong, Psychological Methods 1:30, 1996) with their F intervals; change, mean
        second - first; within_sd, standard deviation within persons after the mean change,
        SD(second - first) / sqrt(2), with its chi-squared interval; within_cv_percent, of the
        mean; rms_cv_percent, root mean square of the pairs' coefficients of variation (the
        mean change included); smallest_change, 1.96 sqrt(2) within_sd; note.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    n = len(a)
    names = ["mean", "change", "icc_agreement", "icc_agreement_low", "icc_agreement_high"]
    names += ["icc_consistency", "icc_consistency_low", "icc_consistency_high", "within_sd"]
    names += ["within_sd_low", "within_sd_high", "within_cv_percent", "rms_cv_percent"]
    result = {"n": n} | dict.fromkeys([*names, "smallest_change"], math.nan) | {"note": ""}
    if n < 3:
        return result | {"note": f"{n} pairs; at least 3 are needed"}
    both = np.column_stack([a, b])
    mean = both.mean(axis=1)
    grand = mean.mean()
    rows = 2 * np.sum((mean - grand) ** 2) / (n - 1)
    columns = n * np.sum((both.mean(axis=0) - grand) ** 2)
    difference = b - a
    error = difference.var(ddof=1) / 2
    within = math.sqrt(error)
    ends = [math.sqrt((n - 1) * error / stats.chi2.ppf(q, n - 1)) for q in _tails(level)[::-1]]
    result |= {
        "mean": grand,
        "change": difference.mean(),
        "within_sd": within,
        "within_sd_low": ends[0],
        "within_sd_high": ends[1],
        "smallest_change": stats.norm.ppf(0.975) * math.sqrt(2) * within,
    }
    if (mean > 0).all():
        result["within_cv_percent"] = 100 * within / grand
        result["rms_cv_percent"] = 100 * math.sqrt(np.mean(difference**2 / 2 / mean**2))
    if rows <= 0:
        return result | {"note": "all participants are equal: no intraclass correlation"}
    return result | _icc(rows, columns, error, n, level)


def _tails(level):
    return (1 - level) / 2, (1 + level) / 2


def _icc(rows, columns, error, n, level) -> dict:
    """ICC(A,1) and ICC(C,1) of two visits from the mean squares, with F intervals."""
    k, upper = 2, _tails(level)[1]
    consistency = (rows - error) / (rows + error)
    found = {
        "icc_consistency": consistency,
        "icc_agreement": (rows - error) / (rows + error + k / n * (columns - error)),
    }
    if error == 0:
        return found | {"note": "both visits differ by one constant: no interval"}
    f = rows / error
    low = f / stats.f.ppf(upper, n - 1, n - 1)
    high = f * stats.f.ppf(upper, n - 1, n - 1)
    found |= {
        "icc_consistency_low": (low - 1) / (low + 1),
        "icc_consistency_high": (high - 1) / (high + 1),
    }
    rho = found["icc_agreement"]
    a = k * rho / (n * (1 - rho))
    b = 1 + k * rho * (n - 1) / (n * (1 - rho))
    v = (a * columns + b * error) ** 2 / (
        (a * columns) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    )
    low, high = stats.f.ppf(upper, n - 1, v), stats.f.ppf(upper, v, n - 1)
    rest = k * columns + (k * n - k - n) * error
    found |= {
        "icc_agreement_low": n * (rows - low * error) / (low * rest + n * rows),
        "icc_agreement_high": n * (high * rows - error) / (rest + n * high * rows),
    }
    return found


def change(both: pd.DataFrame, min_cell: int = 5) -> pd.DataFrame:
    """change.tsv: repeatability of each measure, by sex.

    Parameters
    ----------
    both : DataFrame
        From `repeat.pairs`.

    Returns
    -------
    DataFrame
        measure, sex, `repeatability`, and reliably_changed_percent: participants
        whose change differs from the mean change by more than smallest_change (5 % by chance).
        Visits lie years apart, so the spread within persons holds their own change as well as
        the measurement's error: an upper bound of the error.
    """
    rows = []
    # both sexes' sums are in other tables: one sex alone would give the other's few
    few = any(0 < len(part) < min_cell for _, part in by_sex(both))
    for measure in MEASURES:
        for sex, part in by_sex(both):
            row = {"measure": measure, "sex": sex}
            pair = part[f"{measure}_first"], part[f"{measure}_second"]
            if few and len(part):
                row |= repeatability([], []) | {"n": math.nan, "reliably_changed_percent": math.nan}
                rows.append(row | {"note": f"withheld: fewer than {min_cell} of a sex"})
                continue
            row |= repeatability(*pair)
            flags = reliable(*pair, row)
            row["reliably_changed_percent"] = (
                100 * np.isin(flags, ("lower", "higher")).sum() / row["n"] if row["n"] else math.nan
            )
            rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("note"), "reliably_changed_percent",
                 table.pop("reliably_changed_percent"))  # fmt: skip
    return table


def reliable(first, second, found: dict) -> np.ndarray:
    """Whether each pair's change differs from the mean change by more than spread within persons.

    Parameters
    ----------
    first, second : array_like, shape (n,)
    found : dict
        From `repeatability`: ``change`` and ``smallest_change``.

    Returns
    -------
    ndarray of str, shape (n,)
        ``lower``, ``higher`` or ``no``; empty where a value, or the spread, is missing.
    """
    off = np.asarray(second, dtype=float) - np.asarray(first, dtype=float) - found["change"]
    limit = found["smallest_change"]
    known = np.isfinite(off) & np.isfinite(limit)
    return np.select([~known, off < -limit, off > limit], ["", "lower", "higher"], "no")


def of_each(both: pd.DataFrame, found: dict) -> pd.DataFrame:
    """changes.tsv: every participant's change, and whether it is reliable.

    Parameters
    ----------
    both : DataFrame
        From `repeat.pairs`.
    found : dict of DataFrame
        Tables of the run so far: ``change`` is read.

    Returns
    -------
    DataFrame
        eid, sex, years, measure, first, second, change, percent (of the first visit),
        reliable_change from `reliable`; empty where the spread of the sex is not known.
    """
    limits = found["change"].set_index(["measure", "sex"])[["change", "smallest_change"]]
    parts = []
    for measure in MEASURES:
        first, second = both[f"{measure}_first"], both[f"{measure}_second"]
        part = both[["eid", "sex", "years"]].assign(measure=measure, first=first, second=second)
        part["change"] = second - first
        part["percent"] = 100 * part["change"] / first.where(first > 0)
        own = limits.loc[measure].reindex(both["sex"])
        part["reliable_change"] = reliable(
            first, second, {name: own[name].to_numpy(float) for name in own}
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def power(found: dict, sizes=SIZES) -> pd.DataFrame:
    """power.tsv: the mean change that a study of n participants with both visits detects.

    Parameters
    ----------
    found : dict of DataFrame
        Tables of the run so far: ``change`` is read.

    Returns
    -------
    DataFrame
        measure, sex, n (pairs that the spread comes from), participants, detectable (in the
        measure's unit) and detectable_percent of the mean: two-sided paired t test at 5 %, power
        80 %.
    """
    rows = []
    for row in found["change"].to_dict("records"):
        if not math.isfinite(row["within_sd"]):
            continue
        for n in sizes:
            least = detectable(n) * math.sqrt(2) * row["within_sd"]
            percent = 100 * least / row["mean"] if row["mean"] > 0 else math.nan
            rows.append(
                {
                    "measure": row["measure"],
                    "sex": row["sex"],
                    "n": row["n"],
                    "participants": n,
                    "detectable": least,
                    "detectable_percent": percent,
                }
            )
    names = ["measure", "sex", "n", "participants", "detectable", "detectable_percent"]
    return pd.DataFrame(rows).reindex(columns=names)


def detectable(n: int, power: float = POWER, alpha: float = 1 - LEVEL) -> float:
    """Mean change in SDs of the differences that a paired t test of n pairs detects."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().solve_power(nobs=n, alpha=alpha, power=power))
