"""The two boxes of 96 x 96 x 192 voxels around the muscles: cut, normalised, put back.

The arithmetic is that of the published code (recoh/iliopsoas_muscle), to the voxel.
"""

from typing import NamedTuple

import numpy as np

from iliopsoas.grid import SIDES
from iliopsoas.status import Refused, Verdict

CROP_SHAPE = (96, 96, 192)
PERCENTILE = 99
ABOVE_ONE = {"published": np.float32(0.975), "paper": np.float32(1.0)}


class Box(NamedTuple):
    """First voxel (x, y, z) of a crop in the volume; any of them may be negative."""

    x: int
    y: int
    z: int


def _landmark(landmarks, key: str):
    value = landmarks.get(key, landmarks.get(int(key)))
    return None if value is None else tuple(value)


def _pair(landmarks, right: str, left: str, verdict: Verdict, what: str):
    """Both landmarks of a joint, right first."""
    found = [_landmark(landmarks, right), _landmark(landmarks, left)]
    missing = [key for key, value in zip((right, left), found, strict=True) if value is None]
    if missing:
        raise Refused(verdict, f"landmarks: no {what} ({', '.join(missing)}), a crop needs both")
    return found


def box(landmarks, side: str, shape) -> Box:
    """Where a side's crop begins (recoh/iliopsoas_muscle).

    Parameters
    ----------
    landmarks : dict
        "1", "2" shoulders and "11", "12" hips (right, left) -> voxel indices (x, y, z).
    side : {"left", "right"}
    shape : tuple of int
        Shape of the volume; its y extent centres the crop from back to front.

    Raises
    ------
    Refused
        ``hips_not_found`` or ``shoulders_not_found``.
    """
    if side not in SIDES:
        raise ValueError(f"side: expected one of {sorted(SIDES)}, found {side!r}")
    hips = _pair(landmarks, "11", "12", Verdict.HIPS_NOT_FOUND, "femoral heads")
    shoulders = _pair(landmarks, "1", "2", Verdict.SHOULDERS_NOT_FOUND, "shoulders")
    centre = int((hips[0][0] + hips[1][0]) / 2)
    hip_z = int((hips[0][2] + hips[1][2]) / 2)
    shoulder_z = int((shoulders[0][2] + shoulders[1][2]) / 2)
    return Box(
        centre if side == "left" else centre - CROP_SHAPE[0],
        (shape[1] - CROP_SHAPE[1]) // 2,
        hip_z - ((shoulder_z + hip_z) // 2) // 4,
    )


def _overlap(start: int, size: int, extent: int) -> tuple[slice, slice]:
    """Slices of the volume and of the crop that show the same voxels along one axis."""
    low, high = max(start, 0), min(start + size, extent)
    high = max(low, high)  # no overlap: two empty slices
    return slice(low, high), slice(low - start, high - start)


def _slices(corner: Box, shape):
    pairs = [
        _overlap(start, size, extent)
        for start, size, extent in zip(corner, CROP_SHAPE, shape, strict=True)
    ]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


def cut(volume, landmarks, side: str) -> np.ndarray:
    """The crop as the volume holds it: not normalised, type kept, zeros outside the volume.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
        Voxel order LAS.
    landmarks, side
        As in `box`.

    Returns
    -------
    ndarray, shape (96, 96, 192)
    """
    volume = np.asanyarray(volume)
    if volume.ndim != 3:
        raise ValueError(f"volume: expected three axes, found shape {volume.shape}")
    inside, target = _slices(box(landmarks, side, volume.shape), volume.shape)
    raw = np.zeros(CROP_SHAPE, volume.dtype)
    raw[target] = volume[inside]
    return raw


def normaliser(raw) -> float:
    """99th percentile of a padded crop (NumPy's linear interpolation).

    Raises
    ------
    Refused
        ``crop_empty`` where it is not a number above 0.
    """
    value = float(np.percentile(raw, PERCENTILE))
    if not (value > 0 and np.isfinite(value)):
        raise Refused(
            Verdict.CROP_EMPTY,
            f"crop: its 99th percentile is {value:g}, expected a number above 0: "
            "the box shows no tissue",
        )
    return value


def normalise(raw, divisor: float, normalisation: str = "published") -> np.ndarray:
    """Divide a crop by its 99th percentile and cap it.

    Parameters
    ----------
    raw : ndarray
    divisor : float
        From `normaliser`.
    normalisation : {"published", "paper"}
        Values above 1 become 0.975 (published code) or 1 (paper).

    Returns
    -------
    ndarray of float32
    """
    if normalisation not in ABOVE_ONE:
        raise ValueError(
            f"normalisation: expected one of {sorted(ABOVE_ONE)}, found {normalisation!r}"
        )
    scaled = np.divide(raw, divisor, dtype=np.float64)
    above = scaled > 1
    scaled = scaled.astype(np.float32)
    scaled[above] = ABOVE_ONE[normalisation]
    return scaled


def crop(volume, landmarks, side: str, normalisation: str = "published") -> np.ndarray:
    """One muscle's normalised crop, as the published network expects it.

    The right crop is not mirrored: the network knows both sides.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
        Water volume in voxel order LAS.
    landmarks : dict
        "1", "2" shoulders and "11", "12" hips (right, left) -> voxel indices (x, y, z).
    side : {"left", "right"}
    normalisation : {"published", "paper"}

    Returns
    -------
    ndarray of float32, shape (96, 96, 192)

    Raises
    ------
    Refused
        ``crop_empty``, ``hips_not_found`` or ``shoulders_not_found``.
    """
    raw = cut(volume, landmarks, side)
    return normalise(raw, normaliser(raw), normalisation)


def place(prediction, landmarks, side: str, shape) -> np.ndarray:
    """Put a predicted crop back: the inverse of `cut` inside the volume, zeros elsewhere.

    Parameters
    ----------
    prediction : ndarray, shape (96, 96, 192)
        What the network gave for one side; further axes of length 1 are dropped.
    landmarks, side
        As given to `crop`.
    shape : tuple of int
        Shape of the volume the crop came from.

    Returns
    -------
    ndarray, `shape`, the prediction's type
    """
    prediction = np.asanyarray(prediction)
    if prediction.shape != CROP_SHAPE:
        prediction = prediction.squeeze()
    if prediction.shape != CROP_SHAPE:
        raise ValueError(f"prediction: expected shape {CROP_SHAPE}, found {prediction.shape}")
    inside, target = _slices(box(landmarks, side, shape), shape)
    placed = np.zeros(shape, prediction.dtype)
    placed[inside] = prediction[target]
    return placed


def coarsen(crop, factor: int) -> np.ndarray:
    """Mean of blocks of factor^3 voxels.

    Parameters
    ----------
    crop : ndarray, shape (x, y, z)
        Every extent a multiple of `factor`.
    factor : int
        1 changes nothing.

    Returns
    -------
    ndarray of float32, shape (x / factor, y / factor, z / factor)
    """
    crop = np.asanyarray(crop)
    if factor == 1:
        return crop
    if factor < 1 or any(extent % factor for extent in crop.shape):
        raise ValueError(f"coarsen: {crop.shape} cannot be divided into blocks of {factor}")
    split = [part for extent in crop.shape for part in (extent // factor, factor)]
    return crop.reshape(split).mean(axis=(1, 3, 5), dtype=np.float32)


def _linear_weights(extent: int, factor: int) -> np.ndarray:
    """Matrix (extent * factor, extent) of linear interpolation between voxel centres."""
    position = np.clip((np.arange(extent * factor) + 0.5) / factor - 0.5, 0, extent - 1)
    lower = np.minimum(position.astype(int), max(extent - 2, 0))
    weights = np.zeros((extent * factor, extent), np.float32)
    rows = np.arange(extent * factor)
    weights[rows, lower] = 1 - (position - lower)
    if extent > 1:
        weights[rows, lower + 1] = position - lower
    return weights


def refine(probabilities, factor: int, projections: int = 0) -> np.ndarray:
    """Linear interpolation of a coarse network output back to the crop's voxels.

    Voxel centres stay where they are: a block's value sits at the block's centre;
    beyond the outermost centres the nearest value holds.

    Parameters
    ----------
    probabilities : ndarray, shape (x, y, z)
    factor : int
        As given to `coarsen`; 1 changes nothing.
    projections : int
        How often what the blocks' means then differ by is interpolated and added (back
        projection, Irani and Peleg 1991).

    Returns
    -------
    ndarray of float32, shape (x * factor, y * factor, z * factor)
    """
    coarse = np.asanyarray(probabilities)
    if factor == 1:
        return coarse
    if factor < 1:
        raise ValueError(f"refine: expected a factor of at least 1, found {factor}")
    coarse = coarse.astype(np.float32, copy=False)
    weights = [_linear_weights(extent, factor) for extent in coarse.shape]
    # all of it is linear, so the differences are summed before anything is interpolated
    means = [matrix.reshape(-1, factor, matrix.shape[1]).mean(axis=1) for matrix in weights]
    blocks = coarse
    for _ in range(projections):
        blocks = blocks + (coarse - _along_axes(means, blocks))
    return _along_axes(weights, blocks)


def _along_axes(matrices, array) -> np.ndarray:
    """Multiply the three axes of an array with a matrix each; the last first, it lies in a row."""
    array = matrices[1] @ (array @ matrices[2].T)
    return (matrices[0] @ array.reshape(len(array), -1)).reshape(-1, *array.shape[1:])
