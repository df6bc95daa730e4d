"""IMI by age: the curve, its slope, and from which age the decline is steeper."""

import math

import numpy as np
import pandas as pd
from scipy import linalg, stats

from iliopsoas.statistics import formats, gam, hypotheses
from iliopsoas.statistics.cohort import by_sex

POINTS = 201


def fits(table: pd.DataFrame, x: str = "age", y: str = "imi_ml_m2", k: int = 10) -> dict:
    """The curve of each sex, or the reason why there is none: {sex: gam.Fit or str}."""
    result = {}
    for sex, group in by_sex(table):
        try:
            result[sex] = gam.fit(group[x], group[y], k)
        except gam.TooFew as reason:
            result[sex] = str(reason)
    return result


def summary(curves: dict, x: str = "age", y: str = "imi_ml_m2") -> pd.DataFrame:
    """gam.tsv: n, basis size, effective degrees of freedom, scale, R squared, by sex."""
    rows = []
    for sex, curve in curves.items():
        row = {"sex": sex, "y": y, "x": x}
        if isinstance(curve, str):
            rows.append(row | {"note": curve})
            continue
        low, high = curve.range
        rows.append(
            row
            | {
                "n": curve.n,
                "k": curve.k,
                "edf": curve.edf,
                "intercept": curve.coefficients[0],
                "intercept_se": math.sqrt(curve.covariance[0, 0]),
                "scale": curve.scale,
                "smoothing": curve.smoothing,
                "r_squared": curve.r_squared,
                "deviance_explained": curve.deviance_explained,
                "x_min": low,
                "x_max": high,
                "method": f"cubic regression spline, k = {curve.k}, REML (as mgcv)",
                "note": curve.note,
            }
        )
    columns = [
        "sex",
        "y",
        "x",
        "n",
        "k",
        "edf",
        "intercept",
        "intercept_se",
        "scale",
        "smoothing",
        "r_squared",
        "deviance_explained",
        "x_min",
        "x_max",
        "method",
        "note",
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


def curve_table(curves: dict, points: int = POINTS) -> pd.DataFrame:
    """gam_curve.tsv: the curve and its first two derivatives at evenly spaced x, by sex.

    Returns
    -------
    DataFrame
        sex, x, then fit, slope and bend (y per x, y per x squared), each with se, the
        pointwise 95 % band (t on the residual degrees of freedom; _low, _high) and, for slope
        and bend, the simultaneous band (_all_low, _all_high), which holds along the whole curve.
    """
    parts = []
    for sex, curve in curves.items():
        if isinstance(curve, str):
            continue
        x = np.linspace(*curve.range, points)
        part = {"sex": sex, "x": x}
        z = stats.t.ppf(0.975, curve.residual_df)
        for order, name in enumerate(("fit", "slope", "bend")):
            value, error = curve.evaluate(x, order)
            part |= {name: value, f"{name}_se": error}
            part |= {f"{name}_low": value - z * error, f"{name}_high": value + z * error}
            if order:
                c = gam.critical_value(curve.rows(x, order), curve.covariance, curve.residual_df)
                part |= {
                    f"{name}_all_low": value - c * error,
                    f"{name}_all_high": value + c * error,
                }
        parts.append(pd.DataFrame(part))
    if not parts:
        return pd.DataFrame(columns=["sex", "x", "fit", "fit_se", "fit_low", "fit_high"])
    return pd.concat(parts, ignore_index=True)


def broken_stick(x, y, inner: float = 0.1, step: float = 0.1, level: float = 0.95) -> dict:
    """Two straight lines that meet: where the slope changes, and whether it does.

    Parameters
    ----------
    x, y : array_like, shape (n,)
    inner : float
        The break is looked for between the `inner` and 1 - `inner` quantiles of x.
    step : float
        Spacing of candidate breaks, in x.

    Returns
    -------
    dict
        n; break_x with its interval (break_low, break_high: the breaks that a likelihood
        ratio test at `level` does not reject); slope_before, slope_after, change, each
        with its t interval at that break; p of no change against a change at any break;
        note.

    Notes
    -----
    p is Hotelling's bound for the largest correlation of the residuals with a hinge over all
    breaks (a tube around a path on the unit sphere: I. Johnstone and D. Siegmund, Annals of
    Statistics 17:184, 1989), so searching for the break is paid for, at any n. Where a decline
    steepens evenly there is no one break, and its interval is wide.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    n = len(x)
    names = ["break_x", "break_low", "break_high"]
    names += [
        f"{part}{end}"
        for part in ("slope_before", "slope_after", "change")
        for end in ("", "_low", "_high")
    ]
    result = {"n": n} | dict.fromkeys([*names, "p", "log10_p"], math.nan) | {"note": ""}
    if n < 10 or len(np.unique(x)) < 5:
        return result | {"note": "at least 10 observations at 5 distinct x are needed"}
    low, high = np.quantile(x, [inner, 1 - inner])
    breaks = np.arange(low, high + step / 2, step)
    if len(breaks) < 3 or np.ptp(y) == 0:
        return result | {"note": "no room for a break, or y is constant"}
    # sums over equal x are enough for every fit
    at, inverse, weight = np.unique(x, return_inverse=True, return_counts=True)
    weight = weight.astype(float)
    mean = np.bincount(inverse, y) / weight
    within = float(np.sum((y - mean[inverse]) ** 2))
    line = np.column_stack([np.ones(len(at)), at - x.mean()]) * np.sqrt(weight)[:, None]
    q, _ = linalg.qr(line, mode="economic")
    target = mean * np.sqrt(weight)
    target = target - q @ (q.T @ target)
    hinges = np.maximum(at[:, None] - breaks, 0) * np.sqrt(weight)[:, None]
    hinges -= q @ (q.T @ hinges)
    size = np.linalg.norm(hinges, axis=0)
    usable = size > 1e-9 * size.max()
    breaks, hinges = breaks[usable], hinges[:, usable] / size[usable]
    null = within + float(target @ target)
    gain = (hinges.T @ target) ** 2
    best = int(np.argmax(gain))
    rss = null - gain[best]
    df = n - 4
    if rss <= 1e-12 * null:
        return result | {"note": "the two lines fit perfectly"}
    share = gain[best] / null  # squared correlation
    length = float(
        np.sum(np.arccos(np.clip(np.sum(hinges[:, 1:] * hinges[:, :-1], axis=0), -1, 1)))
    )
    log_p = np.logaddexp(
        hypotheses.log_two_sided_t(math.sqrt(share * (n - 3) / (1 - share)), n - 3),
        math.log(max(length, 1e-300) / math.pi) + (n - 4) / 2 * math.log1p(-share),
    )
    kept = breaks[null - gain <= rss * (1 + stats.f.ppf(level, 1, df) / df)]
    design = np.column_stack(
        [np.ones(len(at)), np.minimum(at - breaks[best], 0), np.maximum(at - breaks[best], 0)]
    )
    inverse_information = np.linalg.inv(design.T @ (design * weight[:, None]))
    coefficients = inverse_information @ (design.T @ (weight * mean))
    covariance = inverse_information * rss / df
    critical = stats.t.ppf(0.5 + level / 2, df)
    result |= {"break_x": breaks[best], "break_low": kept.min(), "break_high": kept.max()}
    for name, form in (
        ("slope_before", [0, 1, 0]),
        ("slope_after", [0, 0, 1]),
        ("change", [0, -1, 1]),
    ):
        form = np.array(form, dtype=float)
        value, half = form @ coefficients, critical * math.sqrt(form @ covariance @ form)
        result |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
    notes = []
    if kept.min() <= breaks[0] or kept.max() >= breaks[-1]:
        notes.append("the break's interval reaches the end of the ages searched")
    log_p = min(float(log_p), 0.0)
    return result | {
        "p": max(math.exp(log_p), np.finfo(float).tiny),
        "log10_p": log_p / math.log(10),
        "note": "; ".join(notes),
    }


def _first_run(x, holds):
    """First and last x of the longest run where `holds`; NaN where there is none."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], holds.astype(int), [0]])))
    runs = list(zip(edges[::2], edges[1::2] - 1, strict=True))
    if not runs:
        return math.nan, math.nan
    first, last = max(runs, key=lambda run: x[run[1]] - x[run[0]])
    return float(x[first]), float(x[last])


def acceleration(
    table: pd.DataFrame, curves: dict, x: str = "age", y: str = "imi_ml_m2", alpha: float = 0.05
) -> pd.DataFrame:
    """acceleration.tsv: does the decline steepen, from which age, by sex.

    Returns
    -------
    DataFrame
        Per sex the broken stick's break, slopes and p (see `broken_stick`), and from the
        curve: the ages of which the slope (and the bend) is below zero with simultaneous
        95 % confidence; ``accelerates`` (p < alpha, and the
        slope falls and ends below 0); statement. A last
        row, ``male - female``, compares the change of slope between the sexes.
    """
    rows = []
    points = curve_table(curves)
    for sex, group in by_sex(table):
        row = {"sex": sex} | broken_stick(group[x], group[y])
        part = points[points["sex"] == sex]
        for name in ("slope", "bend"):
            column = f"{name}_all_high"
            holds = part[column].to_numpy() < 0 if column in part else np.zeros(0, bool)
            row[f"{name}_below_0_from"], row[f"{name}_below_0_to"] = _first_run(
                part["x"].to_numpy(), holds
            )
        row["accelerates"] = bool(row["p"] < alpha and row["change"] < 0 and row["slope_after"] < 0)
        row["statement"] = _statement(sex, row, alpha)
        rows.append(row)
    female, male = rows
    difference = male["change"] - female["change"]
    half = _welch_half([row["change_high"] - row["change"] for row in rows],
                       [row["n"] - 4 for row in rows])  # fmt: skip
    rows.append(
        {
            "sex": "male - female",
            "n": female["n"] + male["n"],
            "change": difference,
            "change_low": difference - half,
            "change_high": difference + half,
            "note": "each sex at its own break; interval by Welch's t",
        }
    )
    return pd.DataFrame(rows).assign(method="broken stick, p by Hotelling's tube")


def _welch_half(halves, df, level: float = 0.95) -> float:
    """Half width of the interval of a difference, from two t intervals' half widths."""
    if not np.isfinite(halves).all():
        return math.nan
    parts = [
        (half / stats.t.ppf(0.5 + level / 2, n)) ** 2 for half, n in zip(halves, df, strict=True)
    ]
    if not sum(parts):
        return 0.0
    pooled = sum(parts) ** 2 / sum(part**2 / n for part, n in zip(parts, df, strict=True))
    return stats.t.ppf(0.5 + level / 2, pooled) * math.sqrt(sum(parts))


def _statement(sex, row, alpha):
    who = {"female": "women", "male": "men"}[sex]
    if not math.isfinite(row["p"]):
        return f"In {who} a change of slope could not be tested: {row['note']}."
    p = formats.p_equals(row["p"])
    if not row["accelerates"]:
        return f"In {who} no steepening of the decline with age was found ({p})."
    return (
        f"In {who} the index changes by {formats.number(row['slope_before'], 2)} ml/m² per year "
        f"before age {row['break_x']:.1f} (95 % interval {row['break_low']:.1f} to "
        f"{row['break_high']:.1f}) and by {formats.number(row['slope_after'], 2)} after it ({p})."
    )
