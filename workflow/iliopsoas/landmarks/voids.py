"""The signal void that metal leaves at a hip.

An implant takes the place of the joint, so that its void reaches where the joint is, in whatever
height that is: hips of different people lie up to 14 cm apart on the table. Gas in the bowel lies
above, cortical bone is thin.
"""

import numpy as np
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.landmarks.silhouette import without_notches

_VOID = 0.15  # of the usual signal about the joint
_RADIUS_MM = 7.0  # half as thick as a void at least: cortical bone, tendons and joints are thinner
# From the joint to the void. Joints that the images do not show are up to 3 cm off, the smallest
# void has a radius of 2 cm.
_REACH_MM = 20.0
_WINDOW_MM = np.array([75.0, 85.0, 110.0])  # about the joint: a stem reaches far down


def at_hip(water, fat, body, hip) -> tuple[float, tuple | None]:
    """Volume and place of the signal void at a hip.

    Parameters
    ----------
    water, fat : ndarray, shape (x, y, z)
        Stitched volumes, voxel order LAS.
    body : ndarray, shape (x, y, z)
        Body mask, voids filled; those that open to the skin are filled here.
    hip : tuple of float
        The joint (voxels).

    Returns
    -------
    ml : float
        0 where there is none. Only what is within 7 mm of its core counts, not the thin dark bone
        that it may be connected with.
    place : tuple of float or None
        Its middle (voxels).
    """
    spacing = np.array(grid.SPACING_MM)
    half = np.ceil(_WINDOW_MM / spacing).astype(int)
    low = np.maximum(np.round(hip).astype(int) - half, 0)
    window = tuple(slice(a, b) for a, b in zip(low, low + 2 * half + 1, strict=True))
    inside = body[window] > 0
    signal = water[window].astype(np.float32) + fat[window]
    if not inside.any():
        return 0.0, None
    away = np.sqrt(sum(
        ((axis + start - at) * mm) ** 2
        for axis, start, at, mm in zip(
            np.ogrid[tuple(slice(n) for n in inside.shape)], low, hip, spacing, strict=True
        )
    ))  # fmt: skip
    dark = signal < _VOID * np.median(signal[inside])
    if not (_core(dark) & (away <= _REACH_MM + _RADIUS_MM)).any():
        return 0.0, None  # nearly everybody
    dark &= without_notches(inside)
    core = _core(dark)
    if not core.any():
        return 0.0, None
    void = dark & (ndimage.distance_transform_edt(~core, sampling=spacing) <= _RADIUS_MM)
    labels, count = ndimage.label(void)
    near = np.unique(labels[void & (away <= _REACH_MM)])
    if not len(near):
        return 0.0, None
    largest = near[np.bincount(labels.ravel(), minlength=count + 1)[near].argmax()]
    places = np.nonzero(labels == largest)
    middle = tuple(float(axis.mean() + start) for axis, start in zip(places, low, strict=True))
    return len(places[0]) * grid.VOXEL_ML, middle


def _core(dark) -> np.ndarray:
    return ndimage.distance_transform_edt(dark, sampling=grid.SPACING_MM) > _RADIUS_MM
