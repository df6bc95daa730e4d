"""The ends of a slab: the outermost slices of a 3-D acquisition are dim.

The excitation profile takes the outermost 2 to 4 slices of every station down
(ukb_format.md, section 2), over a shorter way than N4's splines can follow. Left alone
they make a dark or, where N4 overshoots, a bright band at each seam.
"""

import numpy as np
from scipy import ndimage

END_SLICES = 4
TREND_SLICES = 8  # inner slices that tell shading from the slab's end
LARGEST_LOSS = np.log(5.0)


def end_profile(in_phase: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Gain of every slice, 1 but for the outermost `END_SLICES` at each end.

    Parameters
    ----------
    in_phase : ndarray (x, y, z)
    mask : ndarray of bool (x, y, z)

    Returns
    -------
    ndarray float32 (z,)
        At most 1: what a slice has lost.

    Notes
    -----
    Anatomy hardly changes from one slice to the next, so the median ratio of neighbouring
    slices over all tissue is the change of gain. Summed from the inside outwards, less the
    slow trend of the inner slices (shading, which is N4's to correct), it is the profile.
    """
    depth = in_phase.shape[2]
    gain = np.zeros(depth)
    inner = END_SLICES + TREND_SLICES
    if depth < 2 * inner:
        return np.ones(depth, np.float32)
    for direction in (1, -1):
        steps = slice_steps(*(a[..., ::direction][..., : inner + 1] for a in (in_phase, mask)))
        if steps is None:
            continue
        trend = float(np.median(steps[END_SLICES:]))
        # from the first inner slice outwards
        loss = -np.cumsum((steps[:END_SLICES] - trend)[::-1])[::-1]
        # a profile only falls towards the end
        loss = np.minimum.accumulate(np.minimum(loss, 0)[::-1])[::-1]
        gain[::direction][:END_SLICES] = np.maximum(loss, -LARGEST_LOSS)
    return np.exp(gain).astype(np.float32)


def slice_steps(values: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """Median over tissue of log(slice k + 1 / slice k), shape (slices - 1,); None: no tissue."""
    smooth = ndimage.uniform_filter(np.where(inside, values, 0).T, (0, 3, 3))
    both = (inside[..., :-1] & inside[..., 1:]).T  # transposed, both run through the slices
    steps = []
    for a, b, c in zip(smooth, smooth[1:], both, strict=False):
        if c.sum() < 400:
            return None
        tissue = c & (a > 0.4 * np.median(a[c])) & (b > 0.4 * np.median(b[c]))
        if tissue.sum() < 200:
            return None
        steps.append(np.median(np.log(b[tissue] / a[tissue])))
    return np.array(steps)
