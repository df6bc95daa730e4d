"""Brent's root finder, step by step as R's uniroot takes it.

R inverts the rank tests to get their intervals with ``uniroot(tol = 1e-4)``. The
function is a step function, so where the search stops depends on its steps; the
same steps give R's numbers, which any other root finder would miss by up to 1e-4.
"""

import numpy as np


def brent(function, low: float, high: float, at_low=None, at_high=None, tolerance=1e-4):
    """A root of `function` between `low` and `high`.

    Parameters
    ----------
    function : callable
        float to float; of opposite sign, or zero, at the two ends.
    low, high : float
    at_low, at_high : float, optional
        Its values at the ends, where known.
    tolerance : float
        Absolute, as ``uniroot``'s ``tol``.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the ends do not bracket a root.

    Notes
    -----
    R. P. Brent, Algorithms for Minimization without Derivatives (1973), chapter 4,
    as in netlib's zeroin.
    """
    previous, best = float(low), float(high)
    f_previous = function(previous) if at_low is None else at_low
    f_best = function(best) if at_high is None else at_high
    if not f_previous * f_best <= 0:
        raise ValueError("the ends do not bracket a root")
    if f_previous == 0:
        return previous
    if f_best == 0:
        return best
    other, f_other = previous, f_previous  # on the other side of the root
    for _ in range(1000):
        last_step = best - previous
        if abs(f_other) < abs(f_best):
            previous, best, other = best, other, best
            f_previous, f_best, f_other = f_best, f_other, f_best
        accuracy = 2 * np.finfo(float).eps * abs(best) + tolerance / 2
        step = (other - best) / 2
        if abs(step) <= accuracy or f_best == 0:
            break
        if abs(last_step) >= accuracy and abs(f_previous) > abs(f_best):
            width = other - best
            if previous == other:  # secant
                ratio = f_best / f_previous
                p, q = width * ratio, 1 - ratio
            else:  # inverse quadratic
                q, r, s = f_previous / f_other, f_best / f_other, f_best / f_previous
                p = s * (width * q * (q - r) - (best - previous) * (r - 1))
                q = (q - 1) * (r - 1) * (s - 1)
            p, q = (p, -q) if p > 0 else (-p, q)
            if p < 0.75 * width * q - abs(accuracy * q) / 2 and p < abs(last_step * q / 2):
                step = p / q
        if abs(step) < accuracy:
            step = accuracy if step > 0 else -accuracy
        previous, f_previous = best, f_best
        best += step
        f_best = function(best)
        if (f_best > 0) == (f_other > 0) and f_best != 0:
            other, f_other = previous, f_previous
    return best
