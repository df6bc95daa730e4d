"""Masks made wrong on purpose, as another network might draw them.

Each function takes a true mask (96, 96, 192), the crop and a random generator.
"""

import numpy as np
from scipy import ndimage


def near(mask, crop, rng):
    """A border that is off by up to two voxels or three, outward here and inward there."""
    soft = ndimage.gaussian_filter(mask.astype(np.float32), 2.0)  # falls by 0.2 a voxel
    coarse = rng.standard_normal([n // 12 + 1 for n in mask.shape]).astype(np.float32)
    factors = [n / m for n, m in zip(mask.shape, coarse.shape, strict=True)]
    off = ndimage.zoom(coarse, factors, order=1) * rng.uniform(0.02, 0.25) + rng.normal(0, 0.12)
    return soft + off * (soft > 0.02) > 0.5


def cut(mask, crop, rng):
    """Upper or lower end lost: a tenth to two thirds of the levels."""
    levels = np.flatnonzero(mask.any((0, 1)))
    result = near(mask, crop, rng)
    if len(levels):
        lost = round(len(levels) * rng.uniform(0.1, 0.67))
        end = levels[:lost] if rng.random() < 0.5 else levels[-lost:]
        result[:, :, end] = False
        result[:, :, : levels[0]] = result[:, :, levels[-1] + 1 :] = False
    return result


def moved(mask, crop, rng):
    """In the wrong place: 2 to 25 voxels along one axis."""
    far = int(rng.integers(2, 26)) * (1 if rng.random() < 0.5 else -1)
    offset = [0, 0, 0]
    offset[int(rng.integers(3))] = far
    return ndimage.shift(near(mask, crop, rng).astype(np.uint8), offset, order=0) > 0


def leaked(mask, crop, rng):
    """Grown into what lies beside it and has the same signal."""
    signal = crop[mask]
    if not signal.size:
        return near(mask, crop, rng)
    low, high = np.percentile(signal, (5, 95))
    around = (crop >= low) & (crop <= high) | mask
    grown = ndimage.binary_dilation(
        mask, iterations=int(rng.integers(3, 16)), mask=ndimage.binary_opening(around)
    )
    levels = np.flatnonzero(mask.any((0, 1)))
    here = np.zeros(mask.shape, bool)  # not along the whole muscle
    start = int(rng.choice(levels))
    here[:, :, start : start + int(rng.integers(10, 80))] = True
    return near(mask, crop, rng) | (grown & here)


def part(mask, crop, rng):
    """One side of a plane through the muscle is missing, as the iliacus may be."""
    found = np.argwhere(mask)
    if not len(found):
        return mask.copy()
    normal = rng.normal(0, (1, 1, 0.2))
    along = found @ normal
    limit = np.quantile(along, rng.uniform(0.3, 0.9))
    result = near(mask, crop, rng)
    place = np.argwhere(result)
    result[tuple(place[place @ normal > limit].T)] = False
    return result


WRONG = {function.__name__: function for function in (near, cut, moved, leaked, part)}
