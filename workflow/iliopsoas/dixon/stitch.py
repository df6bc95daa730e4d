"""Resampling to the stitched grid, and blending of neighbouring stations.

Cubic B-splines as published (SimpleITK's sitkBSpline: order 3, mirrored ends). Every
station's axes are parallel to the grid's, so an interpolation is a small matrix per
axis: a station is resampled once, and an axis whose voxels already lie on the grid's is
only shifted, not smoothed.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.status import Refused, Verdict

ON_GRID_VOXELS = 0.02  # offsets from the grid below this are the same place
POSITION_TOLERANCE_MM = 1.5  # half a slice: within this, stations are where UK Biobank's are
LOST_MM = 6.0  # what may stick out at the top or bottom
# RAS mm: middles of the lowest and highest slice (ukb_format.md)
PUBLISHED_ENDS = {6: (-1041.0, -789.0), 3: (-462.75, -269.25), 1: (-123.0, 66.0)}


@dataclass(frozen=True)
class Target:
    """A grid of voxel order LAS. `shape`, `origin` (RAS mm) and `spacing` are (x, y, z)."""

    shape: tuple
    origin: tuple
    spacing: tuple = grid.SPACING_MM
    published: bool = True

    @property
    def affine(self) -> np.ndarray:
        return grid.las_affine(self.origin, self.spacing)

    @property
    def z(self) -> np.ndarray:
        """RAS z of every slice."""
        return self.origin[2] + self.spacing[2] * np.arange(self.shape[2])


def choose_target(stations) -> Target:
    """The published grid where the stations are where UK Biobank's are, else one like it.

    Parameters
    ----------
    stations : list of Slab
        Head to foot.

    Returns
    -------
    Target
        The published origin and shape where most of stations 6, 3 and 1 are within 1.5 mm of
        their published place, by the nearer of their two ends (one may lack its outermost
        slice), the in-plane origin too, and next to nothing sticks out. Otherwise the same
        spacing, 224 x 174 in plane, from the lowest slice of S6 to the highest of S1; where
        one of these is missing, from or to where it would be had the scan moved with the
        others.
    """
    by_number = {station.number: station for station in stations}
    moves = []
    for number, ends in PUBLISHED_ENDS.items():
        if number in by_number:
            station = by_number[number]
            moves.append(min(station.low - ends[0], station.high - ends[1], key=abs))
    moved = float(np.median(moves)) if moves else 0.0
    middle = by_number.get(3, stations[len(stations) // 2])
    in_plane = np.asarray(middle.origin[:2]) - _centred_origin(middle)
    origin = np.array(grid.ORIGIN_RAS_MM)
    published = True
    if np.abs(in_plane).max() > POSITION_TOLERANCE_MM:
        origin[:2] += in_plane
        published = False
    slices = grid.SHAPE[2]
    outside = [
        by_number[number].low - PUBLISHED_ENDS[6][0] if number == 6
        else PUBLISHED_ENDS[1][1] - by_number[number].high
        for number in (6, 1) if number in by_number
    ]  # fmt: skip
    if abs(moved) > POSITION_TOLERANCE_MM or min(outside, default=0.0) < -LOST_MM:
        published = False
        origin[2] = by_number[6].low if 6 in by_number else origin[2] + moved
        top = by_number[1].high if 1 in by_number else PUBLISHED_ENDS[1][1] + moved
        slices = round((top - origin[2]) / grid.SLICE_MM) + 1
    return Target((*grid.SHAPE[:2], slices), tuple(float(v) for v in origin), published=published)


def _centred_origin(station) -> np.ndarray:
    """Where a station's first voxel lies when its slab is centred as UK Biobank's are."""
    columns, rows = station.channels["W"].shape[:2]
    step_x, step_y = station.spacing[:2]
    width, depth = grid.SHAPE[0] * grid.IN_PLANE_MM, grid.SHAPE[1] * grid.IN_PLANE_MM
    # first voxel of the published grid, moved in by half of what the slab is smaller
    x = grid.ORIGIN_RAS_MM[0] - (width - columns * step_x + step_x - grid.IN_PLANE_MM) / 2
    y = grid.ORIGIN_RAS_MM[1] + (depth - rows * step_y + step_y - grid.IN_PLANE_MM) / 2
    return np.array([x, y])


# -- interpolation ---------------------------------------------------------------------


def spline_matrix(size: int, at: np.ndarray) -> np.ndarray:
    """Cubic B-spline interpolation of `size` samples at the places `at`, as a matrix.

    Parameters
    ----------
    size : int
        Samples at 0, 1, ..., size - 1; mirrored about both ends.
    at : ndarray (m,)
        Places in samples. Beyond half a sample outside the ends the result is 0, as
        ITK's resampling has it.

    Returns
    -------
    ndarray (m, size), float32
    """
    at = np.asarray(at, dtype=float)
    if size < 4:  # too short for a cubic: linear
        coefficients = np.eye(size)
        order = 1
    else:
        coefficients = ndimage.spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
        order = 3
    weights = np.zeros((len(at), size))
    first = np.floor(at).astype(int)
    for k in range(-1, 3) if order == 3 else (0, 1):
        node = first + k
        mirrored = _mirror(node, size)
        np.add.at(weights, (np.arange(len(at)), mirrored), _kernel(at - node, order))
    weights[(at < -0.5) | (at > size - 0.5)] = 0
    return (weights @ coefficients).astype(np.float32)


def _mirror(index: np.ndarray, size: int) -> np.ndarray:
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.where(index >= size, 2 * size - 2 - index, index)


def _kernel(distance: np.ndarray, order: int) -> np.ndarray:
    d = np.abs(distance)
    if order == 1:
        return np.clip(1 - d, 0, None)
    near = 2 / 3 - d**2 + d**3 / 2
    far = np.clip(2 - d, 0, None) ** 3 / 6
    return np.where(d < 1, near, far)


def resample_axis(array, axis: int, source: tuple, target: tuple) -> np.ndarray:
    """Resample one axis; outside the source the result is 0.

    Parameters
    ----------
    array : ndarray float32 (x, y, z)
    axis : int
    source : tuple
        (first sample, step) along increasing coordinates, mm.
    target : tuple
        (first sample, step, samples).
    """
    first, step = source
    start, pitch, count = target
    at = (start - first + pitch * np.arange(count)) / step
    size = array.shape[axis]
    nearest = np.rint(at)
    if np.abs(at - nearest).max() < ON_GRID_VOXELS:
        nearest = nearest.astype(int)
        inside = (nearest >= 0) & (nearest < size)
        if inside.all() and count == size:
            return array
        shape = list(array.shape)
        shape[axis] = count
        result = np.zeros(shape, np.float32, order="F")
        where = [slice(None)] * array.ndim
        where[-1 - axis] = np.flatnonzero(inside)
        result.T[tuple(where)] = np.take(array.T, nearest[inside], axis=-1 - axis)
        return result
    moved = np.tensordot(array.T, spline_matrix(size, at), axes=(array.ndim - 1 - axis, 1))
    return np.asfortranarray(np.moveaxis(moved.T, 0, axis))


def place_in_plane(array, source, target) -> np.ndarray:
    """An array (x, y, z) of a source's grid on a target's rows and columns; slices untouched."""
    for axis, sign in ((1, 1), (0, -1)):  # x runs against RAS
        array = resample_axis(
            array,
            axis,
            (sign * source.origin[axis], source.spacing[axis]),
            (sign * target.origin[axis], target.spacing[axis], target.shape[axis]),
        )
    return array


def covered_slices(station, target: Target) -> tuple[int, int]:
    """First and one past the last slice of the target that a station covers.

    The published code gives a station round(n x thickness / 3) slices from its lowest
    one on; with the station where it really lies that is every slice from half a slice
    below its lowest to as far above.
    """
    count = round(station.slices * station.spacing[2] / target.spacing[2])
    first = round((station.low - target.origin[2]) / target.spacing[2])
    return max(first, 0), min(first + count, target.shape[2])


# -- blending --------------------------------------------------------------------------


def blend_weights(overlap: int) -> np.ndarray:
    """Weights of the lower station over the overlapping slices, lowest first (published)."""
    return (1 / (1 + np.exp(np.linspace(-5, 5, overlap)))).astype(np.float32)


def station_weights(stations, target: Target) -> list[np.ndarray]:
    """Weight of every station in every slice of the target.

    Returns
    -------
    list of ndarray (nz,)
        In the order of `stations`; they add to 1 where any station is, 0 elsewhere.

    Raises
    ------
    Refused
        ``station_gap`` where two neighbours leave a slice between them uncovered.
    """
    ranges = [covered_slices(station, target) for station in stations]
    weights = []
    for first, last in ranges:
        weight = np.zeros(target.shape[2], np.float32)
        weight[first:last] = 1
        weights.append(weight)
    for upper in range(len(stations) - 1):
        lower = upper + 1
        bottom, top = ranges[upper][0], ranges[lower][1]
        overlap = top - bottom
        if overlap < 0:
            raise Refused(
                Verdict.STATION_GAP,
                f"stations {stations[lower].number} and {stations[upper].number}:"
                f" {-overlap} slices of {target.spacing[2]:g} mm between them are not covered",
            )
        if overlap:
            share = blend_weights(overlap)
            weights[lower][bottom:top] *= share
            weights[upper][bottom:top] *= 1 - share
    return weights


def stack(planes: list[np.ndarray], stations, weights, target: Target) -> np.ndarray:
    """Resample stations along z and blend them.

    Parameters
    ----------
    planes : list of ndarray (nx, ny, slices)
        Each station's channel on the target's rows and columns.
    stations : list of Slab
    weights : list of ndarray (nz,)
        From `station_weights`.

    Returns
    -------
    ndarray float32 (nx, ny, nz)
        Never negative.
    """
    result = np.zeros(target.shape, np.float32, order="F")
    for array, station, weight in zip(planes, stations, weights, strict=True):
        inside = np.flatnonzero(weight)
        first, last = inside[0], inside[-1] + 1
        slab = resample_slices(array, station, target, first, last)
        slab *= weight[first:last]
        result[..., first:last] += slab
    return result


def resample_slices(array, station, target: Target, first: int, last: int) -> np.ndarray:
    """Slices [first, last) of the target from one station; a new array, negatives cut to 0."""
    at = (target.z[first:last] - station.low) / station.spacing[2]
    # within half a slice outside the slab ITK mirrors; `covered_slices` may ask a little more
    nx, ny, nz = array.shape
    at = np.clip(at, -0.5, nz - 0.5)
    nearest = np.rint(at).astype(int)
    if np.abs(at - nearest).max() < ON_GRID_VOXELS:
        return array.T[np.clip(nearest, 0, nz - 1)].astype(np.float32).T
    slab = spline_matrix(nz, at) @ array.T.reshape(nz, -1)
    np.maximum(slab, 0, out=slab)
    return slab.reshape(-1, ny, nx).T
