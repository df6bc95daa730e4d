"""Masks to measures: volumes and what comes free with Dixon, and the cohort's volume table."""

import nibabel as nib
import numpy as np
import pandas as pd
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.files import KEY
from iliopsoas.status import InputError, Verdict
from iliopsoas.versions import IMAGE_STAGES

NO_HEIGHT = "no height: no muscle index"
FAT_VOXEL_PERCENT = 20.0  # from this fat fraction a voxel counts as intramuscular fat
# of the muscle's median water + fat: what is darker (metal, vessels, tendon) is mostly noise, of
# which F / (W + F) is about a half whatever the tissue
SIGNAL_SHARE = 0.2
MIN_FAT_VOXELS = 50  # below this the eroded mask is too small for a fat fraction (about 0.75 ml)

# per side: name without the side -> (unit, definition)
_SIDE_MEASURES = {
    "fat_fraction_median_percent": (
        "%",
        "median of F / (W + F) over the {side} mask eroded by one voxel (6-neighbours); magnitude "
        "images, no correction for T1 or T2*: a signal fraction, not a proton density fraction",
    ),
    "fat_fraction_mean_percent": ("%", "mean of F / (W + F) over the {side} mask eroded likewise"),
    "max_area_cm2": ("cm2", "largest axial cross-section of the {side} muscle"),
    "max_area_z": ("index", "axial level of that cross-section: z index, 0 is the lowest slice"),
    "max_area_level_mm": ("mm", "axial level of that cross-section: z of the slice centre, RAS"),
    "length_mm": (
        "mm",
        "head-foot extent of the {side} mask, lowest to highest level, both included",
    ),
}

# what the muscle is made of; after the measures that were there first, so that columns stay
_SIDE_COMPOSITION = {
    "lean_ml": (
        "ml",
        "volume of the {side} mask's voxels with less fat than volumes: fat_voxel_percent (20 %)",
    ),
    "intramuscular_fat_ml": (
        "ml",
        "volume of the {side} mask's voxels with at least that much fat, partial volume included",
    ),
    "intramuscular_fat_core_percent": (
        "%",
        "share of such voxels in the {side} mask eroded by one voxel: without the surface",
    ),
    "fat_fraction_whole_percent": (
        "%",
        "mean F / (W + F) over the whole {side} mask, partial volume included; this and the others "
        f"of voxels with at least {SIGNAL_SHARE:.0%} of the muscle's median water + fat",
    ),
    "partial_volume_percent": (
        "%",
        "share of the {side} mask's voxels that erosion by one voxel removes: the surface, where a "
        "voxel may hold muscle and what lies beside it",
    ),
}
_COMPOSITION = {
    "lean_ml": ("ml", "lean volume, left + right; missing when one side is"),
    "fat_fraction_percent": ("%", "mean of the two sides' fat_fraction_mean_percent (eroded)"),
}

MEASURES = {
    "left_ml": ("ml", "volume of the left iliopsoas: voxels x voxel volume"),
    "right_ml": ("ml", "volume of the right iliopsoas"),
    "total_ml": ("ml", "left + right; missing when one side is"),
    "mean_ml": ("ml", "(left + right) / 2"),
    "difference_ml": ("ml", "left - right; negative: the right muscle is larger"),
    "imi_ml_m2": ("ml/m2", "iliopsoas muscle index: total volume / height squared"),
} | {
    f"{side}_{name}": (unit, text.format(side=side))
    for side in grid.SIDES
    for name, (unit, text) in _SIDE_MEASURES.items()
}
MEASURES |= {
    f"{side}_{name}": (unit, text.format(side=side))
    for side in grid.SIDES
    for name, (unit, text) in _SIDE_COMPOSITION.items()
}
MEASURES |= _COMPOSITION

# column of volumes.tsv -> (stage, key of that stage's record, unit, definition)
PROVENANCE = {
    "scan_sha256": ("dixon", "scan_sha256", "hash", "SHA-256 of the participant's zip"),
    "network": (
        "segment",
        "network",
        "text",
        "starter: the package's network, which has seen synthetic people only; published; own",
    ),
    "weights_sha256": ("segment", "weights_sha256", "hash", "SHA-256 of the network's weights"),
    "swaps_corrected": ("dixon", "swaps_corrected", "list", "stations (and legs) exchanged"),
    "stations_missing": ("dixon", "stations_missing", "list", "stations that the zip lacks"),
}

COLUMNS = (
    {
        "eid": ("text", "participant"),
        "instance": ("text", "imaging visit: 2 first, 3 repeat"),
        "status": ("verdict", "ok, or the verdict of the first stage that stopped"),
    }
    | MEASURES
    | {
        "missing_reason": ("text", "why a measure of a participant with status ok is missing"),
        "stopped_at": ("stage", "the stage that gave the status; empty when ok"),
        "message": ("text", "that stage's message; empty when ok"),
    }
    | {name: (unit, text) for name, (_, _, unit, text) in PROVENANCE.items()}
    | {
        f"{stage}_fingerprint": ("hash", f"of the inputs, settings and version of stage {stage}")
        for stage in IMAGE_STAGES
    }
    | {
        "qc_verdict": ("verdict", "pass, note, review, serious or no_volume: see the flags"),
        "qc_flags": ("list", "the participant's quality flags, the worst first"),
    }
)


def muscle_index(total_ml, height_cm):
    """Iliopsoas muscle index in ml/m2: total volume / height squared (paper, Results).

    Parameters
    ----------
    total_ml, height_cm : float or array_like
        None, not-a-number and heights of 0 or less give not-a-number.

    Examples
    --------
    >>> round(float(muscle_index(814.5, 176.2)), 1)
    262.3
    """
    metres = np.asarray(height_cm, dtype=float) / 100.0
    return np.asarray(total_ml, dtype=float) / np.where(metres > 0, metres, np.nan) ** 2


def _to_las(affine, *arrays):
    """Arrays and affine in voxel order LAS, by flips and exchanges of axes alone."""
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(("L", "A", "S"))
    )
    shape = arrays[0].shape
    turned = [
        None if array is None else nib.orientations.apply_orientation(array, turn)
        for array in arrays
    ]
    return affine @ nib.orientations.inv_ornt_aff(turn, shape), turned


def fat_fraction(mask, water, fat) -> np.ndarray:
    """F / (W + F), in percent, of the voxels of a mask eroded by one voxel.

    Parameters
    ----------
    mask : ndarray of bool (x, y, z)
    water, fat : ndarray (x, y, z)
        Magnitude images; negative values count as 0. Voxels without signal (`has_signal`) are left
        out.

    Returns
    -------
    ndarray, shape (n,)
        Empty when fewer than `MIN_FAT_VOXELS` voxels remain.
    """
    fractions = _fractions(ndimage.binary_erosion(mask), water, fat)
    return fractions if len(fractions) >= MIN_FAT_VOXELS else np.empty(0)


def has_signal(signal) -> np.ndarray:
    """Which of a muscle's voxels have signal: at least `SIGNAL_SHARE` of the median.

    Parameters
    ----------
    signal : ndarray, shape (n,)
        Water + fat of all voxels.
    """
    positive = signal > 0
    if not positive.any():
        return positive
    return positive & (signal >= SIGNAL_SHARE * np.median(signal[positive]))


def _fractions(voxels, water, fat) -> np.ndarray:
    """F / (W + F), in percent, of the voxels that have signal."""
    water = np.clip(water[voxels].astype(np.float64), 0, None)
    fat = np.clip(fat[voxels].astype(np.float64), 0, None)
    signal = water + fat
    inside = has_signal(signal)
    return 100.0 * fat[inside] / signal[inside]


def composition(mask, voxel_ml: float, water=None, fat=None, limit: float = FAT_VOXEL_PERCENT):
    """Lean volume, intramuscular fat and share of partial volume of one muscle.

    Parameters
    ----------
    mask : ndarray of bool (x, y, z)
    voxel_ml : float
    water, fat : ndarray (x, y, z), optional
        Magnitude images; without them only the partial volume is known.
    limit : float
        Fat fraction in percent from which a voxel counts as fat.

    Returns
    -------
    dict
        Keys without the side, values None where not known. Lean volume and intramuscular fat add
        up to the volume of the voxels that have signal.
    """
    result = dict.fromkeys(_SIDE_COMPOSITION)
    core = ndimage.binary_erosion(mask)
    result["partial_volume_percent"] = float(100 * (1 - core.sum() / mask.sum()))
    if water is None or fat is None:
        return result
    whole, inner = (_fractions(voxels, water, fat) for voxels in (mask, core))
    if len(whole):
        result["lean_ml"] = float(np.sum(whole < limit) * voxel_ml)
        result["intramuscular_fat_ml"] = float(np.sum(whole >= limit) * voxel_ml)
        result["fat_fraction_whole_percent"] = float(whole.mean())
    if len(inner) >= MIN_FAT_VOXELS:
        result["intramuscular_fat_core_percent"] = float(100 * np.mean(inner >= limit))
    return result


def _measure_side(mask, affine, water, fat) -> dict:
    """Measures of one non-empty side; keys without the side."""
    counts = mask.sum(axis=(0, 1))
    levels = np.flatnonzero(counts)
    spacing = np.abs(np.diag(affine)[:3])
    widest = int(np.argmax(counts))
    fractions = fat_fraction(mask, water, fat) if water is not None and fat is not None else ()
    return {
        "fat_fraction_median_percent": float(np.median(fractions)) if len(fractions) else None,
        "fat_fraction_mean_percent": float(np.mean(fractions)) if len(fractions) else None,
        "max_area_cm2": float(counts[widest] * spacing[0] * spacing[1] / 100.0),
        "max_area_z": widest,
        "max_area_level_mm": float(affine[2, 3] + affine[2, 2] * widest),
        "length_mm": float((levels[-1] - levels[0] + 1) * spacing[2]),
    }


def measure(
    mask,
    affine,
    water=None,
    fat=None,
    height_cm=None,
    labels=None,
    fat_voxel_percent: float = FAT_VOXEL_PERCENT,
) -> dict:
    """Measure both iliopsoas muscles of one participant.

    Parameters
    ----------
    mask : ndarray of int, shape (x, y, z)
        Label map in any orientation that `affine` describes.
    affine : ndarray (4, 4)
        Voxel indices to RAS millimetres.
    water, fat : ndarray (x, y, z), optional
        Magnitude images on the mask's grid, for the fat fractions.
    height_cm : float, optional
        Standing height, for the index.
    labels : dict, optional
        ``{"left": number, "right": number}`` (or several numbers per side) where a mask of
        another tool uses its own; default 1 = left, 2 = right.
    fat_voxel_percent : float
        Fat fraction from which a voxel counts as intramuscular fat.

    Returns
    -------
    dict
        The keys of `MEASURES` and ``missing_reason``. What cannot be measured is None, never 0,
        and ``missing_reason`` says why.

    Raises
    ------
    InputError
        Shapes that differ, not 3-D, or an affine that is not invertible.

    Notes
    -----
    Levels and areas are axial; for an oblique affine (more than 1e-3 mm off the axes) they are
    missing, volumes are not. ``max_area_z`` counts from the lowest slice of the mask's grid.
    """
    mask, affine = np.asarray(mask), np.asarray(affine, dtype=float)
    if mask.ndim != 3:
        raise InputError(f"mask: expected a 3-D label map, found shape {mask.shape}")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or grid.voxel_ml(affine) == 0:
        raise InputError("mask: the affine is not an invertible 4 x 4 matrix")
    images = [None if image is None else np.asarray(image) for image in (water, fat)]
    for name, image in zip(("water", "fat"), images, strict=True):
        if image is not None and image.shape != mask.shape:
            raise InputError(
                f"{name} image has shape {image.shape}, the mask {mask.shape}; one grid expected"
            )
    affine, (mask, water, fat) = _to_las(affine, mask, *images)
    axial = grid.is_las(affine)

    result = dict.fromkeys(MEASURES)
    reasons = []
    if not axial:
        reasons.append("oblique grid: no axial levels")
    if water is None or fat is None:
        reasons.append("no water or fat image: no fat fraction")
    for side, number in (labels or grid.SIDES).items():
        if side not in grid.SIDES:
            raise InputError(f"labels: sides are {list(grid.SIDES)}, found {side!r}")
        here = np.isin(mask, number)
        voxels = int(here.sum())
        if not voxels:
            reasons.append(f"{side} muscle: no voxel in the mask")
            continue
        result[f"{side}_ml"] = voxels * grid.voxel_ml(affine)
        found = _measure_side(here, affine, water, fat)
        found |= composition(here, grid.voxel_ml(affine), water, fat, fat_voxel_percent)
        if not axial:
            for name in ("max_area_cm2", "max_area_z", "max_area_level_mm", "length_mm"):
                found[name] = None
        if water is not None and fat is not None and found["fat_fraction_mean_percent"] is None:
            reasons.append(f"{side} muscle: fewer than {MIN_FAT_VOXELS} voxels for a fat fraction")
        result |= {f"{side}_{name}": value for name, value in found.items()}

    left, right = result["left_ml"], result["right_ml"]
    if left is not None and right is not None:
        result["total_ml"] = left + right
        result["mean_ml"] = (left + right) / 2
        result["difference_ml"] = left - right
        index = float(muscle_index(left + right, height_cm))
        result["imi_ml_m2"] = index if np.isfinite(index) else None
    for total, name, form in (
        ("lean_ml", "lean_ml", sum),
        ("fat_fraction_percent", "fat_fraction_mean_percent", np.mean),
    ):
        parts = [result[f"{side}_{name}"] for side in grid.SIDES]
        if None not in parts:
            result[total] = float(form(parts))
    if result["imi_ml_m2"] is None and result["total_ml"] is not None:
        reasons.append(NO_HEIGHT)
    return result | {"missing_reason": "; ".join(reasons) or None}


def _per_participant(table, what) -> pd.DataFrame:
    """A table indexed by eid and instance as text; two rows for one participant are an error."""
    missing = [name for name in KEY if name not in table.columns]
    if missing:
        raise InputError(f"{what}: column {missing[0]} is missing")
    table = table.astype(dict.fromkeys(KEY, str)).set_index(KEY)
    if not table.index.is_unique:
        raise InputError(
            f"{what}: {int(table.index.duplicated().sum())} participants have more than one row"
        )
    return table


def table(sample, ledgers) -> pd.DataFrame:
    """The cohort's volume table (results/volumes.tsv): a row for every participant of the sample.

    Parameters
    ----------
    sample : DataFrame
        eid, instance and, for the index, height_cm.
    ledgers : dict of str to DataFrame
        Stage name (in the order they ran: `IMAGE_STAGES`) to its ledger: eid, instance, verdict,
        message, seconds, fingerprint and the record's keys. The ledger ``volumes`` holds what
        `measure` returned.

    Returns
    -------
    DataFrame
        `COLUMNS` in order, rows in the sample's order. A participant without a row in a ledger
        that comes before any refusal has the status ``no_verdict``. Rows of ledgers that the
        sample does not contain (withdrawn, shrunk sample) are dropped. ``qc_verdict`` and
        ``qc_flags`` are empty: `qc.flags.annotate` fills them.

    Raises
    ------
    InputError
        Unknown stage, a ledger without ``verdict``, two rows for one participant.
    """
    unknown = set(ledgers) - set(IMAGE_STAGES)
    if unknown:
        raise InputError(f"ledgers: unknown stage {sorted(unknown)[0]!r}, expected {IMAGE_STAGES}")
    people = _per_participant(sample, "sample")
    result = pd.DataFrame(index=people.index, columns=list(COLUMNS)[2:], dtype=object)
    result["status"] = str(Verdict.OK)
    for stage in IMAGE_STAGES:
        if stage not in ledgers:
            continue
        ledger = _per_participant(ledgers[stage], f"ledger of stage {stage}")
        if "verdict" not in ledger.columns:
            raise InputError(f"ledger of stage {stage}: column verdict is missing")
        ledger = ledger.reindex(people.index)
        verdict = ledger["verdict"].astype(object)
        verdict = verdict.where(verdict.notna(), str(Verdict.NO_VERDICT)).astype(str)
        stops = (result["status"] == Verdict.OK) & (verdict != Verdict.OK)
        result.loc[stops, "status"] = verdict[stops]
        result.loc[stops, "stopped_at"] = stage
        if "message" in ledger.columns:
            result.loc[stops, "message"] = ledger["message"].astype(object)[stops]
        if "fingerprint" in ledger.columns:
            result[f"{stage}_fingerprint"] = ledger["fingerprint"].astype(object)
        for column, (owner, key, _, _) in PROVENANCE.items():
            if owner == stage and key in ledger.columns:
                result[column] = ledger[key].astype(object)
        if stage == "volumes":
            for column in [*MEASURES, "missing_reason"]:
                if column in ledger.columns:
                    result[column] = ledger[column].astype(object)
    # a volume is only a result where every stage said ok
    measured = result["status"] == Verdict.OK
    for column in MEASURES:
        result[column] = pd.to_numeric(result[column]).where(measured)
    result["missing_reason"] = result["missing_reason"].where(measured)
    # the index comes from the sample's height, so that a corrected height needs no new mask
    if "height_cm" in people.columns:
        heights = pd.to_numeric(people["height_cm"], errors="coerce")
        result["imi_ml_m2"] = muscle_index(result["total_ml"], heights)
        others = result["missing_reason"].fillna("").str.replace(NO_HEIGHT, "", regex=False)
        needed = result["total_ml"].notna() & result["imi_ml_m2"].isna()
        reasons = others.str.strip("; ") + np.where(needed, "; " + NO_HEIGHT, "")
        result["missing_reason"] = reasons.str.strip("; ").replace("", None)
    return result.reset_index()[list(COLUMNS)]
