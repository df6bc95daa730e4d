"""Image quality numbers: noise, seams between stations, the field of view's edge."""

import numpy as np

from iliopsoas.dixon.body import masked_air, noise_level
from iliopsoas.dixon.voxels import select

QUIET_SHARE = 25  # percentile of patches: those without an edge in them
PATCH = 8  # voxels
EDGE_COLUMNS = 4  # the field of view's outermost columns, dim or distorted


def signal_to_noise(in_phase: np.ndarray, mask: np.ndarray) -> tuple[float | None, str | None]:
    """Median foreground signal over the noise; higher is better. And where the noise was read.

    Returns
    -------
    ratio : float or None
        None where nothing is foreground.
    source : "air", "tissue" or None
        "tissue" where the scanner set the air to 0: differences of neighbours inside tissue.
    """
    if not mask.any():
        return None, None
    source = "tissue" if masked_air(in_phase) else "air"
    noise = noise_level(in_phase) if source == "air" else tissue_noise(in_phase, mask)
    if not noise:
        return None, None
    return float(np.median(select(in_phase, mask)) / noise), source


def tissue_noise(in_phase: np.ndarray, mask: np.ndarray) -> float | None:
    """Standard deviation of the noise from second differences along x inside tissue.

    Patch by patch, of which the quiet ones count: an upper bound of the noise, since no
    tissue is quite even. None where there is too little tissue.
    """
    some = np.s_[..., 1:-1:3]
    values, inside = in_phase[some].astype(np.float32), mask[some]
    bend = values[1:-1] - (values[:-2] + values[2:]) / 2
    whole = inside[1:-1] & inside[:-2] & inside[2:]
    nx, ny = (n - n % PATCH for n in bend.shape[:2])
    shape = (PATCH, nx // PATCH, PATCH, ny // PATCH, bend.shape[2])
    full = whole[:nx, :ny].reshape(shape, order="F").all(axis=(0, 2))
    if full.sum() < 50:
        return None
    power = (bend[:nx, :ny] ** 2).reshape(shape, order="F").mean(axis=(0, 2))[full]
    return float(np.sqrt(np.percentile(power, QUIET_SHARE) / 1.5))


def outline_cut(mask: np.ndarray) -> dict:
    """How much of the body's outline the field of view cuts off, per side.

    Parameters
    ----------
    mask : ndarray of bool (x, y, z)
        Tissue of a station on rows that it covers.

    Returns
    -------
    dict
        "left", "right", "front", "back" -> percent of the outline (2-D, all slices) that lies
        on that side's edge of the field of view.
    """
    if not mask.any():
        return {}
    outline = sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in (0, 1))
    cut = {
        "right": int(mask[:EDGE_COLUMNS].any(axis=0).sum()),
        "left": int(mask[-EDGE_COLUMNS:].any(axis=0).sum()),
        "back": int(mask[:, :2].any(axis=1).sum()),
        "front": int(mask[:, -2:].any(axis=1).sum()),
    }
    total = outline + sum(cut.values())
    return {side: 100.0 * count / total for side, count in cut.items()}


def seam_difference(lower: np.ndarray, upper: np.ndarray, weight: np.ndarray) -> dict | None:
    """How two stations differ where they overlap.

    Parameters
    ----------
    lower, upper : ndarray (x, y, slices)
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
    a, b = lower.T[middle].T, upper.T[middle].T
    bright = np.minimum(a, b)
    positive = select(bright, bright > 0)
    if positive.size < 1000:
        return None
    tissue = bright > 0.25 * np.percentile(positive, 95)
    if tissue.sum() < 1000:
        return None
    ratio = np.log(select(a, tissue) / select(b, tissue))
    gain = float(np.median(ratio))
    return {"log_gain": gain, "residual": float(np.median(np.abs(ratio - gain)))}


def seam_agreement(lower, upper, weight: np.ndarray) -> float | None:
    """Whether two stations show the same body where they overlap; 1 at best.

    Parameters
    ----------
    lower, upper : (ndarray, ndarray)
        Water and fat (x, y, slices) of each station in the overlapping slices.
    weight : ndarray (slices,)
        Weight of the lower station; slices where both count decide.

    Returns
    -------
    float or None
        Correlation of the water share W / (W + F) over tissue that both show. It needs no common
        gain, and fat and muscle tell one place in a body from another, which the sum of both
        hardly does. None without shared tissue.
    """
    shared = np.minimum(weight, 1 - weight)
    middle = shared >= min(0.05, shared.max())
    lower, upper = ([part.T[middle].T for part in both] for both in (lower, upper))
    totals = [water + fat for water, fat in (lower, upper)]
    tissue = np.ones(totals[0].shape, bool)
    for total in totals:
        positive = select(total, total > 0)
        if positive.size < 1000:
            return None
        tissue &= total > 0.25 * np.percentile(positive, 95)
    if tissue.sum() < 1000:
        return None
    shares = [
        select(water, tissue) / select(total, tissue)
        for (water, _), total in zip((lower, upper), totals, strict=True)
    ]
    if min(share.std() for share in shares) == 0:
        return None
    return float(np.corrcoef(*shares)[0, 1])
