"""Iliopsoas masks of another tool (TotalSegmentator, VIBESegmentator), on the stitched grid."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from iliopsoas import files, grid
from iliopsoas.masks.label_images import exchanged, load, overlapping, resample, turned
from iliopsoas.status import Refused, Verdict

_MUSCLE = re.compile("psoas|iliacus", re.IGNORECASE)  # in a label's name
_VERDICTS = {
    Verdict.ANNOTATION_UNREADABLE: Verdict.MASK_UNREADABLE,
    Verdict.ANNOTATION_OTHER_SPACE: Verdict.MASK_OTHER_SPACE,
}


def find(folder, patterns: dict, eid, instance) -> dict[str, Path]:
    """Where a participant's masks are expected.

    Parameters
    ----------
    folder : path
        Of the tool's results.
    patterns : dict
        "left", "right" -> path below the folder, in which ``{subject}`` stands for
        ``<EID>_<instance>``, ``{eid}`` and ``{instance}`` for its parts. The same path twice is
        one file with the labels of both sides.
    """
    return {side: file_of(folder, patterns[side], eid, instance) for side in grid.SIDES}


def file_of(folder, pattern: str, eid, instance) -> Path:
    """Where one file of a participant is expected; see `find`."""
    known = {"subject": files.subject_name(eid, instance), "eid": eid, "instance": instance}
    return Path(folder) / pattern.format(**known)


def read(paths: dict, labels: dict[str, Sequence[int]], reference, name: str = "mask"):
    """Another tool's masks of one participant as a label map on the stitched grid.

    Parameters
    ----------
    paths : dict
        "left", "right" -> file; NIfTI, NRRD or MetaImage in any orientation and on any grid of
        the same space: the affine decides, by nearest neighbour.
    labels : dict
        "left", "right" -> the label values that are this side's muscle. Other values are ignored.
    reference : nibabel image
        Image on the stitched grid, voxel order LAS.
    name : str
        What messages call the tool.

    Returns
    -------
    label_map : ndarray of uint8, shape of `reference`
        1 = left, 2 = right. One side may be empty: its volume is then missing.
    record : dict
        ``resampled``: whether the files' grid differs from the stitched one by more than
        the order of its axes; ``<side>_file_ml``: the volume on the file's own grid.

    Raises
    ------
    Refused
        ``mask_missing``, ``mask_unreadable``, ``mask_other_space`` (no usable affine, or outside
        the stitched grid, upside down, back to front), ``mask_empty`` (no voxel of either side,
        only other labels in a side's own file, or labels that the file itself gives another
        name), ``mask_sides_exchanged``
        (left lies to the right: swapped label numbers), ``mask_sides_overlap``.
    """
    grid.require_las(reference, "reference")
    masks = {side: np.zeros(reference.shape, bool) for side in grid.SIDES}
    record = {"resampled": False} | {f"{side}_file_ml": None for side in grid.SIDES}
    layers, values = {}, set()
    for path in dict.fromkeys(paths.values()):
        sides = [side for side in grid.SIDES if paths[side] == path]
        role = f"{name} mask" if len(sides) > 1 else f"{name} mask ({sides[0]})"
        if not path.is_file():
            raise Refused(Verdict.MASK_MISSING, f"{role}: no file where one is expected")
        try:
            layers[path] = load(path, role)
        except Refused as refused:
            raise translated(refused) from None
    for side, path in paths.items():
        if paths["left"] != paths["right"]:
            _require_labels(layers[path], labels[side], f"{name} mask ({side})")
        for layer in layers[path]:
            inside = np.isin(layer.labels, list(labels[side]))
            values |= set(np.unique(layer.labels[layer.labels != 0]).tolist())
            if not inside.any():
                continue
            _require_name(layer, labels[side], f"{name} mask ({side})")
            own_ml = float(inside.sum()) * grid.voxel_ml(layer.affine)
            record[f"{side}_file_ml"] = (record[f"{side}_file_ml"] or 0.0) + own_ml
            record["resampled"] |= not _same_grid(layer, reference)
            try:
                masks[side] |= resample(inside, layer, reference, side)
            except Refused as refused:
                raise translated(refused) from None
    _check(masks, labels, values, name, np.abs(np.diag(reference.affine))[:3])
    label_map = np.zeros(reference.shape, np.uint8)
    label_map[masks["right"]] = grid.RIGHT
    label_map[masks["left"]] = grid.LEFT
    return label_map, record


def _require_labels(layers, asked, role) -> None:
    """Refuse a side's own file whose labels are all others: its muscle would just be missing."""
    found = sorted({int(value) for layer in layers for value in np.unique(layer.labels)} - {0})
    if found and not set(found) & set(asked):
        raise Refused(
            Verdict.MASK_EMPTY, f"{role}: expected label {list(asked)}, found {found[:20]} only"
        )


def _require_name(layer, asked, role) -> None:
    """Refuse numbers of another version of the tool, where the file names its labels."""
    muscle = {value: text for value, text in layer.names.items() if _MUSCLE.search(text)}
    wrong = {value: layer.names[value] for value in asked if value in layer.names.keys() - muscle}
    if muscle and wrong:
        raise Refused(
            Verdict.MASK_EMPTY,
            f"{role}: by the file's own names {wrong} is another structure, and the muscle is "
            f"{muscle}: are the label numbers those of another version of the tool?",
        )


def translated(refused: Refused) -> Refused:
    """The refusal of a manual mask as that of another tool's."""
    return Refused(_VERDICTS.get(refused.verdict, refused.verdict), refused.message)


def _same_grid(layer, reference) -> bool:
    """Whether voxels coincide, up to the order and direction of the axes."""
    step = np.linalg.inv(reference.affine) @ layer.affine
    whole = np.abs(step[:3] - np.rint(step[:3])).max() < 1e-2
    return bool(whole and abs(abs(np.linalg.det(step[:3, :3])) - 1) < 1e-2)


def _check(masks, labels, values, name, spacing):
    if not any(mask.any() for mask in masks.values()):
        found = ", ".join(map(str, sorted(values)[:20])) or "none"
        asked = ", ".join(f"{side} {list(labels[side])}" for side in grid.SIDES)
        raise Refused(
            Verdict.MASK_EMPTY, f"{name} mask: no voxel has a label of {asked}; found: {found}"
        )
    if not all(mask.any() for mask in masks.values()):
        return
    if found := turned(masks, spacing):
        raise Refused(Verdict.MASK_OTHER_SPACE, f"{name} mask: {found}")
    if found := exchanged(masks):
        raise Refused(
            Verdict.MASK_SIDES_EXCHANGED,
            f"{name} mask: {found}: are the label numbers exchanged?",
        )
    if found := overlapping(masks):
        raise Refused(Verdict.MASK_SIDES_OVERLAP, f"{name} mask: {found}")
