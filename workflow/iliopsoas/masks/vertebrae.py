"""Where the lumbar vertebrae lie, from a label image of another tool."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine

from iliopsoas.masks import profile
from iliopsoas.masks.label_images import load
from iliopsoas.masks.other_tools import translated
from iliopsoas.status import Refused, Verdict

APART_MM = (15.0, 70.0)  # middles of neighbouring lumbar vertebrae; 38 mm in the mean adult
ABOVE_HIPS_MM = (20.0, 400.0)


def heights(landmarks: dict, affine, mask: dict | None = None) -> dict:
    """Where the lumbar levels lie, by a vertebra mask where one is given and can be used.

    Parameters
    ----------
    landmarks, affine
        As for `profile.heights`.
    mask : dict, optional
        ``path`` and ``labels`` of `read`. One that cannot be used costs nobody the volume: the
        levels are the landmarks' then, and ``level_note`` says why.

    Returns
    -------
    dict
        As from `profile.heights`.
    """
    places = profile.heights(landmarks, affine)
    if mask and places["hip_mm"] is not None:
        try:
            spine = read(**mask, hip_mm=places["hip_mm"])
        except Refused as refused:
            places["level_note"] = f"{refused.verdict}: {refused.message}"
        else:
            places = profile.heights(landmarks, affine, spine)
    return places


def read(path, labels: dict[str, Sequence[int]], hip_mm: float) -> dict[str, float]:
    """Height of the lumbar vertebrae in a label image.

    Parameters
    ----------
    path : path
        NIfTI, NRRD or MetaImage on any grid of the stitched images' space.
    labels : dict
        "L3", "L4", "L5" -> its label values; other values are ignored.
    hip_mm : float
        RAS z of the hip axis, of which the vertebrae must lie above.

    Returns
    -------
    dict
        RAS z in mm of the vertebral bodies' middles; a vertebra without a voxel is absent.

    Raises
    ------
    Refused
        ``mask_missing``, ``mask_unreadable``, ``mask_empty`` (none of the vertebrae),
        ``mask_other_space`` (not where lumbar vertebrae can be: another space, exchanged labels).
    """
    path = Path(path)
    if not path.is_file():
        raise Refused(Verdict.MASK_MISSING, "vertebra mask: no file where one is expected")
    try:
        layers = load(path, "vertebra mask")
    except Refused as refused:
        raise translated(refused) from None
    found = {}
    for layer in layers:
        found |= middles(layer.labels, layer.affine, labels)
    if not found:
        raise Refused(Verdict.MASK_EMPTY, f"vertebra mask: no voxel has a label of {dict(labels)}")
    _check(found, hip_mm)
    return found


def middles(mask, affine, labels: dict[str, Sequence[int]]) -> dict[str, float]:
    """RAS z of the middle of each vertebral body.

    Parameters
    ----------
    mask : ndarray of int (i, j, k)
    affine : ndarray (4, 4)
        Voxel indices to RAS millimetres.

    Notes
    -----
    Of the extent of what lies in front of the vertebra's centroid: the body alone. Its processes
    hang lower.
    """
    found = {}
    for name, numbers in labels.items():
        voxels = np.argwhere(np.isin(mask, list(numbers)))
        if len(voxels):
            place = apply_affine(affine, voxels)
            z = place[place[:, 1] >= place[:, 1].mean(), 2]
            found[name] = float(z.min() + z.max()) / 2
    return found


def _check(found, hip_mm):
    heights = [found[name] - hip_mm for name in sorted(found, reverse=True)]  # L5 first
    numbers = [int(name[1]) for name in sorted(found, reverse=True)]
    steps = np.diff(heights) / -np.diff(numbers)
    low, high = ABOVE_HIPS_MM
    if not all(low < height < high for height in heights) or not all(
        APART_MM[0] < step < APART_MM[1] for step in steps
    ):
        places = ", ".join(f"{name} {z - hip_mm:.0f} mm" for name, z in sorted(found.items()))
        raise Refused(
            Verdict.MASK_OTHER_SPACE,
            f"vertebra mask: above the hips lie {places}; expected L5 to L3 upwards, {low:.0f} to "
            f"{high:.0f} mm above them and {APART_MM[0]:.0f} to {APART_MM[1]:.0f} mm apart",
        )
