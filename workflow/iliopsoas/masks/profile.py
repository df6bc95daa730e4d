"""Along the muscle: cross-section and fat fraction at every level, and where the levels lie."""

import numpy as np
import pandas as pd
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.masks.volumes import has_signal
from iliopsoas.status import InputError

POSITIONS = np.linspace(0, 1, 41)  # along the muscle: 0 lesser trochanter, 1 top of psoas
LEAST_VOXELS = 12  # of the eroded mask in a level, for its fat fraction (60 mm2 in plane)

# ASSUME: share of the height from the femoral heads to the shoulders at which the middle of a
# vertebra or disc lies in a supine adult: lumbosacral disc 100 mm above the hip axis, 38 mm per
# lumbar segment, shoulders 531 mm above the hips (the mean of UK Biobank bodies)
LUMBAR_SHARES = {"L4/5": 0.260, "L4": 0.296, "L3/4": 0.331, "L3": 0.367}
# ASSUME: spread between people around these shares (pelvic tilt, length of the lumbar spine)
ANATOMY_SD_MM = 12.0
# of a joint's level; mean error of 3.6 slices on 20 real bodies, as a normal SD
LANDMARK_SD_MM = 3.6 * grid.SLICE_MM * np.sqrt(np.pi / 2)

PER_LEVEL = {
    "side": ("text", "left or right, the participant's own"),
    "z": ("index", "axial level: z index of the mask in voxel order LAS, 0 is the lowest slice"),
    "level_mm": ("mm", "z of the slice centre, RAS"),
    "above_hip_mm": ("mm", "height above the mean level of the two femoral heads"),
    "position": ("ratio", "place along the muscle: 0 its lowest level, 1 its highest"),
    "area_cm2": ("cm2", "cross-section: voxels x in-plane voxel area"),
    "fat_fraction_percent": (
        "%",
        "mean F / (W + F) of the level's voxels in the mask eroded by one voxel; missing below "
        f"{LEAST_VOXELS} voxels",
    ),
}
PLACES = {
    "trunk_mm": ("mm", "from the femoral heads to the shoulders, along z"),
    "level_source": ("text", "vertebrae where a vertebra mask was read, else landmarks"),
    "level_note": ("text", "why a vertebra mask was not used; empty where none was asked for"),
    "level_error_mm": ("mm", "standard deviation of the lumbar levels' place"),
    "<level>_above_hip_mm": ("mm", "middle of L3, L3/4, L4 or L4/5 above the femoral heads"),
}
SUMMARY = {
    "eid": ("text", "participant"),
    "instance": ("text", "imaging visit"),
    "side": PER_LEVEL["side"],
    "lowest_above_hip_mm": ("mm", "lowest level of the muscle above the femoral heads"),
    "span_mm": ("mm", "from the centre of its lowest to that of its highest slice"),
    **PLACES,
    "area_<permille>": ("cm2", "cross-section at this place along the muscle, in thousandths"),
    "fat_<permille>": ("%", "fat fraction at this place along the muscle, in thousandths"),
}


def columns(kind: str) -> list[str]:
    """Names of the resampled columns: ``area_0`` to ``area_1000``, or ``fat_...``."""
    return [f"{kind}_{round(1000 * position)}" for position in POSITIONS]


def places_of(row) -> dict:
    """`PLACES` of a ledger row, as `heights` gave them."""
    names = [name for name in PLACES if "<" not in name] + list(map(level_column, LUMBAR_SHARES))
    return {name: row[name] for name in names}


def level_column(level: str) -> str:
    """``L3/4`` -> ``l34_above_hip_mm``."""
    return f"{level.lower().replace('/', '')}_above_hip_mm"


def per_level(mask, affine, water=None, fat=None, hip_mm: float | None = None) -> pd.DataFrame:
    """Cross-section and fat fraction of both muscles at every level.

    Parameters
    ----------
    mask : ndarray of int, shape (x, y, z)
        Label map, 1 = left, 2 = right, in voxel order LAS.
    affine : ndarray (4, 4)
        Voxel indices to RAS millimetres, diagonal.
    water, fat : ndarray (x, y, z), optional
        Magnitude images on the mask's grid.
    hip_mm : float, optional
        RAS z of the hip axis, from `heights`; without it ``above_hip_mm`` is missing.

    Returns
    -------
    DataFrame
        `PER_LEVEL`, from the lowest level up; an empty side has no rows. A level inside the
        muscle without a voxel has the area 0.

    Raises
    ------
    InputError
        Shapes that differ, or a grid that is not axial LAS.
    """
    mask = np.asarray(mask)
    if not grid.is_las(affine) or mask.ndim != 3:
        raise InputError("profile: expected a 3-D label map in voxel order LAS without rotation")
    spacing = np.abs(np.diag(affine)[:3])
    fraction = None
    if water is not None and fat is not None:
        water, fat = (np.clip(np.asarray(a, dtype=np.float32), 0, None) for a in (water, fat))
        if water.shape != mask.shape or fat.shape != mask.shape:
            raise InputError(f"profile: images of {water.shape} and {fat.shape}, mask {mask.shape}")
        fraction = (water, fat)
    parts = []
    for side, label in grid.SIDES.items():
        here = mask == label
        counts = here.sum(axis=(0, 1))
        found = np.flatnonzero(counts)
        if not len(found):
            continue
        z = np.arange(found[0], found[-1] + 1)
        level = affine[2, 3] + affine[2, 2] * z
        span = max(z[-1] - z[0], 1)
        parts.append(
            pd.DataFrame(
                {
                    "side": side,
                    "z": z,
                    "level_mm": level,
                    "above_hip_mm": level - (np.nan if hip_mm is None else hip_mm),
                    "position": (z - z[0]) / span,
                    "area_cm2": counts[z] * spacing[0] * spacing[1] / 100,
                    "fat_fraction_percent": _fat_of_levels(here, fraction)[z],
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=list(PER_LEVEL))
    return pd.concat(parts, ignore_index=True)


def _fat_of_levels(mask, images):
    result = np.full(mask.shape[2], np.nan)
    if images is None:
        return result
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    core = np.zeros_like(mask)
    core[box] = ndimage.binary_erosion(mask[box])
    x, y, z = np.nonzero(core)
    water, fat = (image[x, y, z].astype(float) for image in images)
    known = has_signal(water + fat)
    z, share = z[known], 100 * fat[known] / (water + fat)[known]
    counts = np.bincount(z, minlength=len(result))
    sums = np.bincount(z, share, minlength=len(result))
    enough = counts >= LEAST_VOXELS
    result[enough] = sums[enough] / counts[enough]
    return result


def heights(landmarks: dict, affine, vertebrae: dict | None = None) -> dict:
    """Where the hip axis, the shoulders and the lumbar levels lie.

    Parameters
    ----------
    landmarks : dict
        Published keys to voxel indices: hips "11", "12"; shoulders "1", "2".
    affine : ndarray (4, 4)
    vertebrae : dict, optional
        RAS z in mm of "L3", "L4", "L5" from `vertebrae.read`; they take the place of the estimate
        from the landmarks.

    Returns
    -------
    dict
        ``hip_mm`` (RAS z) and `PLACES`; None where the landmarks it needs are absent.
    """

    def mean_z(keys):
        found = [landmarks.get(key, landmarks.get(int(key))) for key in keys]
        found = [point for point in found if point is not None]
        if not found:
            return None
        return float(affine[2, 3] + affine[2, 2] * np.mean([point[2] for point in found]))

    hip, shoulder = mean_z(("11", "12")), mean_z(("1", "2"))
    result = dict.fromkeys(["hip_mm", *PLACES, *map(level_column, LUMBAR_SHARES)])
    del result["<level>_above_hip_mm"]
    result["hip_mm"] = hip
    if hip is None:
        return result
    if shoulder is not None:
        result["trunk_mm"] = shoulder - hip
        result["level_source"] = "landmarks"
        joints = max(np.hypot(1 - share, share) for share in LUMBAR_SHARES.values())
        result["level_error_mm"] = float(np.hypot(ANATOMY_SD_MM, joints * LANDMARK_SD_MM))
        for level, share in LUMBAR_SHARES.items():
            result[level_column(level)] = share * (shoulder - hip)
    if vertebrae:
        middles = {name: vertebrae[name] for name in ("L3", "L4") if name in vertebrae}
        for upper, lower in (("L3", "L4"), ("L4", "L5")):
            if upper in vertebrae and lower in vertebrae:
                middles[f"{upper}/{lower[1]}"] = (vertebrae[upper] + vertebrae[lower]) / 2
        result |= dict.fromkeys(map(level_column, LUMBAR_SHARES))
        result |= {level_column(name): z - hip for name, z in middles.items()}
        result |= {"level_source": "vertebrae", "level_error_mm": grid.SLICE_MM / np.sqrt(12)}
    return result


def resample(levels: pd.DataFrame, places: dict) -> list[dict]:
    """A row per side for the cohort's table: the profile at `POSITIONS`.

    Parameters
    ----------
    levels : DataFrame
        From `per_level`.
    places : dict
        From `heights`.

    Returns
    -------
    list of dict
        `SUMMARY` without eid and instance. Sides of fewer than two levels are left out.
    """
    rows = []
    for side, part in levels.groupby("side", sort=False):
        if len(part) < 2:
            continue
        row = {
            "side": side,
            "lowest_above_hip_mm": part["above_hip_mm"].iloc[0],
            "span_mm": part["level_mm"].iloc[-1] - part["level_mm"].iloc[0],
        }
        row |= places_of(places)
        area = np.interp(POSITIONS, part["position"], part["area_cm2"])
        known = part.dropna(subset=["fat_fraction_percent"])
        fat = np.full(len(POSITIONS), np.nan)
        if len(known) > 1:
            fat = np.interp(
                POSITIONS,
                known["position"],
                known["fat_fraction_percent"],
                left=np.nan,
                right=np.nan,
            )
        row |= dict(zip(columns("area"), area, strict=True))
        row |= dict(zip(columns("fat"), fat, strict=True))
        rows.append(row)
    return rows


def table(rows) -> pd.DataFrame:
    """The cohort's profiles: `SUMMARY` in order, with the resampled columns at its end."""
    names = [name for name in SUMMARY if "<" not in name]
    names += [*map(level_column, LUMBAR_SHARES), *columns("area"), *columns("fat")]
    return pd.DataFrame(rows).reindex(columns=names)
