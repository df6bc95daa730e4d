"""The hypothesis tests, each with R's approximation, an effect size and a reason where it fails.

Every function takes plain arrays, leaves out pairs or values that are missing, and
returns a `Result`. Where a test cannot be made (too few values, no variation) its
numbers are NaN and `note` says why; nothing is raised and nothing becomes 0.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from iliopsoas.statistics.roots import brent

LEVEL = 0.95
R_QNORM_975 = 1.9599639845400536  # SciPy's differs in the last digit, enough to move a search
SHAPIRO_LIMIT = 5000  # Royston's coefficients, and R, go no further
SMALLEST_P = np.finfo(float).tiny


@dataclass(frozen=True)
class Result:
    """One test.

    Attributes
    ----------
    method : str
        The test and the approximation used, in words.
    n : int
        Values (or pairs) used; `missing` were left out.
    statistic, p : float
    log10_p : float
        Exact even where p is below what a double holds; `p` is then the smallest
        normal double.
    estimate, low, high : float
        What `method` estimates, with its 95 % interval.
    effect : float
        Effect size on -1 to 1, named in `effect_name`.
    note : str
        Why numbers are missing, or what to know about them.
    """

    method: str
    n: int
    missing: int = 0
    statistic: float = math.nan
    p: float = math.nan
    log10_p: float = math.nan
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    effect: float = math.nan
    effect_name: str = ""
    note: str = ""

    def row(self) -> dict:
        return dataclasses.asdict(self)


def _values(x):
    x = np.asarray(x, dtype=float)
    return x[np.isfinite(x)], int(np.sum(~np.isfinite(x)))


def _pairs(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape:
        raise ValueError(f"pairs need equal lengths, found {x.shape} and {y.shape}")
    both = np.isfinite(x) & np.isfinite(y)
    return x[both], y[both], int(np.sum(~both))


def _from_log(log_p):
    """p, log10 p and a note from the natural logarithm of p."""
    log10_p = min(float(log_p), 0.0) / math.log(10)
    if log10_p < math.log10(SMALLEST_P):
        return SMALLEST_P, log10_p, "p is below the smallest double; log10_p is exact"
    return min(1.0, math.exp(log_p)), log10_p, ""


def _two_sided_normal(z):
    return _from_log(math.log(2) + special.log_ndtr(-abs(z)))


def log_two_sided_t(t: float, df: float) -> float:
    """Natural logarithm of the two-sided p of Student's t, also where p underflows."""
    if not math.isfinite(t):
        return -math.inf
    p = 2 * stats.t.sf(abs(t), df)
    if p > 1e-290:
        return math.log(p)
    # continued as the hypergeometric series of the incomplete beta function
    a, x = df / 2, df / (df + t * t)
    terms = np.arange(int(min(1e6, 60 / -math.log(x))) + 2)
    series = np.exp(np.cumsum(np.log((a + 0.5 + terms) / (a + 1 + terms) * x)))
    log_beta = special.betaln(a, 0.5)
    return (
        a * math.log(x) + 0.5 * math.log1p(-x) - math.log(a) - log_beta + math.log1p(series.sum())
    )


def _critical(level):
    return R_QNORM_975 if level == LEVEL else stats.norm.ppf(0.5 + level / 2)


def _invert(w, low, high, level):
    """Estimate and interval of a shift: the roots of the standardised rank statistic."""
    z = _critical(level)
    at_low, at_high = w(low, True), w(high, True)

    def root(target):
        if at_low - target <= 0:
            return low
        if at_high - target >= 0:
            return high
        return brent(lambda d: w(d, True) - target, low, high, at_low - target, at_high - target)

    return brent(lambda d: w(d, False), low, high), root(z), root(-z)


def rank_sum(x, y, intervals: bool = True, level: float = LEVEL) -> Result:
    """Wilcoxon rank-sum test of two groups.

    Parameters
    ----------
    x, y : array_like
    intervals : bool
        Also the Hodges-Lehmann shift of `x` over `y` and its interval.

    Returns
    -------
    Result
        `statistic` is W (Mann-Whitney's U of `x`), `estimate` the shift, `effect` the
        rank-biserial correlation 2 U / (n m) - 1, positive where `x` is larger.

    Notes
    -----
    Normal approximation with tie and continuity correction: R's
    ``wilcox.test(x, y, exact = FALSE, correct = TRUE, conf.int = TRUE)``. In groups so small
    that not even complete separation is significant at 1 - `level`, R prints the smallest and
    largest difference as interval; here it is missing and the note says so.
    """
    x, lost_x = _values(x)
    y, lost_y = _values(y)
    blank = Result(
        "Wilcoxon rank-sum, normal approximation with tie and continuity correction",
        len(x) + len(y),
        lost_x + lost_y,
        effect_name="rank-biserial",
    )
    if len(x) < 1 or len(y) < 1:
        return dataclasses.replace(blank, note="one of the two groups is empty")
    n, m = len(x), len(y)
    xu, xc = np.unique(x, return_counts=True)
    yu, yc = np.unique(y, return_counts=True)
    below = np.concatenate([[0], np.cumsum(yc)])
    own_ties = np.sum(xc**3.0 - xc) + np.sum(yc**3.0 - yc)

    def parts(d):
        shifted = xu - d
        first, last = np.searchsorted(yu, shifted, "left"), np.searchsorted(yu, shifted, "right")
        u = float(np.sum(xc * (below[first] + below[last]) / 2))
        ties, met = own_ties, last > first
        if met.any():
            a, b = xc[met].astype(float), yc[first[met]].astype(float)
            ties = ties + np.sum((a + b) ** 3 - a**3 - b**3)
        spread = (n + m + 1) - ties / ((n + m) * (n + m - 1.0))
        return u, math.sqrt(max(0.0, n * m / 12 * spread))

    u, sigma = parts(0.0)
    if sigma == 0:
        return dataclasses.replace(blank, statistic=u, note="all values are equal")
    centred = u - n * m / 2
    p, log10_p, note = _two_sided_normal((centred - np.sign(centred) * 0.5) / sigma)
    estimate = low = high = math.nan
    if intervals:

        def w(d, corrected):
            u, sigma = parts(d)
            centred = u - n * m / 2
            if sigma == 0:
                return math.copysign(math.inf, centred) if centred else 0.0
            return (centred - (np.sign(centred) * 0.5 if corrected else 0)) / sigma

        estimate, low, high = _invert(w, xu[0] - yu[-1], xu[-1] - yu[0], level)
        apart = n * m / 12 * ((n + m + 1) - own_ties / ((n + m) * (n + m - 1.0)))
        if n * m / 2 - 0.5 < _critical(level) * math.sqrt(max(0.0, apart)):
            low = high = math.nan
            reached = f"too few values for a {level:.0%} interval"
            note = "; ".join(part for part in (note, reached) if part)
    return dataclasses.replace(
        blank,
        statistic=u,
        p=p,
        log10_p=log10_p,
        estimate=estimate,
        low=low,
        high=high,
        effect=2 * u / (n * m) - 1,
        note=note,
    )


def signed_rank(x, y=None, intervals: bool = True, level: float = LEVEL) -> Result:
    """Wilcoxon signed-rank test of pairs `x` - `y`, or of one sample against zero.

    Returns
    -------
    Result
        `statistic` is V, the rank sum of the positive differences, `estimate` the
        pseudomedian, `effect` the matched-pairs rank-biserial correlation
        (V+ - V-) / (V+ + V-). Zero differences take no part, as in R.

    Notes
    -----
    Normal approximation with tie and continuity correction: R's ``wilcox.test(x, y,
    paired = TRUE, exact = FALSE, correct = TRUE, conf.int = TRUE)``. Where R lowers the level
    of the interval because `level` cannot be reached, it is missing and the note says so.
    """
    if y is None:
        difference, lost = _values(x)
    else:
        x, y, lost = _pairs(x, y)
        difference = x - y
    zeros = int(np.sum(difference == 0))
    pairs = len(difference)
    difference = difference[difference != 0]
    n = len(difference)
    notes = [f"{zeros} zero differences left out"] if zeros else []
    blank = Result(
        "Wilcoxon signed-rank, normal approximation with tie and continuity correction",
        pairs,
        lost,
        effect_name="matched-pairs rank-biserial",
        note=notes[0] if notes else "",
    )
    if n == 0:
        reason = "no pairs" if pairs == 0 else "all differences are zero"
        return dataclasses.replace(blank, note=reason)

    def parts(d):
        values = difference - d
        values = values[values != 0]
        if not len(values):
            return 0.0, 0.0, 0.0
        size = np.abs(values)
        _, inverse, counts = np.unique(size, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        k = float(len(values))
        v = float(ranks[values > 0].sum())
        ties = np.sum(counts**3.0 - counts)
        sigma = math.sqrt(max(0.0, k * (k + 1) * (2 * k + 1) / 24 - ties / 48))
        return v, v - k * (k + 1) / 4, sigma

    v, centred, sigma = parts(0.0)
    p, log10_p, note = _two_sided_normal((centred - np.sign(centred) * 0.5) / sigma)
    notes += [note] if note else []
    estimate = low = high = math.nan
    if intervals:

        def w(d, corrected):
            _, centred, sigma = parts(d)
            if sigma == 0:
                return math.nan
            return (centred - (np.sign(centred) * 0.5 if corrected else 0)) / sigma

        smallest, largest = float(difference.min()), float(difference.max())
        z = _critical(level)
        reach = w(smallest, True), w(largest, True)
        if smallest < largest and reach[0] >= z and reach[1] <= -z:
            estimate, low, high = _invert(w, smallest, largest, level)
        else:
            estimate = smallest
            if smallest < largest:
                estimate = brent(lambda d: w(d, False), smallest, largest)
            notes.append(f"too few distinct differences for a {level:.0%} interval")
    return dataclasses.replace(
        blank,
        statistic=v,
        p=p,
        log10_p=log10_p,
        estimate=estimate,
        low=low,
        high=high,
        effect=2 * v / (n * (n + 1) / 2) - 1,
        note="; ".join(notes),
    )


def spearman(x, y, level: float = LEVEL) -> Result:
    """Spearman's rank correlation of pairs.

    Returns
    -------
    Result
        `statistic` is S, `estimate` and `effect` are rho. The interval, which R does not
        give, is Fisher's z with Bonett and Wright's standard error
        sqrt((1 + rho^2 / 2) / (n - 3)) (Psychometrika 65:23, 2000).

    Notes
    -----
    p from Student's t on n - 2: R's ``cor.test(method = "spearman", exact = FALSE)``.
    """
    x, y, lost = _pairs(x, y)
    n = len(x)
    blank = Result(
        "Spearman, t approximation; interval: Fisher z, Bonett-Wright standard error",
        n,
        lost,
        effect_name="rho",
    )
    if n < 3:
        return dataclasses.replace(blank, note=f"{n} pairs; at least 3 are needed")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return dataclasses.replace(blank, note="one of the two variables is constant")
    rho = float(np.clip(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1], -1, 1))
    size = n * (n * n - 1.0)
    s = size * (1 - rho) / 6
    if abs(rho) > 1 - 1e-12:
        p, log10_p, note = 0.0, -math.inf, "perfect correlation: p of the t approximation is 0"
    else:
        t = rho * math.sqrt((n - 2) / (1 - rho**2))
        p, log10_p, note = _from_log(log_two_sided_t(t, n - 2))
    low = high = math.nan
    if n > 3 and abs(rho) < 1:
        half = stats.norm.ppf(0.5 + level / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
    return dataclasses.replace(
        blank,
        statistic=s,
        p=p,
        log10_p=log10_p,
        estimate=rho,
        low=low,
        high=high,
        effect=rho,
        note=note,
    )


def fisher_interval(r: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of Pearson's correlation by Fisher's z, as R's ``cor.test``; NaN where none is."""
    if n < 4 or not abs(r) < 1:
        return math.nan, math.nan
    half = stats.norm.ppf(0.5 + level / 2) / math.sqrt(n - 3)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)


def shapiro(x, seed: int = 2020) -> Result:
    """Shapiro-Wilk test of normality.

    Returns
    -------
    Result
        `statistic` is W. Above 5,000 values, where Royston's algorithm (and R) stop, a
        random 5,000 of them, drawn with `seed`, are tested, and the note says so.

    Notes
    -----
    Royston's AS R94 as SciPy has it: R's ``shapiro.test``.
    """
    x, lost = _values(x)
    blank = Result("Shapiro-Wilk (Royston 1995)", len(x), lost)
    if len(x) < 3:
        return dataclasses.replace(blank, note=f"{len(x)} values; at least 3 are needed")
    if np.ptp(x) == 0:
        return dataclasses.replace(blank, note="all values are equal")
    note = ""
    if len(x) > SHAPIRO_LIMIT:
        note = f"random {SHAPIRO_LIMIT} of {len(x)} values (the test's limit), seed {seed}"
        x = np.random.default_rng(seed).choice(np.sort(x), SHAPIRO_LIMIT, replace=False)
    x = x - np.median(x)  # as R does, against cancellation
    statistic, p = stats.shapiro(x)
    statistic = float(statistic)
    if len(x) > 11:  # Royston's normal approximation, for the logarithm of a tiny p
        log_n = math.log(len(x))
        mean = ((0.0038915 * log_n - 0.083751) * log_n - 0.31082) * log_n - 1.5861
        spread = math.exp((0.0030302 * log_n - 0.082676) * log_n - 0.4803)
        p, log10_p, small = _from_log(special.log_ndtr(-(math.log1p(-statistic) - mean) / spread))
        note = "; ".join(part for part in (note, small) if part)
    else:
        log10_p = math.log10(p) if p > 0 else -math.inf
    return dataclasses.replace(blank, statistic=statistic, p=float(p), log10_p=log10_p, note=note)


def kruskal(groups) -> Result:
    """Kruskal-Wallis test of several groups (R's ``kruskal.test``, tie corrected).

    Returns
    -------
    Result
        `effect` is epsilon squared, H / (n - 1), between 0 and 1.
    """
    cleaned = [_values(group) for group in groups]
    used = [values for values, _ in cleaned if len(values)]
    n = sum(len(values) for values in used)
    blank = Result(
        "Kruskal-Wallis, chi-squared approximation",
        n,
        sum(lost for _, lost in cleaned),
        effect_name="epsilon squared",
    )
    if len(used) < 2:
        return dataclasses.replace(blank, note=f"{len(used)} groups with values; 2 are needed")
    joined = np.concatenate(used)
    if np.ptp(joined) == 0:
        return dataclasses.replace(blank, note="all values are equal")
    statistic, p = stats.kruskal(*used)
    log10_p = math.log10(p) if p > 0 else -math.inf
    return dataclasses.replace(
        blank,
        statistic=float(statistic),
        p=float(max(p, SMALLEST_P)),
        log10_p=log10_p,
        effect=float(statistic / (n - 1)),
        note=f"{len(used) - 1} degrees of freedom",
    )


def adjusted_difference(y, covariate, second, level: float = LEVEL) -> tuple[Result, np.ndarray]:
    """Difference of two groups at equal covariate, and `y` moved to the mean covariate.

    Parameters
    ----------
    y, covariate : array_like
    second : array_like of bool
        Which rows belong to the second group.

    Returns
    -------
    Result
        `estimate` is the coefficient of `second` in y ~ covariate + second (R's ``lm``),
        `statistic` its t.
    adjusted : ndarray
        y - slope (covariate - mean), with the slope common to both groups; NaN where
        missing. It is what a rank-sum test "after correction" is made on.
    """
    y, covariate = np.asarray(y, dtype=float), np.asarray(covariate, dtype=float)
    second = np.asarray(second, dtype=bool)
    used = np.isfinite(y) & np.isfinite(covariate)
    adjusted = np.full(len(y), np.nan)
    blank = Result(
        "linear model with one slope and two groups, t", int(used.sum()), int((~used).sum())
    )
    groups = second[used]
    if used.sum() < 4 or groups.all() or not groups.any():
        return dataclasses.replace(blank, note="too few values or only one group"), adjusted
    design = np.column_stack(
        [np.ones(used.sum()), covariate[used] - covariate[used].mean(), groups]
    )
    if np.linalg.matrix_rank(design) < 3:
        return dataclasses.replace(
            blank, note="the covariate does not vary within groups"
        ), adjusted
    coefficients, *_ = np.linalg.lstsq(design, y[used], rcond=None)
    residual = y[used] - design @ coefficients
    df = int(used.sum()) - 3
    covariance = np.linalg.inv(design.T @ design) * (residual @ residual / df)
    error = math.sqrt(covariance[2, 2])
    adjusted[used] = y[used] - coefficients[1] * design[:, 1]
    estimate = float(coefficients[2])
    if error == 0:
        return dataclasses.replace(blank, estimate=estimate, note="no residual variation"), adjusted
    half = stats.t.ppf(0.5 + level / 2, df) * error
    p, log10_p, note = _from_log(log_two_sided_t(estimate / error, df))
    result = dataclasses.replace(
        blank,
        statistic=estimate / error,
        p=p,
        log10_p=log10_p,
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        note="; ".join(part for part in (f"slope {coefficients[1]:.6g}", note) if part),
    )
    return result, adjusted


def benjamini_hochberg(p) -> np.ndarray:
    """Benjamini and Hochberg's q of each p; NaN stays NaN and is not counted."""
    p = np.asarray(p, dtype=float)
    q = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="bh")
    return q
