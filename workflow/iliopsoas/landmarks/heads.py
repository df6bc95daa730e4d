"""Centres of the femoral heads in the fat and water images.

A femoral head is a ball of fatty marrow within a rim of cortex, cartilage and joint
fluid: the fat content falls in every direction at the same distance from its centre.
Every voxel of a window about the coarse position is scored by how evenly it does
(a radial symmetry transform: Loy & Zelinsky, IEEE TPAMI 2003, on a sphere), and the two
sides are chosen together, since the two heads of one body are alike.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter, maximum_filter

from iliopsoas import grid

RADII_MM = np.arange(15.0, 27.1, 1.5)  # of the marrow; adult heads with cortex: 18 to 28
WINDOW_MM = np.array([30.0, 30.0, 39.0])  # coarse errors reach 14, 14 and 27 mm
_STEEP = 0.04  # fall of fat content per mm that counts as a full edge
_EDGE_MM = 1.3  # how sharp the sphere's shell is
# Evenness given up per squared deviation: from the coarse position in units of its own
# errors on left-out bodies, and of the two sides from each other.
_PRIOR_MM = np.array([8.0, 8.0, 12.0])
_PRIOR_COST = 0.02
_ALIKE_MM = np.array([20.0, 10.0, 10.0])
_ALIKE_COST = 0.05
_CANDIDATES = 10


@dataclass(frozen=True)
class Candidate:
    """A possible head: index (x, y, z), radius in mm, evenness 0 to 1.

    `offset` (mm) is from the coarse position, `prior` what it costs.
    """

    index: tuple[int, int, int]
    radius: float
    score: float
    offset: np.ndarray
    prior: float


@dataclass(frozen=True)
class Heads:
    """Both heads (voxels), and a confidence from 0 to 1.

    The confidence is the evenness of the less certain head, less what it costs to lie far
    from the coarse position and to be unlike the other one.
    """

    right: tuple[float, float, float]
    left: tuple[float, float, float]
    confidence: float


def refine(water, fat, right, left) -> Heads | None:
    """Find both femoral heads near coarse positions.

    Parameters
    ----------
    water, fat : ndarray, shape (x, y, z)
        Stitched volumes, voxel order LAS.
    right, left : tuple of float
        Coarse positions (voxels).

    Returns
    -------
    Heads or None
        None where the images show no ball of fat at all near a coarse position. Whether
        the confidence is enough is for the caller to say.
    """
    sides = [_candidates(water, fat, np.asarray(start)) for start in (right, left)]
    best, confidence = None, -np.inf
    for a, b in product(*sides):
        apart = (a.offset - b.offset) / _ALIKE_MM
        size = (a.radius - b.radius) / 3.0
        unlike = _ALIKE_COST * (apart @ apart + size * size)
        worse = min(a.score - a.prior, b.score - b.prior)
        # the sum decides, so that one clear head helps to find the other
        value = a.score - a.prior + b.score - b.prior - unlike
        if best is None or value > best[0]:
            best, confidence = (value, a, b), worse - unlike
    if best is None:
        return None
    _, a, b = best
    return Heads(
        tuple(map(float, a.index)), tuple(map(float, b.index)), float(max(confidence, 0.0))
    )


def _candidates(water, fat, start) -> list[Candidate]:
    """The most even balls in the window about a position, best first."""
    spacing = np.array(grid.SPACING_MM)
    half = np.ceil(WINDOW_MM / spacing).astype(int)
    margin = np.ceil((RADII_MM[-1] + 6) / spacing).astype(int)
    centre = np.round(start).astype(int)
    content = _fat_content(water, fat, centre - half - margin, centre + half + margin + 1)
    if content is None:
        return []
    inner = tuple(slice(m, m + 2 * h + 1) for m, h in zip(margin, half, strict=True))
    score, radius = _evenness(content, spacing, inner)
    offset = (np.indices(score.shape).T - half).T * spacing[:, None, None, None]
    prior = _PRIOR_COST * ((offset / _PRIOR_MM[:, None, None, None]) ** 2).sum(axis=0)
    ranked = np.where(score > 0, score - prior, -np.inf)
    peaks = np.isfinite(ranked) & (ranked == maximum_filter(ranked, 5))
    order = np.argsort(ranked[peaks])[::-1][:_CANDIDATES]
    places = np.argwhere(peaks)[order]
    return [
        Candidate(
            tuple(int(v) for v in centre - half + place),
            float(radius[tuple(place)]),
            float(score[tuple(place)]),
            offset[(slice(None), *place)],
            float(prior[tuple(place)]),
        )
        for place in places
    ]


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


def _evenness(content, spacing, inner) -> tuple[np.ndarray, np.ndarray]:
    """Best mean inward edge over spheres about each voxel of the inner box, and its radius.

    Returns
    -------
    score : ndarray
        1: within a uniform ball of fat, fat content falls steeply in every direction;
        0 or less: no ball, or one of water.
    radius : ndarray
        Radius in mm that scored best.
    """
    smooth = gaussian_filter(content, 2.0 / spacing)
    gradient = np.stack(np.gradient(smooth, *spacing))
    steepness = np.sqrt((gradient**2).sum(axis=0))
    gradient /= np.maximum(steepness, _STEEP)  # edges steeper than that all count one
    shape = [fft.next_fast_len(n, real=True) for n in content.shape]
    edges = [fft.rfftn(part, shape) for part in gradient]
    value, square = fft.rfftn(content, shape), fft.rfftn(content**2, shape)
    position, distance = _positions(spacing, shape)
    best = np.full([part.stop - part.start for part in inner], -np.inf)
    best_radius = np.zeros(best.shape)
    for radius in RADII_MM:
        ball = np.conj(fft.rfftn(_weights(distance < 0.8 * radius)))
        mean = fft.irfftn(value * ball, shape)[inner]
        spread = np.sqrt(np.maximum(fft.irfftn(square * ball, shape)[inner] - mean**2, 0))
        # correlation with inward unit vectors on the sphere
        shell = _weights(np.exp(-(((distance - radius) / _EDGE_MM) ** 2) / 2))
        even = sum(
            edge * np.conj(fft.rfftn(-axis * shell))
            for edge, axis in zip(edges, position, strict=True)
        )
        score = fft.irfftn(even, shape)[inner] - spread
        # a head's middle is fat: refuses balls of water, and heads with fat and water swapped
        score[mean < 0.25] = 0
        better = score > best
        best[better] = score[better]
        best_radius[better] = radius
    return best, best_radius


def _positions(spacing, shape) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors from voxel 0 (wrapped) and distances from it in mm."""
    axes = [fft.fftfreq(n, 1 / n) * s for n, s in zip(shape, spacing, strict=True)]
    position = np.stack(np.meshgrid(*axes, indexing="ij"))
    distance = np.sqrt((position**2).sum(axis=0))
    return position / np.maximum(distance, 1e-6), distance


def _weights(kernel) -> np.ndarray:
    return kernel / kernel.sum()
