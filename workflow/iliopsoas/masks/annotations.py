"""Manual masks, drawn in MITK or elsewhere, brought to the stitched grid."""

import json
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from iliopsoas import files, grid
from iliopsoas.masks.label_images import (
    Layer,
    exchanged,
    load,
    overlapping,
    resample,
    stem,
    turned,
    unreadable,
)
from iliopsoas.status import Refused, Verdict

_SIDE_IN_WORDS = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])", re.IGNORECASE)
_SIDE_IN_FILE = re.compile(r"(?<![a-z])(left|right|l|r)$", re.IGNORECASE)
_SIDES_BY_LETTER = {"l": "left", "r": "right"}

COLOURS = {"left": (0.90, 0.10, 0.29), "right": (0.26, 0.39, 0.85)}  # red, green, blue
IN_BODY = 0.8  # least share of a mask that lies within the body


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
        ``<EID>_<instance>_water.nii.gz``; the mask drawn on it is found when it is saved
        without ``_water`` in the folder of annotations. The header names nobody.
    """
    grid.require_las(water, "water")
    path = Path(folder) / f"{files.subject_name(eid, instance)}_water.nii.gz"
    files.write_nifti(path, grid.las_image(np.asanyarray(water.dataobj), water.affine))
    return path


def export_mask(mask, affine, folder, eid, instance) -> Path:
    """Write a mask to be corrected, beside the water image it belongs to.

    Parameters
    ----------
    mask : ndarray of uint8, shape (x, y, z)
        1 = left, 2 = right, in voxel order LAS.
    affine : ndarray (4, 4)
        Of the mask and the water image.
    folder : path
    eid, instance

    Returns
    -------
    Path
        ``<EID>_<instance>_proposed.seg.nrrd``, a segmentation of 3D Slicer and a multilabel one of
        MITK at once: both name and colour left and right. ITK-SNAP opens it too and takes names
        and colours from what `export_descriptions` writes. Corrected and saved without
        ``_proposed`` in the folder of annotations it is an annotation.

    Notes
    -----
    Header keys: 3D Slicer's documentation of segmentation file storage; MITK's
    ``MultiLabelSegmentationIO``, version 1, which newer ones read.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(mask, np.uint8).T))
    image.SetSpacing([float(abs(affine[k, k])) for k in range(3)])
    image.SetOrigin([float(-affine[0, 3]), float(-affine[1, 3]), float(affine[2, 3])])  # LPS
    image.SetDirection([1, 0, 0, 0, -1, 0, 0, 0, 1])
    about = {"Segmentation_MasterRepresentation": "Binary labelmap"}
    labels = []
    for number, (side, value) in enumerate(grid.SIDES.items()):
        name = f"{side} iliopsoas"
        about |= {
            f"Segment{number}_ID": side,
            f"Segment{number}_Name": name,
            f"Segment{number}_Color": " ".join(map(str, COLOURS[side])),
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": "0",
        }
        colour = {"type": "ColorProperty", "value": COLOURS[side]}
        shown = {"locked": False, "opacity": 0.6, "visible": True}
        labels.append({"name": name, "value": value, "color": colour} | shown)
    about |= {
        "modality": "org.mitk.multilabel.segmentation",
        "org.mitk.multilabel.segmentation.version": "1",
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps([{"labels": labels}]),
        "org.mitk.multilabel.segmentation.unlabeledlabellock": "0",
    }
    for key, value in about.items():
        image.SetMetaData(key, value)
    path = Path(folder) / f"{files.subject_name(eid, instance)}_proposed.seg.nrrd"
    with files.atomic(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
    return path


def export_descriptions(folder) -> Path:
    """Write the labels' names and colours for ITK-SNAP: Segmentation, Import Label Descriptions.

    Returns
    -------
    Path
        ``labels_itksnap.txt``: value, red, green, blue, opacity, visible, in meshes, name.
    """
    lines = ['0 0 0 0 0 0 0 "Clear Label"']
    for side, value in grid.SIDES.items():
        colour = " ".join(str(round(255 * part)) for part in COLOURS[side])
        lines.append(f'{value} {colour} 1 1 1 "{side} iliopsoas"')
    path = Path(folder) / "labels_itksnap.txt"
    files.write_text(path, "\n".join(lines) + "\n")
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
        the stitched grid, upside down, back to front. ``annotation_empty``: a side without a
        voxel. ``annotation_sides_exchanged``: left lies to the right. ``annotation_outside_body``.
    """
    grid.require_las(reference, "reference")
    if isinstance(paths, str | PathLike):
        paths = [paths]
    elif not isinstance(paths, Iterable):
        raise TypeError(f"paths: expected one path or several, found {type(paths).__name__}")
    masks = {side: np.zeros(reference.shape, bool) for side in grid.SIDES}
    for layer, value, side in _sides([Path(path) for path in paths]):
        masks[side] |= resample(layer.labels == value, layer, reference, side)
    _check(masks, body, np.abs(np.diag(reference.affine))[:3])
    return _merge(masks)


# --- reading ------------------------------------------------------------------------------------


def _role(path: Path) -> str:
    """What messages call a file: its name would give the participant away."""
    side = _side_of_file(stem(path) or path.stem)
    return f"annotation{f' ({side})' if side else ''} {''.join(path.suffixes[-2:])}"


def _side_of_file(name: str) -> str | None:
    found = _SIDE_IN_FILE.search(name)
    return _SIDES_BY_LETTER[found[1][0].lower()] if found else None


# --- which label is which side ------------------------------------------------------------------


def _sides(paths: list[Path]) -> list[tuple[Layer, int, str]]:
    """Every (layer, label value, side) of a participant's files."""
    if not paths:
        raise Refused(Verdict.ANNOTATION_EMPTY, "annotation: no file")
    by_name = [_side_of_file(stem(path) or "") for path in paths]
    if len(paths) > 1 and not all(by_name):
        raise Refused(
            Verdict.ANNOTATION_UNREADABLE,
            f"annotation: {len(paths)} files, expected one, or one per side whose names end in "
            "_left and _right",
        )
    found = []
    for path, side in zip(paths, by_name, strict=True):
        layers = [(layer, value) for layer in load(path, _role(path)) for value in _values(layer)]
        if side:
            found += [(layer, value, side) for layer, value in layers]
        else:
            found += _sides_of_labels(layers)
    return found


def _values(layer: Layer) -> list[int]:
    return [int(value) for value in np.unique(layer.labels[layer.labels != 0])]


def _side_in(name: str) -> str | None:
    words = {word.lower()[0] for word in _SIDE_IN_WORDS.findall(name)}
    return _SIDES_BY_LETTER[words.pop()] if len(words) == 1 else None


def _sides_of_labels(labels: list[tuple[Layer, int]]) -> list[tuple[Layer, int, str]]:
    """Sides of the labels of one file: by name where names tell, else 1 = left, 2 = right."""
    named = [_side_in(layer.names.get(value, "")) for layer, value in labels]
    if any(named):
        if len(labels) == 2 and None in named:  # one name tells: the other label is the other side
            known = named[0] or named[1]
            other = "right" if known == "left" else "left"
            named = [side or other for side in named]
        unknown = [value for (_, value), side in zip(labels, named, strict=True) if side is None]
        if unknown:
            raise unreadable(
                labels[0][0].file,
                f"labels {unknown} have names that say neither left nor right",
            )
        return [(*label, side) for label, side in zip(labels, named, strict=True)]
    sides = {value: side for side, value in grid.SIDES.items()}
    strange = sorted({value for _, value in labels} - set(sides))
    if strange or len({value for _, value in labels}) < len(labels):
        raise unreadable(
            labels[0][0].file,
            f"found labels {sorted(value for _, value in labels)}, expected 1 = left and "
            "2 = right, or labels named left and right",
        )
    return [(layer, value, sides[value]) for layer, value in labels]


# --- onto the stitched grid ---------------------------------------------------------------------


def _check(masks, body, spacing):
    empty = [side for side, mask in masks.items() if not mask.any()]
    if empty:
        raise Refused(
            Verdict.ANNOTATION_EMPTY, f"annotation: the {' and the '.join(empty)} mask is empty"
        )
    if found := turned(masks, spacing):
        raise Refused(Verdict.ANNOTATION_OTHER_SPACE, f"annotation: {found}")
    if found := exchanged(masks):
        raise Refused(Verdict.ANNOTATION_SIDES_EXCHANGED, f"annotation: {found}")
    if found := overlapping(masks):
        raise Refused(Verdict.ANNOTATION_UNREADABLE, f"annotation: {found}")
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
    labels = np.zeros(left.shape, np.uint8)
    labels[right] = grid.RIGHT
    labels[left & ~both] = grid.LEFT
    if both.any():  # a voxel of both sides goes to the nearer one
        x = (np.nonzero(left)[0].mean() + np.nonzero(right)[0].mean()) / 2
        labels[both] = np.where(np.nonzero(both)[0] > x, grid.LEFT, grid.RIGHT)
    return labels
