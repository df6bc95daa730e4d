"""Whether a body lies in its image as the affine says: front and back, head and feet."""

import numpy as np

from iliopsoas import grid
from iliopsoas.status import Refused, Verdict

IN_GRID = 0.98  # least share of the body that lies within the stitched grid

# Of the body's slices, from the feet up. Legs leave the midline empty, chest and neck fill it:
# in 30 public bodies the upper third is 2.1 to 400 times as deep there as the lower, and never
# less than half of that where a body is turned round.
_LOWER, _UPPER = (0, 1 / 3), (2 / 3, 1)
_TURNED_Z = 1.5
# Beside the trunk lie arms and flanks, on the table: behind its middle, by 8 to 25 voxels in 29
# of these bodies and 1 in the last.
_TRUNK = (0.4, 0.7)
_TURNED_Y_MM = 4.5
_WHOLE_MM = 900.0  # what is shorter may begin or end anywhere


def require_upright(body, what: str = "image") -> None:
    """Refuse a body that lies outside the stitched grid, or whose axes are exchanged.

    An image that shows too little of a body to tell is let pass.

    Parameters
    ----------
    body : nibabel image, shape (x, y, z)
        Body mask, voxel order LAS.
    what : str
        What messages call the image.

    Raises
    ------
    Refused
        ``image_other_space`` or ``image_turned``.
    """
    mask = np.asanyarray(grid.require_las(body, what).dataobj) > 0
    if not mask.any():
        return
    _require_in_grid(mask, np.asarray(body.affine, float), what)
    found = []
    if _turned_upside_down(mask):
        found.append("head and feet")
        mask = mask[:, :, ::-1]
    if _is_whole(mask, body.affine) and _turned_back_to_front(mask, abs(body.affine[1, 1])):
        found.append("front and back")
    if found:
        raise Refused(
            Verdict.IMAGE_TURNED,
            f"{what}: {', and '.join(found)} are exchanged; by the affine the body lies on its "
            "back with its head up, so either the affine or the order of the voxels is wrong",
        )


def _require_in_grid(mask, affine, what) -> None:
    places = np.argwhere(mask)
    start = affine[:3, 3]
    signed = np.diag(affine)[:3]
    millimetres = places * signed + start - grid.ORIGIN_RAS_MM
    index = (millimetres) / ([-1, 1, 1] * np.array(grid.SPACING_MM))
    inside = ((index > -0.6) & (index < np.array(grid.SHAPE) - 0.4)).all(axis=1).mean()
    if inside < IN_GRID:
        origin, expected = (
            ", ".join(f"{value:.1f}" for value in place) for place in (start, grid.ORIGIN_RAS_MM)
        )
        raise Refused(
            Verdict.IMAGE_OTHER_SPACE,
            f"{what}: {1 - inside:.0%} of the body lie outside the stitched grid; its first voxel "
            f"is at ({origin}) mm (RAS), that of a stitched UK Biobank volume at ({expected}) mm",
        )


def _part(mask, share: tuple[float, float]) -> np.ndarray:
    """The slices between two shares of the body's length, from the feet."""
    z = np.flatnonzero(mask.any(axis=(0, 1)))
    start, stop = (z[0] + round(edge * (z[-1] + 1 - z[0])) for edge in share)
    return mask[:, :, start:stop]


def _is_whole(mask, affine) -> bool:
    z = np.flatnonzero(mask.any(axis=(0, 1)))
    return float((z[-1] + 1 - z[0]) * abs(affine[2, 2])) >= _WHOLE_MM


def _midline_depth(part) -> float:
    x = np.flatnonzero(part.any(axis=(1, 2)))
    weight = part.sum(axis=(1, 2), dtype=float)[x]
    middle = round(float(np.average(x, weights=weight)))
    return float(part[max(middle - 6, 0) : middle + 7].mean(axis=0).sum(axis=0).mean())


def _turned_upside_down(mask) -> bool:
    lower, upper = _part(mask, _LOWER), _part(mask, _UPPER)
    if min(lower.shape[2], upper.shape[2]) < 30 or not (lower.any() and upper.any()):
        return False
    return _midline_depth(lower) > _TURNED_Z * _midline_depth(upper)


def _turned_back_to_front(mask, y_mm: float) -> bool:
    part = _part(mask, _TRUNK)
    thickness = part.sum(axis=1, dtype=float)
    y = np.arange(mask.shape[1])
    centre = np.einsum("xyz,y->xz", part.astype(np.float32), y) / np.maximum(thickness, 1)
    ahead = []
    for z in range(part.shape[2]):
        x = np.flatnonzero(thickness[:, z] > 2)
        if len(x) < 40:
            continue
        off = np.abs(x - (x[0] + x[-1]) / 2) / ((x[-1] - x[0]) / 2)
        beside, middle = x[off > 0.8], x[off < 0.35]
        if len(beside) and len(middle):
            ahead.append(
                np.average(centre[beside, z], weights=thickness[beside, z])
                - np.average(centre[middle, z], weights=thickness[middle, z])
            )
    if len(ahead) < 30:
        return False
    return float(np.median(ahead)) * y_mm > _TURNED_Y_MM
