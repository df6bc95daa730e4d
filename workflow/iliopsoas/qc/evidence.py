"""What quality control knows of a participant: measured on images, and joined from ledgers."""

import numpy as np
import pandas as pd
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.crops.boxes import CROP_SHAPE, box
from iliopsoas.files import KEY
from iliopsoas.status import Refused

_STEP_LEVELS = 3  # on either side of a step of the signal
_STEP_VOXELS = 12  # fewest of a level
_WIDE_LEVEL = 0.25  # share of the largest cross-section from which a level counts as muscle belly

# per side: name without the side -> (unit, definition)
SIDE_EVIDENCE = {
    "crop_border_cm2": ("cm2", "mask surface that lies on the faces of the network's crop"),
    "image_border_voxels": ("voxels", "mask voxels in the outermost layer of the image"),
    "outside_body_percent": ("%", "mask voxels outside the body mask"),
    "across_midline_percent": (
        "%",
        "mask voxels on the other side of the hips' midline; missing where the network's crops "
        "end there",
    ),
    "loose_percent": ("%", "voxels outside the mask's largest component (26 neighbours), of it"),
    "lowest_mm": ("mm", "mask's lowest level, RAS z"),
    "highest_mm": ("mm", "mask's highest level, RAS z"),
    "end_area_percent": (
        "%",
        "larger of the first and last level's cross-section, of the largest: a muscle tapers, a "
        "cut one ends flat",
    ),
    "area_step_percent": (
        "%",
        "largest change of cross-section between neighbouring levels, of the largest",
    ),
    "compactness": ("ratio", "volume^(2/3) / surface of exposed faces; 1/6 = 0.167 for a cube"),
    "water_step_percent": (
        "%",
        "largest change of the eroded mask's median water signal from three levels of the muscle's "
        "belly to the next three: a station seam through the muscle",
    ),
    "water_ratio": ("ratio", "median water signal in the eroded mask / 99th percentile in body"),
    "water_cv_percent": ("%", "robust coefficient of variation of water in the eroded mask"),
    "edge_contrast": (
        "ratio",
        "(water in the mask's outer layer - water two voxels further out) / their sum",
    ),
    "lowest_level": ("levels", "mask's lowest level, from the bottom of the network's crop"),
    "highest_level": ("levels", "mask's highest level, from the bottom of the network's crop"),
    "from_midline_voxels": ("voxels", "mask's centre, sideways from the crop's medial face"),
    "from_back_voxels": ("voxels", "mask's centre, from the crop's posterior face"),
    "widest_share": (
        "ratio",
        "place of the largest cross-section, 0 at the lowest level, 1 at top",
    ),
    "crop_empty_percent": ("%", "levels of the crop with next to no water signal"),
    "crop_step_percent": (
        "%",
        "largest change of the crop's mean water signal between neighbouring levels, of the median "
        "level's",
    ),
    "crop_noise_percent": (
        "%",
        "noise of the crop where there is signal: median absolute second difference along z and x, "
        "the smaller, of the 95th percentile",
    ),
    "crop_sharpness": (
        "ratio",
        "95th percentile of the crop's in-plane gradient, of the 95th percentile of its signal",
    ),
}
CROP_EVIDENCE = tuple(
    name for name in SIDE_EVIDENCE if name.startswith("crop_") and name != ("crop_border_cm2")
)
COLUMNS = {
    f"{side}_{name}": (unit, f"{side} muscle: {text}")
    for side in grid.SIDES
    for name, (unit, text) in SIDE_EVIDENCE.items()
}


def _faces_cm2(mask, spacing) -> float:
    """Exposed surface of a mask, counted in voxel faces."""
    total = 0.0
    for axis in range(3):
        padded = np.pad(mask, [(1, 1) if i == axis else (0, 0) for i in range(3)]).astype(np.int8)
        area = spacing[(axis + 1) % 3] * spacing[(axis + 2) % 3]
        total += np.count_nonzero(np.diff(padded, axis=axis)) * area
    return total / 100.0


def _touching_cm2(mask, low, high, spacing) -> float:
    """Area of the mask on the faces of the box [low, high); box faces off the image count too."""
    total = 0.0
    for axis in range(3):
        area = spacing[(axis + 1) % 3] * spacing[(axis + 2) % 3] / 100.0
        for index in (low[axis], high[axis] - 1):
            if 0 <= index < mask.shape[axis]:
                total += float(np.take(mask, index, axis=axis).sum()) * area
    return total


def _border_voxels(mask) -> int:
    return int(mask.sum() - mask[1:-1, 1:-1, 1:-1].sum())


def _water_evidence(mask, water, counts, reference) -> dict:
    """Signal of one side; `reference` is the 99th percentile of water in the body."""
    core = ndimage.binary_erosion(mask)
    values = water[core if core.sum() >= 50 else mask]
    median = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - median)))
    # away from the rim, where a muscle shares its voxels with the fat around it
    middle = ndimage.binary_erosion(mask, np.ones((3, 3, 1)))
    belly = np.flatnonzero(counts >= _WIDE_LEVEL * counts.max())
    belly = [z for z in belly if np.count_nonzero(middle[:, :, z]) >= _STEP_VOXELS]
    levels = {z: float(np.median(water[:, :, z][middle[:, :, z]])) for z in belly}
    steps = []
    for z in belly:
        # a few levels on either side: single ones of a small muscle differ by chance
        below = [levels[i] for i in range(z - _STEP_LEVELS + 1, z + 1) if i in levels]
        above = [levels[i] for i in range(z + 1, z + _STEP_LEVELS + 1) if i in levels]
        if len(below) == len(above) == _STEP_LEVELS:
            low, high = np.median(below), np.median(above)
            steps.append(200.0 * abs(high - low) / (high + low) if high + low > 0 else 0.0)
    rim = mask & ~core
    near = ndimage.binary_dilation(mask, iterations=1)
    around = ndimage.binary_dilation(near, iterations=2) & ~near
    inside, outside = float(np.mean(water[rim])), float(np.mean(water[around]))
    return {
        "water_step_percent": max(steps) if steps else None,
        "water_ratio": median / reference if reference > 0 else None,
        "water_cv_percent": 100.0 * spread / median if median > 0 else None,
        "edge_contrast": (inside - outside) / (inside + outside) if inside + outside > 0 else None,
    }


def _within(volume, low, high) -> np.ndarray:
    """The part of a volume in the box [low, high); zeros off the volume."""
    inside = tuple(
        slice(min(max(a, 0), n), min(max(b, 0), n))
        for a, b, n in zip(low, high, volume.shape, strict=True)
    )
    result = np.zeros(np.subtract(high, low), np.float32)
    part = volume[inside]
    start = [max(-a, 0) for a in low]
    result[tuple(slice(s, s + n) for s, n in zip(start, part.shape, strict=True))] = part
    return result


def crop_evidence(crop) -> dict:
    """Whether an image is whole, sharp and free of noise, whatever its scale.

    Parameters
    ----------
    crop : ndarray (x, y, z)
        Water signal in the network's crop, in any unit.

    Returns
    -------
    dict
        `CROP_EVIDENCE`; None where there is no signal.
    """
    crop = np.asarray(crop, dtype=np.float32)
    signal = crop[crop > 0]
    reference = float(np.percentile(signal, 95)) if signal.size else 0.0
    if reference <= 0:
        return dict.fromkeys(CROP_EVIDENCE)
    crop = np.minimum(crop, reference) / reference  # the brightest voxels are cut off in some crops
    levels = crop.mean(axis=(0, 1), dtype=np.float64)
    usual = float(np.median(levels[levels > 0.01]) if (levels > 0.01).any() else levels.max())
    tissue = crop[1:-1, :, 1:-1] > 0.2
    noise = []
    for axis in (0, 2):
        middle = tuple(slice(1, -1) if other in (0, 2) else slice(None) for other in range(3))
        sides = [
            tuple(
                slice(1 + step, crop.shape[other] - 1 + step)
                if other == axis
                else (slice(1, -1) if other in (0, 2) else slice(None))
                for other in range(3)
            )
            for step in (-1, 1)
        ]
        bend = crop[middle] - 0.5 * (crop[sides[0]] + crop[sides[1]])
        noise.append(float(np.median(np.abs(bend[tissue]))) if tissue.any() else 0.0)
    gradient = np.hypot(np.diff(crop, axis=0)[:, :-1], np.diff(crop, axis=1)[:-1])
    strong = gradient[crop[:-1, :-1] > 0.1]
    return {
        "crop_empty_percent": 100.0 * float(np.mean(levels < 0.1 * usual)),
        "crop_step_percent": 100.0 * float(np.abs(np.diff(levels)).max()) / usual,
        "crop_noise_percent": 100.0 * min(noise),
        "crop_sharpness": float(np.percentile(strong, 95)) if strong.size else None,
    }


def _place(mask, side, low, high) -> dict:
    """Where a mask lies in the network's crop."""
    x, y, z = np.nonzero(mask)
    levels = np.bincount(z)
    first, last = int(z.min()), int(z.max())
    medial = x.mean() - low[0] if side == "left" else high[0] - 1 - x.mean()
    return {
        "lowest_level": first - low[2],
        "highest_level": last - low[2],
        "from_midline_voxels": medial,
        "from_back_voxels": y.mean() - low[1],
        "widest_share": (int(levels.argmax()) - first) / max(last - first, 1),
    }


def crop_boxes(landmarks, shape) -> dict:
    """Corners (low, high) of each side's crop; empty where a landmark it needs is missing."""
    try:
        lows = {side: tuple(box(landmarks, side, shape)) for side in grid.SIDES}
    except Refused:
        return {}
    return {side: (low, tuple(np.add(low, CROP_SHAPE).tolist())) for side, low in lows.items()}


def gather(mask, affine, water=None, body=None, landmarks=None, boxes=None) -> dict:
    """Evidence on one participant's masks, for the record of the volumes stage.

    Parameters
    ----------
    mask : ndarray of int (x, y, z)
        1 = left, 2 = right, voxel order LAS.
    affine : ndarray (4, 4)
    water, body : ndarray (x, y, z), optional
        Water image and body mask.
    landmarks : dict, optional
        Hips ("11", "12") give the midline.
    boxes : dict, optional
        ``{"left": (low, high), "right": ...}``: corners of the network's crops, voxel indices,
        high exclusive; they may reach beyond the image. Default: where the landmarks put them;
        empty for masks that come from no crop.

    Returns
    -------
    dict
        The keys of `COLUMNS`; None where the side is empty or what is needed was not given.
    """
    mask, affine = np.asarray(mask), np.asarray(affine, dtype=float)
    spacing = np.abs(np.diag(affine)[:3])
    reference = 0.0
    if water is not None:
        water = np.asarray(water, dtype=np.float32)
        signal = water[np.asarray(body) > 0] if body is not None else water[water > 0]
        reference = float(np.percentile(signal, 99)) if signal.size else 0.0
    midline = None
    if landmarks and "11" in landmarks and "12" in landmarks:
        midline = (landmarks["11"][0] + landmarks["12"][0]) / 2

    if boxes is None:
        boxes = crop_boxes(landmarks or {}, mask.shape)

    result = dict.fromkeys(COLUMNS)
    for side, label in grid.SIDES.items():
        here = mask == label
        voxels = int(here.sum())
        if not voxels:
            continue
        found = {"image_border_voxels": _border_voxels(here)}
        if boxes and side in boxes:
            found["crop_border_cm2"] = _touching_cm2(here, *boxes[side], spacing)
            found |= _place(here, side, *boxes[side])
            if water is not None:
                found |= crop_evidence(_within(water, *boxes[side]))
        if body is not None:
            found["outside_body_percent"] = 100.0 * int((here & (np.asarray(body) == 0)).sum())
            found["outside_body_percent"] /= voxels
        if midline is not None and not boxes:
            x = np.flatnonzero(here.any(axis=(1, 2)))
            wrong = x[x < midline] if side == "left" else x[x > midline]
            found["across_midline_percent"] = 100.0 * int(here[wrong].sum()) / voxels
        # the rest looks at the muscle's surroundings only, not at the whole image
        window = tuple(
            slice(max(part.start - 4, 0), part.stop + 4)
            for part in ndimage.find_objects(here.astype(np.uint8))[0]
        )
        part = here[window]
        counts = part.sum(axis=(0, 1))
        levels = np.flatnonzero(counts)
        profile = counts[levels[0] : levels[-1] + 1].astype(float)
        pieces = np.bincount(ndimage.label(part, np.ones((3, 3, 3)))[0].ravel())[1:]
        found["loose_percent"] = 100.0 * (pieces.sum() - pieces.max()) / pieces.max()
        z = np.flatnonzero(here.any(axis=(0, 1)))[[0, -1]]
        found["lowest_mm"], found["highest_mm"] = affine[2, 3] + affine[2, 2] * z
        found["end_area_percent"] = 100.0 * max(counts[levels[[0, -1]]]) / counts.max()
        steps = np.abs(np.diff(profile))
        found["area_step_percent"] = 100.0 * steps.max() / counts.max() if steps.size else None
        volume_cm3 = voxels * np.prod(spacing) / 1000.0
        found["compactness"] = volume_cm3 ** (2 / 3) / _faces_cm2(part, spacing)
        if water is not None:
            found |= _water_evidence(part, water[window], counts, reference)
        result |= {
            f"{side}_{name}": None if value is None else float(value)
            for name, value in found.items()
        }
    return result


def cohort(sample, volumes, ledgers) -> pd.DataFrame:
    """One row per participant with everything the flags look at.

    Parameters
    ----------
    sample, volumes : DataFrame
        results/cohort/sample.tsv and results/volumes.tsv.
    ledgers : dict of str to DataFrame
        Stage to ledger; a record's key becomes the column ``<stage>.<key>``.

    Returns
    -------
    DataFrame
        Rows of `volumes`; sample columns, volume columns, then the ledgers'.
    """
    result = volumes.merge(
        sample[[name for name in sample.columns if name in KEY or name not in volumes.columns]],
        on=KEY,
        how="left",
        validate="one_to_one",
    )
    for stage, ledger in ledgers.items():
        names = {name: f"{stage}.{name}" for name in ledger.columns if name not in KEY}
        result = result.merge(ledger.rename(columns=names), on=KEY, how="left", validate="m:1")
    return result.copy()  # in one piece: hundreds of columns were put side by side
