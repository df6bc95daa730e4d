"""Whether a femoral head is where the body's shape puts it, and where exactly.

A femoral head is fatty marrow enclosed on all sides by cortex, cartilage, joint fluid or muscle.
Every voxel of a window about the coarse position is scored by the share of directions in which
the fat content gives way within the reach of an adult head. An implant leaves no such place.
Each side is judged for itself; where only one head is seen, its mirror image serves for the other.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from iliopsoas import grid

# Reach of marrow, cortex and joint: heads with cartilage have radii of 18 to 28 mm.
_CORE_MM = 10.0
_SHELL_MM = np.arange(15.0, 32.1, 3.0)
_FALL = 0.5  # of the fat content, from -1 (water) to 1 (fat), that counts as given way
_DIRECTIONS = 48
_WINDOW_MM = np.array([26.0, 26.0, 40.0])  # errors on left-out bodies reach 13, 14 and 27 mm
# Score given up per squared deviation from the coarse position, in units of its own errors.
_PRIOR_MM = np.array([8.0, 8.0, 12.0])
_PRIOR_COST = 0.02
_SMOOTH_MM = 1.5


class Head(NamedTuple):
    """Where a head may be: index (x, y, z), and how completely fat gives way around it, 0 to 1."""

    index: tuple[int, int, int]
    confidence: float


def detect(water, fat, near) -> Head | None:
    """The likeliest femoral head in a window about a coarse position.

    Parameters
    ----------
    water, fat : ndarray, shape (x, y, z)
        Stitched volumes, voxel order LAS.
    near : tuple of float
        Coarse position (voxels).

    Returns
    -------
    Head or None
        None where the images show nothing. Whether the confidence is enough is for the caller to
        say; it loses what the distance from the coarse position costs.
    """
    spacing = np.array(grid.SPACING_MM)
    half = np.ceil(_WINDOW_MM / spacing).astype(int)
    reach = np.ceil((_SHELL_MM[-1] + 2) / spacing).astype(int)
    centre = np.round(near).astype(int)
    content = _fat_content(water, fat, centre - half - reach, centre + half + reach + 1)
    if content is None:
        return None
    content = gaussian_filter(content, _SMOOTH_MM / spacing)
    size = 2 * half + 1

    def moved(offset_mm):  # the window, seen from a point off its voxels
        start = reach + np.round(offset_mm / spacing).astype(int)
        return content[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]

    directions = _directions(_DIRECTIONS)
    core = np.stack([moved(_CORE_MM * d) for d in directions[::4]] + [moved(np.zeros(3))])
    inside = core.mean(axis=0)
    enclosed = np.zeros(size)
    for direction in directions:
        least = np.minimum.reduce([moved(radius * direction) for radius in _SHELL_MM])
        enclosed += np.clip((inside - least) / _FALL, 0, 1)
    score = enclosed / len(directions) - core.std(axis=0)
    score[inside < 0] = 0  # a head's middle is fat: no ball of water, no exchanged channels
    offset = (np.indices(size).T - half).T * spacing[:, None, None, None]
    score -= _PRIOR_COST * ((offset / _PRIOR_MM[:, None, None, None]) ** 2).sum(axis=0)
    place = np.unravel_index(score.argmax(), score.shape)
    index = tuple(int(v) for v in centre - half + place)
    return Head(index, float(np.clip(score[place], 0, 1)))


def mirrored(head, right, left) -> tuple[float, float, float]:
    """The other side's position, given one head and both coarse positions (voxels)."""
    return (float(right[0] + left[0] - head[0]), float(head[1]), float(head[2]))


def _directions(count: int) -> np.ndarray:
    """Unit vectors spread evenly over the sphere (golden spiral), shape (count, 3)."""
    step = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * step / count), np.pi * (1 + np.sqrt(5)) * step
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)


def _fat_content(water, fat, low, high) -> np.ndarray | None:
    """(F - W) / (F + W + little) in a box, from -1 to 1, 0 where there is no signal."""
    shape = np.array(np.shape(water))
    inside = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape, strict=True))
    if any(part.start >= part.stop for part in inside):
        return None
    w, f = (np.asarray(volume[inside], dtype=np.float32) for volume in (water, fat))
    total = w + f
    bright = np.percentile(total, 90)
    if not bright > 0:
        return None
    content = (f - w) / (total + 0.2 * bright)
    pad = [(part.start - a, b - part.stop) for part, a, b in zip(inside, low, high, strict=True)]
    return np.pad(content, pad)
