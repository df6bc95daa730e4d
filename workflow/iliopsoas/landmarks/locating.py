"""From body mask and images to landmarks: coarse by shape or atlas, then refined."""

import numpy as np

from iliopsoas import grid
from iliopsoas.landmarks import atlas as atlas_route
from iliopsoas.landmarks import coarse, heads, silhouette
from iliopsoas.landmarks.silhouette import Silhouette

LEAST_CONFIDENCE = 0.45


def locate(
    body, water=None, fat=None, atlas=None, atlas_bodies=None, least_confidence=LEAST_CONFIDENCE
) -> dict:
    """Find shoulders, femoral heads and knees.

    Parameters
    ----------
    body : nibabel image, shape (x, y, z)
        Body mask, voxel order LAS, the stitched grid's voxels; it may have fewer slices.
    water, fat : nibabel image, optional
        On the same grid. With both, the femoral heads are refined to their centres.
    atlas : path, optional
        Folder of body masks with landmarks: the published route (affine registration,
        1 to 2 seconds per body of the atlas) instead of the shape model.
    atlas_bodies : int, optional
        Register only this many bodies of the atlas; default all.
    least_confidence : float
        Evenness (0 to 1) of a femoral head's edge below which the images are not
        believed and the coarse position stands, see `heads`.

    Returns
    -------
    dict
        "1", "2" shoulders, "11", "12" hips, "21", "22" knees (right, left) -> (x, y, z)
        int voxel indices of `body`. Right and left are told by geometry: x grows to the
        patient's left. What is not found is absent; `assess` gives the verdict.

    Raises
    ------
    ValueError
        Not voxel order LAS, other voxels than the stitched grid's, or images that do not
        lie on the body mask's grid.
    """
    return locate_with_record(body, water, fat, atlas, atlas_bodies, least_confidence)[0]


def locate_with_record(
    body, water=None, fat=None, atlas=None, atlas_bodies=None, least_confidence=LEAST_CONFIDENCE
) -> tuple[dict, dict]:
    """As `locate`, and how it was found.

    Returns
    -------
    landmarks : dict
    record : dict
        ``route`` ("shape" or "atlas"), ``refined`` (keys whose centre the images gave,
        joined by spaces), ``hip_confidence`` (0 to 1, None without images),
        ``hip_spread`` and ``shoulder_spread`` (slices, median absolute deviation over
        the atlas; None by shape).
    """
    mask, offset = silhouette.on_stitched_grid(body)
    record = {
        "route": "shape" if atlas is None else "atlas",
        "refined": "",
        "hip_confidence": None,
        "hip_spread": None,
        "shoulder_spread": None,
    }
    found = _by_shape(mask) if atlas is None else _by_atlas(mask, atlas, atlas_bodies, record)
    if water is not None and fat is not None and "11" in found and "12" in found:
        found |= _refined(
            _on_grid_of(body, water, "water"),
            _on_grid_of(body, fat, "fat"),
            found,
            least_confidence,
            record,
        )
    landmarks = {}
    for key in atlas_route.KEYS:
        if key in found:
            index = np.round(np.asarray(found[key])).astype(int) - offset
            if (index >= 0).all() and (index < body.shape).all():
                landmarks[key] = tuple(int(v) for v in index)
    return landmarks, record


def _by_shape(mask) -> dict:
    shape = Silhouette.of(mask)
    return {} if shape is None else coarse.locate(shape)


def _by_atlas(mask, folder, limit, record) -> dict:
    if not np.any(mask):
        return {}
    found, spread = atlas_route.locate(mask, folder, limit)
    for name, keys in (("hip_spread", ("11", "12")), ("shoulder_spread", ("1", "2"))):
        known = [spread[key][2] for key in keys if key in spread]
        record[name] = round(max(known), 2) if known else None
    return found


def _on_grid_of(body, image, what):
    """The image's array on the stitched grid; it must lie where the body mask lies."""
    if image.shape != body.shape or not np.allclose(image.affine, body.affine, atol=1e-2):
        raise ValueError(f"{what}: expected the body mask's grid {body.shape}, found {image.shape}")
    return silhouette.on_stitched_grid(grid.require_las(image, what))[0]


def _refined(water, fat, found, least, record) -> dict:
    result = heads.refine(water, fat, found["11"], found["12"])
    record["hip_confidence"] = 0.0 if result is None else round(result.confidence, 3)
    if result is None or result.confidence < least:
        return {}
    record["refined"] = "11 12"
    return {"11": result.right, "12": result.left}
