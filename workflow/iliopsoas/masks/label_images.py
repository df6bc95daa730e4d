"""Label images as other programs write them: read, checked, brought to the stitched grid.

Sources of the formats: NIfTI-1 standard; NRRD as teem defines it; MITK's multilabel
NRRD in both generations (``org.mitk.multilabel.segmentation.labelgroups``, JSON, and
``org.mitk.label_LAYER_NUMBER``, XML): one layer or several, each with its own labels;
3D Slicer's segmentation NRRD (``SegmentN_Name``, ``_LabelValue``, ``_Layer``); names of labels
in a NIfTI extension, as Connectome Workbench and TotalSegmentator write them
(``CaretExtension/VolumeInformation/LabelTable/Label Key``).
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy.ndimage import affine_transform

from iliopsoas import grid
from iliopsoas.status import Refused, Verdict

SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
BOTH_SIDES = 0.01  # largest share of the smaller mask that the two may have in common
SHORTEST_MM = 100.0  # of a mask whose direction can be told
TURNED_MM = 20.0  # difference, against what is expected, that is no other way of drawing
IN_GRID = 0.9  # least share of a mask's volume that lies within the stitched grid


@dataclass
class Layer:
    """One label image as stored: labels (i, j, k), affine to RAS mm, names of values."""

    file: str
    labels: np.ndarray
    affine: np.ndarray
    names: dict[int, str] = field(default_factory=dict)


def stem(path: Path) -> str | None:
    """File name without its suffix; None where it is no label image's."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def unreadable(file: str, why: str) -> Refused:
    """The refusal of a file that cannot be read as labels."""
    return Refused(Verdict.ANNOTATION_UNREADABLE, f"{file}: {why}")


def load(path: Path, role: str) -> list[Layer]:
    """Read a label image.

    Parameters
    ----------
    path : Path
        With one of `SUFFIXES`.
    role : str
        What messages call the file: its name would give the participant away.

    Raises
    ------
    Refused
        ``annotation_unreadable`` or ``annotation_other_space``.
    """
    if stem(path) is None:
        raise unreadable(role, f"expected a file ending in one of {', '.join(SUFFIXES)}")
    try:
        if path.name.lower().endswith((".nii", ".nii.gz")):
            layers = _load_nifti(path, role)
        else:
            layers = _load_itk(path, role)
    except Refused:
        raise
    # whatever the readers raise on a damaged file, the file cannot be read
    except Exception as error:
        raise unreadable(role, f"cannot be read as an image ({type(error).__name__})") from None
    for layer in layers:
        _check_affine(layer)
        layer.labels = _whole(layer)
    return layers


def _load_nifti(path, role) -> list[Layer]:
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
        raise unreadable(role, f"expected a 3-D mask, found shape {data.shape}")
    return [Layer(role, data, np.asarray(image.affine, dtype=float), _caret_names(header, role))]


def _caret_names(header, role: str) -> dict[int, str]:
    """Names of label values in a NIfTI header's extensions."""
    names = {}
    for extension in header.extensions:
        content = extension.get_content()
        text = content if isinstance(content, bytes) else str(content).encode()
        if b"<CaretExtension" not in text:
            continue
        try:
            labels = ElementTree.fromstring(text.strip(b"\0 \n")).iter("Label")
            names |= {int(label.get("Key")): (label.text or "").strip() for label in labels}
        except (ElementTree.ParseError, TypeError, ValueError):
            raise unreadable(role, "its label names cannot be read") from None
    return names


def _load_itk(path, role) -> list[Layer]:
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
        raise unreadable(role, f"expected a 3-D mask, found size {image.GetSize()}")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine = np.eye(4)
    affine[:3, :3] = direction * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to RAS
    names = _label_names({key: image.GetMetaData(key) for key in keys}, role)
    data = sitk.GetArrayViewFromImage(image)
    count = image.GetNumberOfComponentsPerPixel()
    layers = [data] if count == 1 else [data[..., i] for i in range(count)]
    return [Layer(role, np.array(one.T), affine, names.get(i, {})) for i, one in enumerate(layers)]


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
        raise unreadable(role, "its label names cannot be read") from None


def _check_affine(layer: Layer):
    linear = layer.affine[:3, :3]
    sizes = np.sqrt((linear**2).sum(axis=0))
    usable = np.isfinite(layer.affine).all() and ((sizes > 0.05) & (sizes < 50)).all()
    if not (usable and abs(np.linalg.det(linear)) > 0.5 * np.prod(sizes)):
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE, f"{layer.file}: its affine is not that of an image"
        )


def _whole(layer: Layer) -> np.ndarray:
    """Labels as whole numbers; masks are not probabilities."""
    values = layer.labels
    if values.dtype.kind in "biu":
        return values.astype(np.int64) if values.dtype.kind == "u" else values
    rounded = np.rint(values)
    if not np.isfinite(values).all() or np.abs(values - rounded).max(initial=0) > 1e-3:
        raise unreadable(layer.file, "expected whole-numbered labels, found fractions")
    return rounded.astype(np.int64)


def resample(mask, layer: Layer, reference, side: str) -> np.ndarray:
    """Nearest neighbour onto the reference's grid, by both affines.

    Parameters
    ----------
    mask : ndarray of bool, shape of the layer's labels
        With at least one voxel.
    layer : Layer
    reference : nibabel image
    side : str
        For the message.

    Raises
    ------
    Refused
        ``annotation_other_space`` where less than `IN_GRID` of the mask lies on the grid.
    """
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
        place = nib.affines.apply_affine(reference.affine, placed.T)
        raise Refused(
            Verdict.ANNOTATION_OTHER_SPACE,
            f"{layer.file}: {kept:.0f} of {volume:.0f} ml of the {side} mask lie within the "
            "stitched volume: by its affine the mask belongs to another image "
            f"({_apart(place, reference)})",
        )
    return result


def _apart(corners, reference) -> str:
    """Along which axis a mask lies outside the grid, in RAS millimetres."""
    ends = nib.affines.apply_affine(
        reference.affine, [[-0.5] * 3, [n - 0.5 for n in reference.shape]]
    )
    found = []
    for axis, name in enumerate(("x, to the right", "y, to the front", "z, to the head")):
        low, high = corners[:, axis].min(), corners[:, axis].max()
        first, last = sorted(ends[:, axis])
        if low < first - 1 or high > last + 1:
            found.append(f"{name}: {low:.0f} to {high:.0f} mm, volume {first:.0f} to {last:.0f} mm")
    return "; ".join(found) or "between its slices"


def turned(masks: dict[str, np.ndarray], spacing) -> str | None:
    """What speaks for a mask that is upside down or back to front; None where nothing does.

    From its origin beside the spine the iliopsoas goes outward and forward: in the levels of two
    public CT annotations the muscles are 51 to 57 mm apart at the top, 180 to 210 mm at the bottom,
    and lie 58 mm farther to the front at 10 to 35 % of the height than in the upper quarter.

    Parameters
    ----------
    masks : dict
        As for `exchanged`.
    spacing : sequence of float
        Millimetres along x, y, z.
    """
    levels = np.flatnonzero(masks["left"].any(axis=(0, 1)) & masks["right"].any(axis=(0, 1)))
    if len(levels) * spacing[2] < SHORTEST_MM:
        return None
    x, y = (
        np.array([[_middle(masks[side], z, axis) for z in levels] for side in ("left", "right")])
        * spacing[axis]
        for axis in (0, 1)
    )
    apart, front, found = x[0] - x[1], y.mean(axis=0), []
    end = max(1, len(levels) * 15 // 100)
    low, high = apart[:end].mean(), apart[-end:].mean()
    if high > low + TURNED_MM:
        found.append(
            f"head and feet exchanged: the sides are {high:.0f} mm apart at the top and "
            f"{low:.0f} mm at the bottom, expected the other way round"
        )
        front = front[::-1]
    cut = [round(len(levels) * share) for share in (0.1, 0.35, 0.75)]
    ahead = front[cut[0] : cut[1]].mean() - front[cut[2] :].mean()
    if ahead < -TURNED_MM:
        found.append(
            f"front and back exchanged: the lower third lies {-ahead:.0f} mm behind the upper end, "
            "expected in front of it"
        )
    return " and ".join(found) or None


def _middle(mask, z: int, axis: int) -> float:
    counts = mask[:, :, z].sum(axis=1 - axis)
    return float(np.average(np.arange(len(counts)), weights=counts))


def exchanged(masks: dict[str, np.ndarray]) -> str | None:
    """What speaks for left and right being exchanged; None where nothing does.

    `masks`: "left", "right" -> ndarray of bool on the LAS grid, neither of them empty.
    """
    x = {side: np.nonzero(mask)[0].mean() for side, mask in masks.items()}
    if x["left"] > x["right"]:
        return None
    return (
        f"left lies at x {x['left']:.0f}, right at {x['right']:.0f}; x grows to the patient's left"
    )


def overlapping(masks: dict[str, np.ndarray]) -> str | None:
    """What speaks for one muscle drawn twice; None up to `BOTH_SIDES` of the smaller mask.

    `masks`: as for `exchanged`.
    """
    left, right = masks["left"], masks["right"]
    common = (left & right).sum() / min(left.sum(), right.sum())
    return f"{common:.0%} of the smaller side belong to both" if common > BOTH_SIDES else None
