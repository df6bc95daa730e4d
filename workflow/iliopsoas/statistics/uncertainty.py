"""Main results as measured, weighted by each volume's error, and corrected for it."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas.files import KEY
from iliopsoas.statistics import hypotheses
from iliopsoas.statistics.associations import CORRELATIONS, mean_interval
from iliopsoas.statistics.cohort import by_sex, require
from iliopsoas.statistics.repeat import both_methods

DRAWS = 4000
LEAST_PAIRS = 10  # annotated participants, for an error's size
COLUMNS = ("total_ml", "left_ml", "right_ml", "difference_ml", "imi_ml_m2")


def errors(folds: pd.DataFrame | None) -> dict:
    """Bias and spread of network - manual volume, from the cross-validation.

    Returns
    -------
    dict
        Column (``total_ml``, ``left_ml``, ``right_ml``, ``difference_ml``) -> (n, bias_ml,
        sd_ml); empty below `LEAST_PAIRS` participants.
    """
    if folds is None or folds.empty:
        return {}
    automatic, manual = both_methods(folds)
    off = automatic - manual
    parts = {
        "total_ml": off["left"] + off["right"],
        "left_ml": off["left"],
        "right_ml": off["right"],
        "difference_ml": off["left"] - off["right"],
    }
    parts = {name: values.dropna() for name, values in parts.items()}
    return {
        name: (len(values), float(values.mean()), float(values.std(ddof=1)))
        for name, values in parts.items()
        if len(values) >= LEAST_PAIRS
    }


def reliability(values, error_sd) -> float:
    """Share of a measure's variance that is not error: 1 - error variance / variance, or 0."""
    if len(values) < 2:
        return math.nan
    variance = np.var(np.asarray(values, dtype=float), ddof=1)
    return float(max(0.0, 1 - error_sd**2 / variance)) if variance > 0 else math.nan


def corrected_correlation(r, n, values, error_sd, error_n, seed=2020, kind="pearson"):
    """A correlation without the attenuation by error in one of the two variables.

    Parameters
    ----------
    r, n : float, int
        The correlation as measured.
    values : array_like
        The variable with error.
    error_sd, error_n : float, int
        Standard deviation of its error, and of how many participants it was estimated.
    kind : {"pearson", "spearman"}
        Spearman's rho is turned into the normal distribution's Pearson correlation, corrected, and
        turned back.

    Returns
    -------
    tuple of float
        Corrected, low, high: r / sqrt(reliability) (Spearman 1904); the interval from draws of r
        (Fisher's z), of the error's and of the measure's variance (chi squared). NaN where the
        reliability is 0; at most 1 in size.
    """
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    share = reliability(values, error_sd)
    if not share > 0 or n < 5 or not abs(r) < 1:
        return math.nan, math.nan, math.nan

    def turned(rho, shares):
        linear = 2 * np.sin(np.pi * rho / 6) if kind == "spearman" else rho
        linear = np.clip(linear / np.sqrt(shares), -1, 1)
        return 6 / np.pi * np.arcsin(linear / 2) if kind == "spearman" else linear

    rng = np.random.default_rng(seed)
    spread = math.sqrt((1 + (r**2 / 2 if kind == "spearman" else 0)) / (n - 3))
    rs = np.tanh(math.atanh(r) + spread * rng.standard_normal(DRAWS))
    # inverse: the truth given an estimate on error_n - 1 degrees of freedom
    error = error_sd**2 * (error_n - 1) / rng.chisquare(error_n - 1, DRAWS)
    shares = 1 - error / values.var(ddof=1) * rng.chisquare(n - 1, DRAWS) / (n - 1)
    drawn = turned(rs, np.maximum(shares, 1e-6))
    return float(turned(r, share)), *map(float, np.quantile(drawn, [0.025, 0.975]))


def weights(table: pd.DataFrame, quality: pd.DataFrame | None) -> np.ndarray | None:
    """Weight of each participant's total volume: 1 / (variance between people + own error).

    Parameters
    ----------
    table : DataFrame
        eid, instance, sex, total_ml.
    quality : DataFrame or None
        As results/qc/quality.tsv: eid, instance, side, error_low_ml, error_high_ml (95 %).

    Returns
    -------
    ndarray (n,) or None
        Missing errors get the median error; None without `quality`, and
        where it was learned on synthetic people. Variance between people: that
        of the sex less the mean error variance.
    """
    if quality is None or not {"error_low_ml", "error_high_ml"} <= set(quality):
        return None
    require(quality, [*KEY, "side"], "qc/quality.tsv")
    if "learned_on" in quality and (quality["learned_on"] == "synthetic").any():
        return None  # intervals of synthetic people weigh nobody
    half = (quality["error_high_ml"] - quality["error_low_ml"]) / 2
    variance = (half / stats.norm.ppf(0.975)) ** 2
    own = variance.groupby([quality[key].astype(str) for key in KEY]).sum(min_count=2)
    keys = pd.MultiIndex.from_frame(table[KEY].astype(str))
    own = own.reindex(keys).to_numpy(float)
    if not np.isfinite(own).any():
        return None
    own = np.where(np.isfinite(own), own, np.nanmedian(own))
    between = np.empty(len(table))
    for sex in table["sex"].unique():
        rows = (table["sex"] == sex).to_numpy()
        total = np.nanvar(table.loc[rows, "total_ml"].astype(float), ddof=1)
        between[rows] = max(total - own[rows].mean(), 0.0)
    return 1 / (between + own)


def weighted_mean(values, weight):
    """Weighted mean with its 95 % t interval (sandwich standard error)."""
    values, weight = np.asarray(values, dtype=float), np.asarray(weight, dtype=float)
    known = np.isfinite(values) & np.isfinite(weight)
    values, weight = values[known], weight[known]
    n = len(values)
    if n < 2:
        return math.nan, math.nan, math.nan
    mean = float(np.average(values, weights=weight))
    error = math.sqrt(n / (n - 1) * np.sum((weight * (values - mean)) ** 2)) / weight.sum()
    half = stats.t.ppf(0.975, n - 1) * error
    return mean, mean - half, mean + half


def corrected_mean(values, bias, error_sd, error_n):
    """Mean less the bias, with an interval that holds the bias's own uncertainty (Welch)."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    n = len(values)
    if n < 2:
        return math.nan, math.nan, math.nan
    parts = values.var(ddof=1) / n, error_sd**2 / error_n
    df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (error_n - 1))
    half = stats.t.ppf(0.975, df) * math.sqrt(sum(parts))
    mean = float(values.mean() - bias)
    return mean, mean - half, mean + half


def uncertainty(
    table: pd.DataFrame, folds=None, quality=None, pairs=CORRELATIONS, seed: int = 2020
) -> pd.DataFrame:
    """uncertainty.tsv: main results as measured, weighted and corrected, side by side.

    Parameters
    ----------
    table : DataFrame
        One row per participant, from `cohort.main_visit`.
    folds : DataFrame, optional
        As results/model/cross_validation.tsv: bias and error against manual masks.
    quality : DataFrame, optional
        Predicted errors, see `weights`.

    Returns
    -------
    DataFrame
        result, sex, n, error_n, bias, error_sd, reliability; measured, weighted and corrected,
        each with _low and _high; note. Corrected: means and differences less the bias; standard
        deviations and correlations without the error's variance; slopes of the trait on the
        measure over the reliability. The error is taken as independent of the truth.
    """
    known = errors(folds)
    weight = weights(table, quality)
    rows = []
    for sex, group in by_sex(table):
        own = None if weight is None else weight[(table["sex"] == sex).to_numpy()]
        found = {name: _of_measure(name, group, known) for name in COLUMNS}
        for name in COLUMNS:
            values = group[name].astype(float)
            n, bias, sd = found[name]
            row = {"sex": sex, "n": int(values.notna().sum()), "error_n": n}
            row |= {"bias": bias, "error_sd": sd, "reliability": reliability(values.dropna(), sd)}
            row |= _interval("measured", mean_interval(values.dropna()))
            if own is not None:
                row |= _interval("weighted", weighted_mean(values, own))
            row |= _interval("corrected", corrected_mean(values, bias, sd, n))
            rows.append({"result": f"mean {name}"} | row)
            rows.append({"result": f"SD of {name}"} | _spread(row, values.dropna(), n, sd))
        for name, x, y in pairs:
            rows += _relation(name, sex, group, x, y, found.get(y), seed)
    names = ["result", "sex", "n", "error_n", "bias", "error_sd", "reliability"]
    kinds = ("measured", "weighted", "corrected")
    names += [f"{kind}{end}" for kind in kinds for end in ("", "_low", "_high")]
    reason = "" if known else f"fewer than {LEAST_PAIRS} annotated participants: not corrected"
    result = pd.DataFrame(rows).reindex(columns=names)
    return result.assign(note=np.where(result["corrected"].isna(), reason or "no reliability", ""))


def _interval(name, values) -> dict:
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _of_measure(name, group, known):
    """n, bias and SD of a measure's error; the index's from the total's and the heights."""
    if name != "imi_ml_m2":
        return known.get(name, (math.nan, math.nan, math.nan))
    n, bias, sd = known.get("total_ml", (math.nan, math.nan, math.nan))
    squared = (group["height_cm"].astype(float) / 100) ** 2
    return n, bias * (1 / squared).mean(), sd * math.sqrt((1 / squared**2).mean())


def _spread(row, values, error_n, error_sd) -> dict:
    """Standard deviations, as measured and without the error's variance."""
    n = len(values)
    row = {name: row[name] for name in ("sex", "n", "error_n", "error_sd", "reliability")}
    if n < 3:
        return row
    variance = values.var(ddof=1)
    ends = [math.sqrt((n - 1) * variance / stats.chi2.ppf(q, n - 1)) for q in (0.975, 0.025)]
    row |= _interval("measured", (math.sqrt(variance), *ends))
    truth = variance - error_sd**2
    if truth > 0:  # delta method on the two variances
        error = math.sqrt(2 * variance**2 / (n - 1) + 2 * error_sd**4 / (error_n - 1))
        half = stats.norm.ppf(0.975) * error
        ends = [math.sqrt(max(truth + sign * half, 0.0)) for sign in (-1, 1)]
        row |= _interval("corrected", (math.sqrt(truth), *ends))
    return row


def _relation(name, sex, group, x, y, found, seed) -> list[dict]:
    """Spearman's rho of a pair, and the slope of its trait on the measure."""
    pair = group[[x, y]].astype(float).dropna()
    error_n, _, error_sd = found or (math.nan, math.nan, math.nan)
    n = len(pair)
    row = {"sex": sex, "n": n, "error_n": error_n, "error_sd": error_sd}
    if n < 5 or pair[x].nunique() < 2 or pair[y].nunique() < 2:
        return [{"result": f"rho of {name}"} | row, {"result": f"slope of {x} on {y}"} | row]
    share = reliability(pair[y], error_sd)
    row["reliability"] = share
    test = hypotheses.spearman(pair[x], pair[y])
    corrected = (math.nan,) * 3
    if math.isfinite(error_sd):
        corrected = corrected_correlation(
            test.estimate, n, pair[y], error_sd, error_n, seed, "spearman"
        )
    rho = row | _interval("measured", (test.estimate, test.low, test.high))
    rho |= _interval("corrected", corrected)
    line = stats.linregress(pair[y], pair[x])
    half = stats.t.ppf(0.975, n - 2) * line.stderr
    slope = row | _interval("measured", (line.slope, line.slope - half, line.slope + half))
    if share > 0:
        rng = np.random.default_rng(seed)
        error = error_sd**2 * (error_n - 1) / rng.chisquare(error_n - 1, DRAWS)
        drawn = line.slope + line.stderr * rng.standard_normal(DRAWS)
        drawn = drawn / np.maximum(1 - error / pair[y].var(ddof=1), 1e-6)
        ends = np.quantile(drawn, [0.025, 0.975])
        slope |= _interval("corrected", (line.slope / share, *map(float, ends)))
    return [{"result": f"rho of {name}"} | rho, {"result": f"slope of {x} on {y}"} | slope]
