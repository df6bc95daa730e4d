"""Bland-Altman agreement between two methods, or two visits."""

import math

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.95


def differences(a, b, percent: bool = False):
    """The pairs that count, their means and their differences.

    Returns
    -------
    used : ndarray of bool, shape (n,)
        Both values known and, for percent, a mean other than 0.
    mean, difference : ndarray, shape (used.sum(),)
        (a + b) / 2; a - b, or 100 (a - b) / mean.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"pairs need equal lengths, found {a.shape} and {b.shape}")
    used = np.isfinite(a) & np.isfinite(b)
    if percent:
        used &= (a + b) != 0
    a, b = a[used], b[used]
    mean = (a + b) / 2
    return used, mean, 100 * (a - b) / mean if percent else a - b


def bland_altman(a, b, percent: bool = False, level: float = LEVEL) -> dict:
    """Bias and limits of agreement of `a` - `b`, each with its interval.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        The two measurements of the same n; pairs with a missing value are left out.
    percent : bool
        Differences in percent of the pair's mean, 100 (a - b) / ((a + b) / 2), instead of
        in the measurements' unit. Pairs with mean 0 are left out.
    level : float
        Of the intervals. The limits themselves are bias -+ 1.96 SD.

    Returns
    -------
    dict
        n, bias, bias_low, bias_high, sd, lower, lower_low, lower_high, upper, upper_low,
        upper_high, share_within, trend_rho, trend_p (Spearman of difference and mean: does
        the difference grow with size), limits_method, note.

    Notes
    -----
    Bias: t interval. Limits: exact at any n, from the noncentral t distribution (A. Carkeet,
    Optometry and Vision Science 92:e71, 2015).
    """
    from iliopsoas.statistics.hypotheses import spearman

    known, mean, difference = differences(a, b, percent)
    n = len(difference)
    names = ["bias", "bias_low", "bias_high", "sd"]
    names += [f"{side}{end}" for side in ("lower", "upper") for end in ("", "_low", "_high")]
    names += ["share_within", "trend_rho", "trend_p"]
    result = {"n": n, "missing": int((~known).sum())} | dict.fromkeys(names, math.nan)
    result |= {"limits_method": "", "note": ""}
    if n < 3:
        return result | {"note": f"{n} pairs; at least 3 are needed"}
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    half = stats.t.ppf(0.5 + level / 2, n - 1) * sd / math.sqrt(n)
    low, high = _limit_interval(n, level)
    z = stats.norm.ppf(0.975)
    trend = spearman(mean, difference)
    return result | {
        "bias": bias,
        "bias_low": bias - half,
        "bias_high": bias + half,
        "sd": sd,
        "lower": bias - z * sd,
        "lower_low": bias - high * sd,
        "lower_high": bias - low * sd,
        "upper": bias + z * sd,
        "upper_low": bias + low * sd,
        "upper_high": bias + high * sd,
        "share_within": float(np.mean(np.abs(difference - bias) <= z * sd)),
        "trend_rho": trend.estimate,
        "trend_p": trend.p,
        "limits_method": "exact (Carkeet 2015, noncentral t)",
        "note": "all differences are equal" if sd == 0 else "",
    }


def _limit_interval(n: int, level: float):
    """Interval of a limit's distance from the bias, in SDs."""
    shift = stats.norm.ppf(0.975) * math.sqrt(n)

    def quantile(share):
        def excess(t):
            return special.nctdtr(n - 1, shift, t) - share

        return optimize.brentq(excess, 0.0, 20 * shift + 100, xtol=1e-12, rtol=1e-14)

    return tuple(quantile(share) / math.sqrt(n) for share in ((1 - level) / 2, (1 + level) / 2))
