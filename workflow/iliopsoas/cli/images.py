"""Scans of any form to water, fat and body images."""

from pathlib import Path

import nibabel as nib
import numpy as np

from iliopsoas import grid
from iliopsoas.dixon import process_scan
from iliopsoas.dixon.body import body_mask, require_body
from iliopsoas.landmarks import posture
from iliopsoas.landmarks.silhouette import on_stitched_grid
from iliopsoas.status import InputError, Refused, Verdict

NIFTI = (".nii", ".nii.gz")
NEGATIVE = 0.05  # deepest value below 0 that interpolation makes, as a share of the highest
LEVELS = 16  # an image has more
SAMPLE = 100_000  # values looked at for that
OUTLIER = 200.0  # times the 99th percentile: 150 of the 32,000 steps would be left below it


def is_nifti(path) -> bool:
    return Path(path).name.lower().endswith(NIFTI)


def read(scan, fat=None) -> tuple:
    """Water, fat (None where not given) and body of a zip, a DICOM folder or a water NIfTI.

    Returns
    -------
    water, fat, body : nibabel image or None
        Voxel order LAS, one grid.
    record : dict
        How they were made.

    Raises
    ------
    Refused
        The scan cannot be used.
    InputError
        Images that do not fit together.
    """
    if not is_nifti(scan):
        if fat is not None:
            raise InputError("fat image: only together with a stitched water NIfTI as scan")
        result = process_scan(scan)
        return result.water, result.fat, result.body, {"source": "dicom"} | result.record
    water = load(scan, "water image")
    second = None if fat is None else load(fat, "fat image")
    arrays = [np.asarray(water.dataobj, dtype=np.float32)]
    if second is not None:
        if second.shape != water.shape or not np.allclose(second.affine, water.affine, atol=1e-2):
            raise InputError(
                f"fat image: expected the water image's grid {water.shape}, found {second.shape}"
                " or another affine"
            )
        arrays.append(np.asarray(second.dataobj, dtype=np.float32))
    roles = ("water image", "fat image")
    scale = _scale(dict(zip(roles, arrays, strict=False)))
    body = _body(arrays, water.affine)
    images = [
        grid.las_image(np.rint(array * scale).astype(np.int16), water.affine) for array in arrays
    ]
    record = {"source": "nifti", "intensity_scale": scale}
    return images[0], images[1] if fat is not None else None, body, record


def load(path, what: str):
    """A NIfTI image, turned to voxel order LAS."""
    path = Path(path)
    if not path.exists():
        raise Refused(Verdict.SCAN_MISSING, f"{what}: no such file, expected a NIfTI image")
    try:
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # whatever nibabel meets in a damaged file
        raise Refused(
            Verdict.UNREADABLE_PIXELS,
            f"{what}: cannot be read as NIfTI ({type(error).__name__}); is the file complete?",
        ) from None
    if array.dtype.kind not in "biuf":
        raise Refused(
            Verdict.IMAGE_VALUES, f"{what}: expected one real number a voxel, found {array.dtype}"
        )
    if array.ndim != 3:
        raise InputError(f"{what}: expected a 3-D volume, found shape {array.shape}")
    header = image.header
    if not (int(header.get("sform_code", 1)) or int(header.get("qform_code", 1))):
        raise InputError(f"{what}: neither sform nor qform is set: left and right are not known")
    target = nib.orientations.axcodes2ornt(("L", "A", "S"))
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
    image = image.as_reoriented(turn)
    if not grid.is_las(image.affine):
        raise Refused(Verdict.OBLIQUE, f"{what}: its axes are not the patient's; expected no angle")
    return image


def _scale(arrays: dict) -> float:
    """A power of two that brings intensities into int16 without losing their steps.

    `arrays`: role to image. Values below 0, which interpolation makes, become 0.
    """
    for role, array in arrays.items():
        _require_magnitudes(role, array)
        np.maximum(array, 0, out=array)
    top = max(float(array.max()) for array in arrays.values())
    if top <= 0:
        raise Refused(Verdict.CHANNEL_EMPTY, "image: no voxel above 0")
    scale = 1.0
    while top * scale > 32_000:
        scale /= 2
    while top * scale < 100:
        scale *= 2
    return scale


def _require_magnitudes(role, array) -> None:
    """Refuse what is no magnitude image: values of a CT, a phase, labels, a few of them huge."""
    if not np.isfinite(array).all():
        raise Refused(Verdict.IMAGE_VALUES, f"{role}: some values are not finite")
    low, high = float(array.min()), float(array.max())
    said = f"{role}: values from {low:g} to {high:g}"
    if low < -NEGATIVE * max(high, 0):
        raise Refused(Verdict.IMAGE_VALUES, f"{said}; expected magnitudes, which are not negative")
    signal = array[array > 0]
    if not signal.size:
        return
    if len(np.unique(signal[:: max(1, signal.size // SAMPLE)])) < LEVELS:
        raise Refused(
            Verdict.IMAGE_VALUES, f"{said} in fewer than {LEVELS} steps; expected an image, no mask"
        )
    usual = float(np.percentile(signal, 99))
    if high > OUTLIER * usual:
        raise Refused(
            Verdict.IMAGE_VALUES,
            f"{said}, but 99 % of the signal lie below {usual:g}: in 16 bits the body would have "
            "no steps left; remove the few highest values",
        )


def _body(arrays, affine):
    signal = sum(arrays)
    covered = signal.any(axis=(0, 1))
    mask = body_mask(signal, covered)
    require_body(mask, grid.voxel_ml(affine))
    body = grid.las_image(mask, affine)
    try:
        on_stitched_grid(body)
    except ValueError as error:
        raise InputError(f"water image: {error}") from None
    posture.require_upright(body, "water image")
    return body
