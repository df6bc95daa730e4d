"""From body mask and images to landmarks: by shape or atlas, heads where the images show them."""

import nibabel as nib
import numpy as np

from iliopsoas import grid, machine
from iliopsoas.landmarks import atlas as atlas_route
from iliopsoas.landmarks import coarse, heads, plausibility, silhouette, voids
from iliopsoas.landmarks.silhouette import Silhouette

LEAST_CONFIDENCE = 0.75
HIPS = {"right": "11", "left": "12"}


def locate(
    body, water=None, fat=None, atlas=None, atlas_bodies=None, least_confidence=LEAST_CONFIDENCE
) -> dict:
    """Find shoulders, femoral heads and knees.

    Parameters
    ----------
    body : nibabel image, shape (x, y, z)
        Body mask, voxel order LAS, the stitched grid's voxels; it may have fewer slices.
    water, fat : nibabel image, optional
        On the same grid. With both, femoral heads that are seen there count.
    atlas : path, optional
        Folder of body masks with landmarks: the published route (affine registration,
        1 to 2 seconds per body of the atlas) instead of the shape model.
    atlas_bodies : int, optional
        Register only this many bodies of the atlas; default all.
    least_confidence : float
        Confidence (0 to 1, see `heads`) from which a femoral head counts as seen.

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


@machine.one_thread()
def locate_with_record(
    body, water=None, fat=None, atlas=None, atlas_bodies=None, least_confidence=LEAST_CONFIDENCE
) -> tuple[dict, dict]:
    """As `locate`, and how it was found.

    Returns
    -------
    landmarks : dict
    record : dict
        ``route`` ("shape" or "atlas"); ``hips_seen`` and ``hips_mirrored`` (keys, joined by
        spaces): heads that the images show, and those put where the other one's mirror image is;
        ``hip_confidence_right`` and ``_left`` (0 to 1), ``hip_confidence``, the higher one (None
        without images); ``void_ml_right``, ``_left``, ``void_ml``, ``void_at``: signal voids as
        implants leave them, ml, the larger one, and side:place in RAS mm (None without images);
        ``shoulders_default``: whether the shoulders' usual height was used;
        ``hip_spread`` and ``shoulder_spread`` (slices, median absolute deviation over the atlas;
        None by shape).
    """
    mask, offset = silhouette.on_stitched_grid(body)
    record = {
        "route": "shape" if atlas is None else "atlas",
        "hips_seen": "",
        "hips_mirrored": "",
        "hip_confidence": None,
        **{f"hip_confidence_{side}": None for side in HIPS},
        **{f"void_ml_{side}": None for side in HIPS},
        "void_ml": None,
        "void_at": None,
        "shoulders_default": False,
        "hip_spread": None,
        "shoulder_spread": None,
    }
    found = _from_shape(mask) if atlas is None else _from_atlas(mask, atlas, atlas_bodies, record)
    if not {"11", "12"} <= found.keys():
        return _indices(found, offset, body.shape), record
    if water is not None and fat is not None:
        images = [
            _on_grid_of(body, image, what) for image, what in ((water, "water"), (fat, "fat"))
        ]
        found |= _seen(*images, found, least_confidence, record)
        record |= _voids(*images, mask, found)
    if not {"1", "2"} <= found.keys():
        record["shoulders_default"] = True
        usual = coarse.usual_shoulders(found["11"], found["12"])
        # above a cut volume, perhaps: only their height is used
        return _indices(found, offset, body.shape) | _indices(usual, offset), record
    return _indices(found, offset, body.shape), record


def _indices(found, offset, shape=None) -> dict:
    """Voxel indices of an image; what lies outside its `shape` is not found."""
    landmarks = {}
    for key in atlas_route.KEYS:
        if key in found:
            index = np.round(np.asarray(found[key])).astype(int) - offset
            if shape is None or ((index >= 0).all() and (index < shape).all()):
                landmarks[key] = tuple(int(v) for v in index)
    return landmarks


def _from_shape(mask) -> dict:
    shape = Silhouette.of(mask)
    return {} if shape is None else coarse.joints(shape)


def _from_atlas(mask, folder, limit, record) -> dict:
    if not np.any(mask):
        return {}
    found, spread = atlas_route.joints(mask, folder, limit)
    for name, keys in (("hip_spread", ("11", "12")), ("shoulder_spread", ("1", "2"))):
        known = [spread[key][2] for key in keys if key in spread]
        record[name] = round(max(known), 2) if known else None
    return found


def _on_grid_of(body, image, what):
    """The image's array on the stitched grid; it must lie where the body mask lies."""
    if image.shape != body.shape or not np.allclose(image.affine, body.affine, atol=1e-2):
        raise ValueError(f"{what}: expected the body mask's grid {body.shape}, found {image.shape}")
    return silhouette.on_stitched_grid(grid.require_las(image, what))[0]


def _seen(water, fat, found, least, record) -> dict:
    """Hips as the images show them: both heads, or one and its mirror image, or none."""
    heads_of = {side: heads.detect(water, fat, found[key]) for side, key in HIPS.items()}
    for side, head in heads_of.items():
        record[f"hip_confidence_{side}"] = 0.0 if head is None else round(head.confidence, 3)
    record["hip_confidence"] = max(record[f"hip_confidence_{side}"] for side in HIPS)
    clear = {side: head for side, head in heads_of.items() if head and head.confidence >= least}
    if len(clear) == 2:
        step = abs(clear["right"].index[2] - clear["left"].index[2]) * grid.SLICE_MM
        if step > plausibility.HIP_TILT_MM:  # one of them is none
            clear.pop(min(clear, key=lambda side: clear[side].confidence))
    result = {HIPS[side]: head.index for side, head in clear.items()}
    record["hips_seen"] = " ".join(sorted(result))
    if len(clear) == 1:
        (side,) = clear
        other = HIPS["left" if side == "right" else "right"]
        result[other] = heads.mirrored(clear[side].index, found["11"], found["12"])
        record["hips_mirrored"] = other
    return result


def _voids(water, fat, mask, found) -> dict:
    """Signal voids at both hips."""
    record, places = {}, []
    for side, key in HIPS.items():
        ml, place = voids.at_hip(water, fat, mask, found[key])
        record[f"void_ml_{side}"] = round(ml, 1)
        if place is not None:
            mm = nib.affines.apply_affine(grid.las_affine(), place)
            places.append(f"{side}:{'/'.join(f'{at:.0f}' for at in mm)}")
    largest = max(record[f"void_ml_{side}"] for side in HIPS)
    return record | {"void_ml": largest, "void_at": places}
