"""Crops made worse on purpose: what the quality model learns failures from.

Each function takes a normalised crop (96, 96, 192), its manual label and a random generator, and
returns both as the network would meet them after such a fault upstream.
"""

import numpy as np
from scipy import ndimage


def noise(crop, label, rng):
    """White noise of 8 to 40 % of the crop's 99th percentile, as at a poor coil."""
    noisy = crop + rng.normal(0, rng.uniform(0.08, 0.4), crop.shape)
    return np.clip(np.abs(noisy), 0, 1).astype(np.float32), label


def blur(crop, label, rng):
    """Motion as a Gaussian blur, in plane more than along the body."""
    sigma = rng.uniform(1.0, 4.0)
    return ndimage.gaussian_filter(crop, (sigma, sigma, sigma / 2)), label


def shifted(crop, label, rng):
    """A crop cut in the wrong place: 6 to 40 voxels along one axis; what leaves is lost."""
    axis = int(rng.integers(3))
    far = int(rng.integers(6, 41)) * (1 if rng.random() < 0.5 else -1)
    offset = [far if other == axis else 0 for other in range(3)]
    return tuple(
        ndimage.shift(array, offset, order=0, mode="constant", prefilter=False)
        for array in (crop, label)
    )


def swapped(crop, label, rng):
    """A station whose fat and water were exchanged and left in, on 30 to 90 levels.

    Without the fat image: what is bright becomes dark and the reverse, within the body.
    """
    low, high = _slab(crop.shape[2], rng)
    result = crop.copy()
    part = crop[:, :, low:high]
    inside = ndimage.binary_closing(part > 0.08, iterations=2)
    result[:, :, low:high] = np.where(inside, np.clip(1.0 - part, 0, 1), part)
    return result, label


def lost_station(crop, label, rng):
    """A slab of 30 to 90 levels without signal: the muscle is cut, its truth is not."""
    low, high = _slab(crop.shape[2], rng)
    result = crop.copy()
    result[:, :, low:high] = 0
    return result, label


def _slab(levels, rng):
    height = int(rng.integers(30, 91))
    low = int(rng.integers(-height // 2, levels - height // 2))
    return max(low, 0), min(low + height, levels)


DEGRADATIONS = {
    function.__name__: function for function in (noise, blur, shifted, swapped, lost_station)
}
