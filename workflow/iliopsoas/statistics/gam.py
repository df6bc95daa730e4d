"""Penalised cubic regression splines with REML smoothness, as mgcv fits them.

``mgcv::gam(y ~ s(x, bs = "cr", k = 10), method = "REML")`` for one smooth and
Gaussian errors: the same basis (values at knots, which are quantiles of the distinct
x), the same penalty (integrated squared second derivative), the same constraint (the
smooth sums to zero over the data), the same restricted likelihood, and bands from
mgcv's Bayesian covariance. The same quantities are compared with R in the tests.

S. N. Wood, Generalized Additive Models, 2nd edition (2017), sections 5.3.1 and 6.2.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, stats


class TooFew(ValueError):
    """The data do not allow the fit; the message says why."""


def knots_of(x, k: int) -> np.ndarray:
    """`k` knots at evenly spaced quantiles of the distinct values of x."""
    return np.quantile(np.unique(x), np.linspace(0, 1, k))


def _curvature(knots):
    """F (k, k), values at knots to second derivatives there, and the penalty S (k, k)."""
    h = np.diff(knots)
    k = len(knots)
    d = np.zeros((k - 2, k))
    b = np.zeros((k - 2, k - 2))
    for i in range(k - 2):
        d[i, i : i + 3] = 1 / h[i], -1 / h[i] - 1 / h[i + 1], 1 / h[i + 1]
        b[i, i] = (h[i] + h[i + 1]) / 3
        if i < k - 3:
            b[i, i + 1] = b[i + 1, i] = h[i + 1] / 6
    inner = linalg.solve(b, d, assume_a="pos")
    return np.vstack([np.zeros(k), inner, np.zeros(k)]), d.T @ inner


def basis(x, knots, order: int = 0) -> np.ndarray:
    """The natural cubic spline basis, or a derivative of it.

    Parameters
    ----------
    x : array_like, shape (n,)
        Within the knots.
    knots : ndarray, shape (k,)
        Increasing.
    order : {0, 1, 2}
        Derivative.

    Returns
    -------
    ndarray, shape (n, k)
        Row i times the values at the knots is the spline (derivative) at x[i].
    """
    x = np.asarray(x, dtype=float)
    slack = 1e-9 * (knots[-1] - knots[0])
    if x.size and (x.min() < knots[0] - slack or x.max() > knots[-1] + slack):
        raise ValueError("spline asked for outside the range of the data")
    curvature, _ = _curvature(knots)
    j = np.clip(np.searchsorted(knots, x, "right") - 1, 0, len(knots) - 2)
    h = np.diff(knots)[j]
    up, down = knots[j + 1] - x, x - knots[j]
    if order == 0:
        ends = up / h, down / h
        bends = (up**3 / h - h * up) / 6, (down**3 / h - h * down) / 6
    elif order == 1:
        ends = -1 / h, 1 / h
        bends = (h - 3 * up**2 / h) / 6, (3 * down**2 / h - h) / 6
    elif order == 2:
        ends = 0 * h, 0 * h
        bends = up / h, down / h
    else:
        raise ValueError(f"order 0, 1 or 2, found {order}")
    rows = np.arange(len(x))
    matrix = bends[0][:, None] * curvature[j] + bends[1][:, None] * curvature[j + 1]
    matrix[rows, j] += ends[0]
    matrix[rows, j + 1] += ends[1]
    return matrix


@dataclass(frozen=True)
class Fit:
    """A fitted curve y = f(x).

    Attributes
    ----------
    n, k : int
        Observations; basis size before the constraint.
    knots : ndarray (k,)
    coefficients : ndarray (k,)
        Intercept, then the constrained smooth.
    covariance : ndarray (k, k)
        mgcv's Vp, conditional on the smoothing parameter.
    edf : float
        Effective degrees of freedom of the smooth, intercept not counted.
    scale : float
        Residual variance.
    smoothing : float
        Of this penalty's own scaling; not comparable with mgcv's.
    r_squared, deviance_explained : float
        Adjusted R squared; share of the deviance.
    """

    n: int
    k: int
    knots: np.ndarray
    constraint: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    edf: float
    scale: float
    smoothing: float
    r_squared: float
    deviance_explained: float
    note: str = ""

    def rows(self, x, order: int = 0) -> np.ndarray:
        """Rows (len(x), k) that give f or its derivative from the coefficients."""
        smooth = basis(x, self.knots, order) @ self.constraint
        intercept = np.full((len(smooth), 1), 1.0 if order == 0 else 0.0)
        return np.hstack([intercept, smooth])

    def evaluate(self, x, order: int = 0):
        """Curve (or derivative) and its standard error at x, both shape (len(x),)."""
        rows = self.rows(x, order)
        variance = np.einsum("ij,jk,ik->i", rows, self.covariance, rows)
        return rows @ self.coefficients, np.sqrt(np.maximum(variance, 0))

    @property
    def residual_df(self) -> float:
        return self.n - 1 - self.edf

    @property
    def range(self):
        return float(self.knots[0]), float(self.knots[-1])


def fit(x, y, k: int = 10) -> Fit:
    """Fit y = f(x) by penalised least squares, the smoothness by REML.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Rows with a missing value are left out.
    k : int
        Basis size. Where x has fewer distinct values, these are the knots, and the
        note says so (mgcv stops there).

    Raises
    ------
    TooFew
        Fewer than 3 distinct x, too few observations, or y constant.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    n, distinct = len(x), len(np.unique(x))
    note = ""
    if distinct < 4:
        raise TooFew(f"{distinct} distinct values of x; at least 4 are needed")
    if distinct < k:
        note = f"basis reduced from {k} to {distinct}, the number of distinct x"
        k = distinct
    if n < k + 1:
        raise TooFew(f"{n} observations for a basis of {k}")
    if np.ptp(y) == 0:
        raise TooFew("y is constant")
    knots = knots_of(x, k)
    full = basis(x, knots)
    _, penalty = _curvature(knots)
    constraint = linalg.qr(full.sum(axis=0)[:, None])[0][:, 1:]
    design = full @ constraint
    penalty = constraint.T @ penalty @ constraint
    centred = y - y.mean()  # the smooth's columns sum to zero: the intercept is the mean
    cross = design.T @ design
    # coordinates in which cross is the identity and the penalty is diagonal
    roots, vectors = linalg.eigh(penalty, cross)
    roots = np.maximum(roots, 0)
    roots[0] = 0  # the straight line
    target = vectors.T @ (design.T @ centred)
    total = float(centred @ centred)
    bent = roots[1:]

    def criterion(log_smoothing):
        shrink = 1 / (1 + math.exp(log_smoothing) * roots)
        penalised = total - np.sum(target**2 * shrink)
        penalised = max(penalised, 1e-300)
        return (n - 2) / 2 * math.log(penalised) + 0.5 * np.sum(
            np.log1p(math.exp(log_smoothing) * bent) - log_smoothing - np.log(bent)
        )

    middle = -math.log(np.median(bent))
    grid = middle + np.linspace(-25, 25, 201)
    best = int(np.argmin([criterion(value) for value in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        criterion, bounds=around, method="bounded", options={"xatol": 1e-9}
    )
    smoothing = math.exp(found.x)
    shrink = 1 / (1 + smoothing * roots)
    beta = vectors @ (shrink * target)
    residual = float(np.sum((centred - design @ beta) ** 2))
    edf = float(shrink.sum())
    scale = residual / (n - 1 - edf)
    covariance = linalg.block_diag(scale / n, (vectors * shrink) @ vectors.T * scale)
    return Fit(
        n=n,
        k=k,
        knots=knots,
        constraint=constraint,
        coefficients=np.concatenate([[y.mean()], beta]),
        covariance=covariance,
        edf=edf,
        scale=scale,
        smoothing=smoothing,
        r_squared=1 - scale / (total / (n - 1)),
        deviance_explained=1 - residual / total,
        note=note,
    )


def critical_value(rows, covariance, df: float, level: float = 0.95) -> float:
    """How many standard errors make a band hold along the whole curve at once.

    Parameters
    ----------
    rows : ndarray, shape (m, k)
        Linear forms along a fine grid of x.
    covariance : ndarray, shape (k, k)
    df : float
        Of the residual variance.

    Returns
    -------
    float
        c with 2 P(t > c) + (length / pi) (1 + c^2 / df)^(-df / 2) = 1 - level, where length is
        that of the path of the standardised forms (the tube formula: J. Sun and C. Loader,
        Annals of Statistics 22:1328, 1994). Slightly conservative.
    """
    length = path_length(rows, covariance)

    def excess(c):
        tube = length / math.pi * math.exp(-df / 2 * math.log1p(c**2 / df))
        return 2 * stats.t.sf(c, df) + tube - (1 - level)

    return float(optimize.brentq(excess, 0.1, 1e6))


def path_length(rows, covariance) -> float:
    """Length of the path of unit vectors of linear forms `rows` in the metric `covariance`."""
    values, vectors = linalg.eigh(covariance)
    unit = rows @ (vectors * np.sqrt(np.maximum(values, 0)))
    size = np.linalg.norm(unit, axis=1)
    unit = unit[size > 1e-12 * size.max()]
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    return float(
        np.sum(2 * np.arcsin(np.minimum(1, np.linalg.norm(np.diff(unit, axis=0), axis=1) / 2)))
    )
