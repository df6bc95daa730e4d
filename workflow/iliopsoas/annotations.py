"""Manual masks, drawn in MITK or elsewhere, brought to the stitched grid.

Sources of the formats: NIfTI-1 standard; NRRD as teem defines it; MITK's multilabel
NRRD in both generations (``org.mitk.multilabel.segmentation.labelgroups``, JSON, and
``org.mitk.label_LAYER_NUMBER``, XML): one layer or several, each with its own labels;
3D Slicer's segmentation NRRD (``SegmentN_Name``, ``_LabelValue``, ``_Layer``).
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy.ndimage import affine_transform

from iliopsoas import files, grid
from iliopsoas.status import Refused, Verdict

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
_SIDE_IN_WORDS = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])", re.IGNORECASE)
_SIDE_IN_FILE = re.compile(r"[-_. ](left|right)$", re.IGNORECASE)

IN_BODY = 0.8  # least share of a mask that lies within the body
IN_GRID = 0.9  # least share of a mask's volume that lies within the stitched grid
BOTH_SIDES = 0.01  # largest share of the smaller mask that the two may have in common


@dataclass
class _Layer:
    """One label image as stored: labels (i, j, k), affine to RAS mm, names of values."""

    file: str
    labels: np.ndarray
    affine: np.ndarray
    names: dict[int, str] = field(default_factory=dict)


def find(folder, eid, instance) -> list[Path]:
    """Annotation files of one participant and visit.

    Parameters
    ----------
    folder : path
        Holds ``<EID>_<instance>`` or ``<EID>_<instance>_left`` and ``_right``, with one of
        `SUFFIXES`.

    Returns
    -------
    list of Path
        Sorted; empty where there is none.
    """
    name = re.compile(
        rf"{re.escape(str(eid))}_{re.escape(str(instance))}([-_. ](left|right))?", re.IGNORECASE
    )
    return sorted(
        path
        for path in Path(folder).glob(f"{eid}_{instance}*")
        if path.is_file() and (stem := _stem(path)) is not None and name.fullmatch(stem)
    )


def export(water, folder, eid, instance) -> Path:
    """Write a water image to draw on.

    Parameters
    ----------
    water : nibabel image
        Stitched water volume, voxel order LAS.
    folder : path
    eid, instance

    Returns
    -------
    Path
        ``<EID>_<instance>_water.nii.gz``; the mask drawn on it is found by `find` when it
        is saved beside it without ``_water``. The header names nobody.
    """
    grid.require_las(water, "water")
    path = Path(folder) / f"{files.subject_name(eid, instance)}_water.nii.gz"
    files.write_nifti(path, grid.las_image(np.asanyarray(water.dataobj), water.affine))
    return path


def read(paths, reference, body) -> np.ndarray:
    """One participant's manual masks as a label map on the stitched grid.

    Parameters
    ----------
    paths : path or list of path
        One file with both sides, or one per side whose name ends in ``_left`` or ``_right``.
        With both sides in a file, labels whose names (MITK, 3D Slicer) say left or right decide;
        without such names 1 = left, 2 = right. Any orientation: the affine decides.
    reference : nibabel image
        Image on the stitched grid, voxel order LAS, such as the water volume.
    body : nibabel image or ndarray
        Body mask on the same grid.

    Returns
    -------
    ndarray of uint8, shape of `reference`
        1 = left, 2 = right.

    Raises
    ------
    Refused
        ``annotation_unreadable``: no image, values that are no labels, sides that cannot be
        told, masks that overlap. ``annotation_other_space``: no usable affine, or outside
        the stitched grid. ``annotation_empty``: a side without a voxel.
        ``annotation_sides_exchanged``: left lies to the right. ``annotation_outside_body``.
    """
    grid.require_las(reference, "reference")
    if isinstance(paths, str | PathLike):
        paths = [paths]
    elif not isinstance(paths, Iterable):
        raise TypeError(f"paths: expected one path or several, found {type(paths).__name__}")
    masks = {side: np.zeros(reference.shape, bool) for side in grid.SIDES}
    for layer, value, side in _sides([Path(path) for path in paths]):
        masks[side] |= _resample(layer.labels == value, layer, reference, side)
    _check(masks, body)
    return _merge(masks)


# --- reading ------------------------------------------------------------------------------------


def _stem(path: Path) -> str | None:
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def _role(path: Path) -> str:
    """What messages call a file: its name would give the participant away."""
    side = _SIDE_IN_FILE.search(_stem(path) or path.stem)
    return f"annotation{f' ({side[1].lower()})' if side else ''} {''.join(path.suffixes[-2:])}"


def _unreadable(file: str, why: str):
    return Refused(Verdict.ANNOTATION_UNREADABLE, f"{file}: {why}")


def _load(path: Path) -> list[_Layer]:
    role = _role(path)
    if _stem(path) is None:
        raise _unreadable(role, f"expected a file ending in one of {', '.join(SUFFIXES)}")
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            layers = _load_nifti(path, role)
        else:
            layers = _load_itk(path, role)
    except Refused:
        raise
    # whatever the readers raise on a damaged file, the file cannot be read
    except Exception as error:
        raise _unreadable(role, f"cannot be read as an image ({type(error).__name__})") from None
    for layer in layers:
        _check_affine(layer)
        layer.labels = _whole(layer)
    return layers


def _load_nifti(path, role) -> list[_Layer]:
    image = nib.load(path)
    header = image.header
    if not (int(header["sform_code"]) or int(header["qform_code"])):
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE,
            f"{role}: neither sform nor qform is set, so its place in the body is not known; "
            "save the mask with the affine of the water image",
        )
    data = np.asanyarray(image.dataobj)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise _unreadable(role, f"expected a 3-D mask, found shape {data.shape}")
    return [_Layer(role, data, np.asarray(image.affine, dtype=float))]


def _load_itk(path, role) -> list[_Layer]:
    image = sitk.ReadImage(str(path))
    keys = image.GetMetaDataKeys()
    if path.suffix.lower() in {".nrrd", ".nhdr"} and "NRRD_space" not in keys:
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE,
            f"{role}: the NRRD header names no space, so its place in the body is not known; "
            "save the mask with the geometry of the water image",
        )
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    if image.GetDimension() != 3:
        raise _unreadable(role, f"expected a 3-D mask, found size {image.GetSize()}")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to RAS
    names = _label_names({key: image.GetMetaData(key) for key in keys}, role)
    data = sitk.GetArrayViewFromImage(image)
    count = image.GetNumberOfComponentsPerPixel()
    layers = [data] if count == 1 else [data[..., i] for i in range(count)]
    return [_Layer(role, np.array(one.T), affine, names.get(i, {})) for i, one in enumerate(layers)]


def _label_names(header: dict, role: str) -> dict[int, dict[int, str]]:
    """Names of label values per layer: MITK's two generations, 3D Slicer."""
    groups = header.get("org.mitk.multilabel.segmentation.labelgroups")
    try:
        if groups is not None:
            return {
                layer: {int(label["value"]): str(label.get("name", "")) for label in labels}
                for layer, labels in enumerate((g.get("labels") or []) for g in json.loads(groups))
            }
        names = {}
        for key, text in header.items():
            if found := re.fullmatch(r"org[._]mitk[._]label_(\d+)_(\d+)", key):
                label = ElementTree.fromstring(text.replace("\\n", "\n"))
                values = {
                    item.get("key"): item[0].get("value")
                    for item in label.iter("property")
                    if len(item)
                }
                if int(values.get("value", 0)):
                    layer = names.setdefault(int(found[1]), {})
                    layer[int(values["value"])] = values.get("name") or ""
            elif found := re.fullmatch(r"Segment(\d+)_LabelValue", key):
                segment = f"Segment{found[1]}"
                layer = names.setdefault(int(header.get(f"{segment}_Layer", 0)), {})
                layer[int(text)] = header.get(f"{segment}_Name", "")
        return names
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError):
        raise _unreadable(role, "its label names cannot be read") from None


def _check_affine(layer: _Layer):
    linear = layer.affine[:3, :3]
    sizes = np.sqrt((linear**2).sum(axis=0))
    usable = np.isfinite(layer.affine).all() and ((sizes > 0.05) & (sizes < 50)).all()
    if not (usable and abs(np.linalg.det(linear)) > 0.5 * np.prod(sizes)):
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE, f"{layer.file}: its affine is not that of an image"
        )


def _whole(layer: _Layer) -> np.ndarray:
    """Labels as whole numbers; masks are not probabilities."""
    values = layer.labels
    if values.dtype.kind in "biu":
        return values.astype(np.int64) if values.dtype.kind == "u" else values
    rounded = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - rounded).max(initial=0) > 1e-3:
        raise _unreadable(layer.file, "expected whole-numbered labels, found fractions")
    return rounded.astype(np.int64)


# --- which label is which side ------------------------------------------------------------------


def _sides(paths: list[Path]) -> list[tuple[_Layer, int, str]]:
    """Every (layer, label value, side) of a participant's files."""
    if not paths:
        raise Refused(Verdict.ANNOTATION_EMPTY, "annotation: no file")
    by_name = [_SIDE_IN_FILE.search(_stem(path) or "") for path in paths]
    if len(paths) > 1 and not all(by_name):
        raise Refused(
            Verdict.ANNOTATION_UNREADABLE,
            f"annotation: {len(paths)} files, expected one, or one per side whose names end in "
            "_left and _right",
        )
    found = []
    for path, side in zip(paths, by_name, strict=True):
        layers = [(layer, value) for layer in _load(path) for value in _values(layer)]
        if side:
            found += [(layer, value, side[1].lower()) for layer, value in layers]
        else:
            found += _sides_of_labels(layers)
    return found


def _values(layer: _Layer) -> list[int]:
    return [int(value) for value in np.unique(layer.labels[layer.labels != 0])]


def _side_in(name: str) -> str | None:
    words = {word.lower()[0] for word in _SIDE_IN_WORDS.findall(name)}
    return {"l": "left", "r": "right"}[words.pop()] if len(words) == 1 else None


def _sides_of_labels(labels: list[tuple[_Layer, int]]) -> list[tuple[_Layer, int, str]]:
    """Sides of the labels of one file: by name where names tell, else 1 = left, 2 = right."""
    named = [_side_in(layer.names.get(value, "")) for layer, value in labels]
    if any(named):
        if len(labels) == 2 and None in named:  # one name tells: the other label is the other side
            known = named[0] or named[1]
            other = "right" if known == "left" else "left"
            named = [side or other for side in named]
        unknown = [value for (_, value), side in zip(labels, named, strict=True) if side is None]
        if unknown:
            raise _unreadable(
                labels[0][0].file,
                f"labels {unknown} have names that say neither left nor right",
            )
        return [(*label, side) for label, side in zip(labels, named, strict=True)]
    sides = {value: side for side, value in grid.SIDES.items()}
    strange = sorted({value for _, value in labels} - set(sides))
    if strange or len({value for _, value in labels}) < len(labels):
        raise _unreadable(
            labels[0][0].file,
            f"found labels {sorted(value for _, value in labels)}, expected 1 = left and "
            "2 = right, or labels named left and right",
        )
    return [(layer, value, sides[value]) for layer, value in labels]


# --- onto the stitched grid ---------------------------------------------------------------------


def _resample(mask, layer: _Layer, reference, side: str) -> np.ndarray:
    """Nearest neighbour onto the reference's grid, by both affines."""
    to_mask = np.linalg.inv(layer.affine) @ reference.affine
    # corners of the mask's own bounding box say where in the reference it can lie
    found = np.argwhere(mask)
    low, high = found.min(axis=0) - 0.5, found.max(axis=0) + 0.5
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1)
    to_reference = np.linalg.inv(to_mask)
    placed = to_reference[:3, :3] @ corners + to_reference[:3, 3:]
    start = np.clip(np.floor(placed.min(axis=1)).astype(int), 0, reference.shape)
    stop = np.clip(np.ceil(placed.max(axis=1)).astype(int) + 1, 0, reference.shape)
    result = np.zeros(reference.shape, bool)
    if (stop > start).all():
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        result[box] = affine_transform(
            mask.astype(np.uint8),
            to_mask[:3, :3],
            offset=to_mask[:3, 3] + to_mask[:3, :3] @ start,
            output_shape=tuple(stop - start),
            order=0,
            mode="constant",
        )
    volume = len(found) * grid.voxel_ml(layer.affine)
    kept = result.sum() * grid.voxel_ml(reference.affine)
    if kept < IN_GRID * volume - 50 * grid.voxel_ml(reference.affine):
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE,
            f"{layer.file}: {kept:.0f} of {volume:.0f} ml of the {side} mask lie within the "
            "stitched volume: by its affine the mask belongs to another image",
        )
    return result


def _check(masks, body):
    empty = [side for side, mask in masks.items() if not mask.any()]
    if empty:
        raise Refused(
            Verdict.ANNOTATION_EMPTY, f"annotation: the {' and the '.join(empty)} mask is empty"
        )
    x = {side: np.nonzero(mask)[0].mean() for side, mask in masks.items()}
    if x["left"] <= x["right"]:
        raise Refused(
            Verdict.ANNOTATION_SIDES_EXCHANGED,
            f"annotation: the left mask lies at x {x['left']:.0f}, the right at {x['right']:.0f}; "
            "x grows to the patient's left",
        )
    inside = np.asanyarray(getattr(body, "dataobj", body)) > 0
    if inside.shape != masks["left"].shape:
        raise ValueError(f"body: expected shape {masks['left'].shape}, found {inside.shape}")
    for side, mask in masks.items():
        share = inside[mask].mean()
        if share < IN_BODY:
            raise Refused(
                Verdict.ANNOTATION_OUTSIDE_BODY,
                f"annotation: {share:.0%} of the {side} mask lie within the body, expected at "
                f"least {IN_BODY:.0%}",
            )


def _merge(masks) -> np.ndarray:
    left, right = masks["left"], masks["right"]
    both = left & right
    common = both.sum() / min(left.sum(), right.sum())
    if common > BOTH_SIDES:
        raise Refused(
            Verdict.ANNOTATION_UNREADABLE,
            f"annotation: {common:.0%} of the smaller mask belong to both sides",
        )
    labels = np.zeros(left.shape, np.uint8)
    labels[right] = grid.RIGHT
    labels[left & ~both] = grid.LEFT
    if common:  # a voxel of both sides goes to the nearer one
        x = (np.nonzero(left)[0].mean() + np.nonzero(right)[0].mean()) / 2
        labels[both] = np.where(np.nonzero(both)[0] > x, grid.LEFT, grid.RIGHT)
    return labels
