"""Segmentation of participants, one or many; reading, network and writing overlap."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.crops import place
from iliopsoas.grid import SIDES
from iliopsoas.network.segmentation.masks import describe
from iliopsoas.network.segmentation.segmenter import Segmenter
from iliopsoas.status import Refused, Verdict

EVALUATED = ["fold", *files.KEY, "side", "dice", "automatic_ml", "manual_ml", "outside_crop_ml"]


@dataclass(frozen=True)
class Subject:
    """What the network and the placement need of one participant.

    Attributes
    ----------
    crops : dict of str to ndarray
        "left", "right" -> normalised crop, float32 (96, 96, 192).
    landmarks : dict
        As for `crops.crop`.
    shape : tuple of int
        Shape of the volume the crops came from.
    """

    crops: dict
    landmarks: dict
    shape: tuple = grid.SHAPE


@dataclass(frozen=True)
class Segmentation:
    """One participant's result.

    Attributes
    ----------
    mask : ndarray (x, y, z), uint8
        1 = left, 2 = right, on the stitched grid.
    record : dict
        Per side: ``<side>_components_removed``, ``<side>_removed_percent``,
        ``<side>_filled_voxels``, ``<side>_filled_percent``, ``<side>_border_voxels`` (of the
        mask, on the crop's faces), ``<side>_mean_probability``, ``<side>_entropy`` (bits),
        ``<side>_soft_percent`` and, with several members, ``sd_ml_<side>``; over both:
        ``mean_probability`` (the lower), ``entropy`` (the higher), ``threshold``, ``members``,
        ``empty_sides``.
    percent : ndarray (x, y, z), uint8, or None
        Probability of muscle in percent, where it was asked for.
    """

    mask: np.ndarray
    record: dict
    percent: np.ndarray | None = None


def segment_subject(
    segmenter: Segmenter, subject: Subject, voxel_ml: float = grid.VOXEL_ML, keep=False
) -> Segmentation:
    """Segment one participant; see `finish` for what comes out and is raised."""
    predicted = segmenter.predict([subject.crops[side] for side in SIDES])
    return finish(segmenter, subject, predicted, voxel_ml, keep)


def finish(
    segmenter: Segmenter, subject: Subject, predicted, voxel_ml=grid.VOXEL_ML, keep=False
) -> Segmentation:
    """Probabilities of both sides to the label map and its record.

    Parameters
    ----------
    predicted : ndarray (members, 2, x, y, z)
        Of `Segmenter.predict`, left first.
    voxel_ml : float
        Volume of a voxel, for the standard deviation in millilitres.
    keep : bool
        Keep the probabilities.

    Raises
    ------
    Refused
        ``segmentation_empty`` where neither side has a voxel.
    """
    mask = np.zeros(subject.shape, np.uint8)
    percent = np.zeros(subject.shape, np.uint8) if keep else None
    record = {"threshold": segmenter.threshold, "members": segmenter.members}
    record |= segmenter.provenance
    empty = []
    for number, side in enumerate(SIDES):
        members = [segmenter.finest(member[number]) for member in predicted]
        mean = members[0] if len(members) == 1 else np.mean(members, axis=0)
        result = segmenter.mask(mean)
        if not result.mask.any():
            empty.append(side)
        described = describe(result, mean)
        record |= {f"{side}_{name}": value for name, value in described.items()}
        if len(members) > 1:
            voxels = [np.count_nonzero(segmenter.mask(member).mask) for member in members]
            record[f"sd_ml_{side}"] = float(np.std(voxels, ddof=1) * voxel_ml)
        placed = place(result.mask, subject.landmarks, side, subject.shape)
        mask[placed] = SIDES[side]
        if keep:
            scaled = np.rint(100 * mean).astype(np.uint8)
            percent = np.maximum(percent, place(scaled, subject.landmarks, side, subject.shape))
    if len(empty) == len(SIDES):
        raise Refused(
            Verdict.SEGMENTATION_EMPTY,
            f"network: no voxel of either crop reaches probability {segmenter.threshold:g}; "
            "expected two muscles",
        )
    record["empty_sides"] = ",".join(empty)
    sides = [side for side in SIDES if side not in empty]
    record["mean_probability"] = min(record[f"{side}_mean_probability"] for side in sides)
    record["entropy"] = max(record[f"{side}_entropy"] for side in sides)
    return Segmentation(mask, record, percent)


def segment_many(
    segmenter: Segmenter,
    subjects: Iterable,
    read: Callable[[object], Subject],
    write: Callable[[object, Segmentation], object] | None = None,
    *,
    voxel_ml: float = grid.VOXEL_ML,
    keep: bool = False,
) -> Iterator[tuple[object, object]]:
    """Segment participants one after another; the next is read, the last written meanwhile.

    Parameters
    ----------
    subjects : iterable
        Anything `read` and `write` understand.
    read : function of a subject to Subject
        Runs in a thread of its own, one participant ahead of the network.
    write : function of a subject and its Segmentation, optional
        Runs in a thread of its own, after post-processing there. What it returns is
        yielded in place of the segmentation, so that masks need not stay in memory.

    Yields
    ------
    subject, result
        In the order of `subjects`. The result is what `write` returned, or the
        `Segmentation`, or the exception that this one participant met: `Refused`, or
        whatever reading or writing raised. `InputError` and an OSError of a full disk
        concern everybody and are for the caller to judge (`shards.outcome_of`); nothing is
        swallowed, and no participant stops another.
    """

    def predict(future):
        subject = future.result()
        return subject, segmenter.predict([subject.crops[side] for side in SIDES])

    def complete(name, subject, predicted):
        result = finish(segmenter, subject, predicted, voxel_ml, keep)
        return result if write is None else write(name, result)

    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    try:
        behind = None
        for name, reading in _one_ahead(reader, read, subjects):
            try:
                outcome = writer.submit(complete, name, *predict(reading))
            except Exception as error:
                outcome = Future()
                outcome.set_exception(error)
            if behind:
                yield behind[0], _outcome(behind[1])
            behind = (name, outcome)
        if behind:
            yield behind[0], _outcome(behind[1])
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown(cancel_futures=True)


def _one_ahead(reader, read, subjects):
    """Pairs of subject and future of its reading; the next one is being read already."""
    waiting = None
    for subject in subjects:
        following = subject, reader.submit(read, subject)
        if waiting:
            yield waiting
        waiting = following
    if waiting:
        yield waiting


def _outcome(future):
    try:
        return future.result()
    except Exception as error:
        return error


def evaluate(
    segmenter: Segmenter,
    reader,
    subjects,
    fold: int,
    normalisation: str = "published",
    voxel_ml: float = grid.VOXEL_ML,
    keep: Callable[[str, str, np.ndarray], None] | None = None,
) -> pd.DataFrame:
    """Compare the network with manual annotations as whole label maps, uncoarsened.

    The mask is what segmentation would place in the volume; the annotation is all of it, with what
    the crop cuts off: Dice and volumes are those of the two label maps on the stitched grid.

    Parameters
    ----------
    reader : crops.CropReader
    subjects : list of str
        ``<eid>_<instance>`` of annotated subjects, not trained on.
    fold : int
    keep : function of subject, side and mask, optional
        Is given every predicted mask, bool (96, 96, 192).

    Returns
    -------
    DataFrame
        fold, eid, instance, side, dice, automatic_ml, manual_ml, outside_crop_ml (of the manual
        volume, what no network can find because its crop does not show it).
    """
    rows = []
    for name in subjects:
        eid, instance = name.rsplit("_", 1)
        predicted = segmenter.predict([reader.read(name, side, normalisation) for side in SIDES])
        for number, side in enumerate(SIDES):
            members = [segmenter.finest(member[number]) for member in predicted]
            mask = segmenter.mask(np.mean(members, axis=0)).mask
            if keep:
                keep(name, side, mask)
            mask[~reader.within(name, side)] = False  # nothing is placed outside the volume
            manual = reader.read_label(name, side).astype(bool)
            whole = reader.label_voxels(name, side)
            automatic = np.count_nonzero(mask)
            both = automatic + whole
            rows.append(
                {
                    "fold": fold,
                    "eid": eid,
                    "instance": instance,
                    "side": side,
                    "dice": 2.0 * np.count_nonzero(mask & manual) / both if both else np.nan,
                    "automatic_ml": automatic * voxel_ml,
                    "manual_ml": whole * voxel_ml,
                    "outside_crop_ml": (whole - np.count_nonzero(manual)) * voxel_ml,
                }
            )
    return pd.DataFrame(rows, columns=EVALUATED)
