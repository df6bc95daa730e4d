"""Image quality numbers of the stations and of the seams between them."""

import numpy as np

from iliopsoas.dixon.body import noise_level


def signal_to_noise(in_phase: np.ndarray, mask: np.ndarray) -> float | None:
    """Median foreground signal over the noise of air; higher is better.

    None where air carries no noise (a scanner that masks it) or nothing is foreground.
    """
    noise = noise_level(in_phase)
    if noise <= 0 or not mask.any():
        return None
    return float(np.median(in_phase[mask]) / noise)


def seam_difference(lower: np.ndarray, upper: np.ndarray, weight: np.ndarray) -> dict | None:
    """How two stations differ where they overlap.

    Parameters
    ----------
    lower, upper : ndarray (slices, y, x)
        The stations' in-phase signal in the overlapping slices.
    weight : ndarray (slices,)
        Weight of the lower station; slices where both count decide.

    Returns
    -------
    dict or None
        `log_gain`: median of log(lower / upper) over tissue; `residual`: median of its
        distance from that, lower is better. None without shared tissue.
    """
    shared = np.minimum(weight, 1 - weight)
    middle = shared >= min(0.05, shared.max())
    a, b = lower[middle], upper[middle]
    bright = np.minimum(a, b)
    positive = bright[bright > 0]
    if positive.size < 1000:
        return None
    tissue = bright > 0.25 * np.percentile(positive, 95)
    if tissue.sum() < 1000:
        return None
    ratio = np.log(a[tissue] / b[tissue])
    gain = float(np.median(ratio))
    return {"log_gain": gain, "residual": float(np.median(np.abs(ratio - gain)))}
