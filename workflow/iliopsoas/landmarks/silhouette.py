"""Shape features of a body mask along the body's axis: what the coarse landmarks rest on.

All numbers are voxels of the stitched grid (x to the patient's left, y to anterior,
z to the head; 2.23 x 2.23 x 3 mm).
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from iliopsoas import grid
from iliopsoas.dixon.body import fill_slices

# ASSUME: the table stands still between participants (station positions hardly move), so
# that these ranges of slices show trunk, thorax and neck of every adult.
_TRUNK = slice(110, 200)
_THORAX = slice(280, 330)
_UPPER_ARM = slice(295, 330)
_NECK = (350, 358, 364)
_SHOULDERS_CUT = 345  # a body that ends lower lacks its highest station
_SHOULDER_TOP = 355.0  # mean of the public bodies
_SHOULDER_TOPS = (330.0, 380.0)  # a cut body must not carry the model away

_CROTCH_SHARE = 0.75  # of the trunk's depth in the midline: only the trunk is that deep there
_NOTCH_MM = 40.0  # the widest void opens to the skin of a slim body in about twice that
_SLAB = 6  # half width of the midline slab
_HIP_LEVELS = np.arange(-16, 72, 4) / 220  # of the trunk's length (220 slices on average)


@dataclass(frozen=True)
class Silhouette:
    """A body mask seen from the front and from the side.

    Attributes
    ----------
    body : ndarray of bool, shape (x, y, z)
    thickness : ndarray of float, shape (x, z)
        Body voxels along y.
    slab : ndarray of float, shape (y, z)
        Share of body in a slab of 13 voxels about the midline.
    crotch : int
        Lowest slice in which the slab is as deep as the trunk.
    depth : float
        Depth of the trunk in the slab, y voxels.
    """

    body: np.ndarray
    thickness: np.ndarray
    slab: np.ndarray
    crotch: int
    depth: float

    @classmethod
    def of(cls, body) -> "Silhouette | None":
        """Features of a mask on the stitched grid; None where no trunk stands on legs."""
        body = np.asarray(body) > 0
        thickness = body.sum(axis=1, dtype=np.int16).astype(np.float64)
        if np.count_nonzero(thickness[:, _TRUNK].any(axis=0)) < 45:
            return None
        middle = round(midline(thickness, range(_TRUNK.start, _TRUNK.stop)))
        slab = body[max(middle - _SLAB, 0) : middle + _SLAB + 1].mean(axis=0)
        found = _crotch(gaussian_filter1d(slab.sum(axis=0), 1.5))
        if found is None:
            return None
        return cls(body, thickness, slab, *found)


def midline(thickness, slices) -> float:
    """x of the body's middle: median over slices of the centroid of squared thickness.

    Squares weigh trunk and thighs against arms, which are thin and lie where they like.
    """
    weight = thickness[:, list(slices)] ** 2
    total = weight.sum(axis=0)
    weight, total = weight[:, total > 0], total[total > 0]
    if not len(total):
        return (thickness.shape[0] - 1) / 2
    return float(np.median(np.arange(thickness.shape[0]) @ weight / total))


def _crotch(depth) -> tuple[int, float] | None:
    """Lowest slice from which the midline stays as deep as the trunk, and that depth.

    Thighs that touch are shallower in the midline than the trunk is; the share of
    `_CROTCH_SHARE` tells them apart in heavy bodies as well.
    """
    trunk = float(np.median(depth[180:280]))
    crotch = None
    for _ in range(3):
        if trunk <= 0:
            return None
        deep = depth >= _CROTCH_SHARE * trunk
        run = np.convolve(deep, np.ones(12), "full")[11:]  # deep slices among 12 from here up
        starts = np.flatnonzero(run[30:260] >= 12)
        if not len(starts):
            return None
        crotch = int(starts[0]) + 30
        trunk = float(np.median(depth[crotch + 25 : crotch + 95]))
    # at the search's lower end there are no legs below: not a crotch but a cut body
    return None if crotch <= 31 else (crotch, trunk)


def hip_features(shape: Silhouette) -> np.ndarray:
    """What tells the femoral heads' height above the crotch, 82 numbers.

    Depth of the midline, its front and back outline, and the area of the cross-section,
    relative to the trunk, at 22 levels from 7 % of the trunk's length below to 31 % above the
    crotch: the same places in short and long bodies. Front and back tell men from women: the
    crotch of the mask is lower in men.
    """
    levels = shape.crotch + trunk_length(shape) * _HIP_LEVELS
    depth = gaussian_filter1d(gaussian_filter1d(shape.slab.sum(axis=0), 1.5), 2)
    area = gaussian_filter1d(shape.thickness.sum(axis=0), 3)
    trunk_area = np.median(area[shape.crotch + 20 : shape.crotch + 150])
    front, back = (gaussian_filter1d(edge, 2) for edge in _edges(shape.slab))
    centre = depth_centre(shape, shape.crotch + 20)

    profiles = [
        depth / shape.depth,
        (front - centre) / shape.depth,
        (back - centre) / shape.depth,
        area / trunk_area,
    ]
    slices = np.arange(shape.thickness.shape[1])
    sampled = [np.interp(levels, slices, profile) for profile in profiles]
    # below the crotch the midline shows no outline
    return np.concatenate([sampled[0], sampled[1][3:], sampled[2][3:], sampled[3]])


def trunk_length(shape: Silhouette) -> float:
    """Slices from the crotch to the top of the shoulders.

    Shoulders that are not in view count as where they usually are: the highest station is
    placed by them.
    """
    tops = [top for side in grid.SIDES if (top := shoulder_top(shape, side)) is not None]
    return float(np.mean(tops or [_SHOULDER_TOP])) - shape.crotch


def _edges(slab) -> tuple[np.ndarray, np.ndarray]:
    """Most anterior and most posterior body voxel of the slab, per slice."""
    inside = slab > 0.5
    found = inside.any(axis=0)
    front = np.where(found, slab.shape[0] - 1 - inside[::-1].argmax(axis=0), 80.0)
    back = np.where(found, inside.argmax(axis=0), 80.0)
    return front.astype(float), back.astype(float)


def depth_centre(shape: Silhouette, level: int) -> float:
    """y of the trunk's centre in the midline slab about a slice."""
    levels = slice(max(level - 3, 0), level + 4)
    weight = shape.slab[:, levels].sum(axis=1)
    return float(np.arange(len(weight)) @ weight / max(weight.sum(), 1e-6))


def midline_features(shape: Silhouette, hip: float) -> np.ndarray:
    """Two views of the midline at the hips: centre of the trunk, and gap between the legs."""
    hip = round(hip)
    trunk = midline(shape.thickness, range(max(hip - 10, 0), hip + 20))
    low = max(hip - 60, 3)
    legs = gaussian_filter1d(shape.thickness[:, low : max(hip - 30, low + 1)].sum(axis=1), 2)
    start = max(round(trunk) - 20, 0)
    gap = start + int(np.argmin(legs[start : start + 41]))
    return np.array([trunk, gap], dtype=float)


def half(shape: Silhouette, side: str) -> tuple[np.ndarray, float, float]:
    """One side of the body from the upper midline outwards.

    Returns
    -------
    thickness : ndarray, shape (outward, z)
    middle : float
        x of the upper midline.
    reach : float
        Half width at the upper arms.
    """
    middle = round(midline(shape.thickness, range(_THORAX.start, _THORAX.stop)))
    part = shape.thickness[:middle][::-1] if side == "right" else shape.thickness[middle:]
    reach = float(np.median((part[:, _UPPER_ARM] > 4).sum(axis=0)))
    return part, float(middle), reach


def shoulder_top(shape: Silhouette, side: str) -> float | None:
    """Height of the shoulder's upper surface; None where the shoulder is not in view."""
    part, _, reach = half(shape, side)
    if reach < 20 or np.flatnonzero(shape.thickness.any(axis=0))[-1] < _SHOULDERS_CUT:
        return None
    solid = part > 4
    top = np.where(solid.any(axis=1), solid.shape[1] - 1 - solid[:, ::-1].argmax(axis=1), 200.0)
    outward = np.array([0.7, 0.75, 0.8]) * reach
    height = np.interp(outward, np.arange(len(top)), gaussian_filter1d(top, 1)).mean()
    return float(np.clip(height, *_SHOULDER_TOPS))


def shoulder_features(shape: Silhouette, side: str, hip: float) -> np.ndarray | None:
    """What tells a shoulder joint's height: top of the shoulder, hip height, width of the neck."""
    top = shoulder_top(shape, side)
    if top is None:
        return None
    neck = [np.count_nonzero(shape.thickness[:, level] > 4) for level in _NECK]
    neck = [np.log(width) for width in neck if width] or [4.4]  # slices beyond the volume tell none
    features = np.array([(top - _SHOULDER_TOP) / 7, (hip - 163) / 13, (np.mean(neck) - 4.4) / 0.4])
    return np.clip(features, -3.5, 3.5)  # a cut body must not carry the model away


def knee_features(shape: Silhouette, hip: float) -> np.ndarray:
    """What tells the knees' height: hip height and the area of both legs, every 8 slices."""
    area = gaussian_filter1d(shape.thickness.sum(axis=0), 2)
    legs = area[4:92:8] / max(np.median(area[shape.crotch + 20 : shape.crotch + 60]), 1)
    return np.concatenate([[(hip - 163) / 13], legs])


def section_centre(shape: Silhouette, x_range, level: int) -> tuple[float, float] | None:
    """Centroid (x, y) of the body between two x within 2 slices of a level."""
    low, high = max(round(x_range[0]), 0), min(round(x_range[1]), shape.body.shape[0])
    part = shape.body[low:high, :, max(level - 2, 0) : level + 3].sum(axis=2)
    if not part.any():
        return None
    x, y = np.indices(part.shape)
    total = part.sum()
    return low + float((x * part).sum() / total), float((y * part).sum() / total)


def without_notches(body) -> np.ndarray:
    """A window of a body mask without notches: an implant's void may open to the skin.

    What a disc of `_NOTCH_MM` radius cannot reach from outside, slice by slice, is body.

    Parameters
    ----------
    body : ndarray of bool, shape (x, y, z)
        It goes on beyond the window as it ends there.
    """
    pad = round(1.5 * _NOTCH_MM / grid.IN_PLANE_MM)
    wide = np.pad(body, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    apart = (grid.IN_PLANE_MM, grid.IN_PLANE_MM, 1e3)  # mm: no slice is near another
    if not wide.any():
        return body
    near = fill_slices(distance_transform_edt(~wide, sampling=apart) <= _NOTCH_MM)
    if near.all():
        return np.ones_like(body)
    return (distance_transform_edt(near, sampling=apart) > _NOTCH_MM)[pad:-pad, pad:-pad]


def on_stitched_grid(image) -> tuple[np.ndarray, np.ndarray]:
    """A mask or volume laid on the stitched grid, and its first voxel there.

    Images of fewer slices, or cut, keep their place in millimetres. Cheap where the
    image already lies on the grid.

    Returns
    -------
    array : ndarray, shape (224, 174, 370)
    offset : ndarray of int, shape (3,)
        Index on the stitched grid = index in the image + offset.

    Raises
    ------
    ValueError
        Not voxel order LAS, or voxels of another size.
    """
    grid.require_las(image, "body mask")
    affine = np.asarray(image.affine, dtype=float)
    spacing = np.abs(np.diag(affine)[:3])
    if not np.allclose(spacing, grid.SPACING_MM, rtol=0.02):
        raise ValueError(
            f"body mask: expected voxels of {grid.SPACING_MM} mm, found {spacing.round(4)} mm"
        )
    signed = np.array([-1, 1, 1]) * grid.SPACING_MM
    offset = np.round((affine[:3, 3] - grid.ORIGIN_RAS_MM) / signed).astype(int)
    array = np.asanyarray(image.dataobj)
    if not offset.any() and array.shape == grid.SHAPE:
        return array, offset
    laid = np.zeros(grid.SHAPE, array.dtype)
    source, target = [], []
    for start, size, extent in zip(offset, array.shape, grid.SHAPE, strict=True):
        low, high = max(start, 0), max(min(start + size, extent), max(start, 0))
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    laid[tuple(target)] = array[tuple(source)]
    return laid, offset
