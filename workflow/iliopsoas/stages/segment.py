"""Masks of a shard's participants: the network is loaded once, and only where needed."""

import time

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.config import Run
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.shards import Outcome, Shard, Stage, guarded, outcome_of, output_of
from iliopsoas.status import InputError, Verdict

MASKS = ("iliopsoas.nii.gz", "probability.nii.gz")
MANUAL = "manual"  # what the record calls a mask that no network drew
# the network segments whose manual mask cannot be used; the crops' ledger says why it cannot
ANNOTATION_REFUSED = {verdict for verdict in Verdict if verdict.startswith("annotation_")}


def run(
    manifest,
    crops,
    crops_ledger,
    weights,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    crop: dict,
    options: Run,
    manual: bool = False,
) -> pd.DataFrame:
    """Segment a shard.

    Parameters
    ----------
    manifest, crops, crops_ledger, ledger : path
        The shard's participants, their crops with the ledger of these, the ledger written.
    weights : list of path
        One file, or those of an ensemble.
    parameters, crop : dict
        The sections segmentation (without weights) and crops of the configuration.
    manual : bool
        A participant's manual mask, where there is one that can be used, is its mask.
    """
    from iliopsoas.crops import CropReader
    from iliopsoas.network.segmentation import Segmenter, Subject, segment_many

    def inputs(row, earlier):
        paths = getattr(row, "annotation", None)
        if not manual or not isinstance(paths, str):
            return None, {}
        # the content of the files is part of the crops' fingerprint
        return MANUAL, {"annotation": paths.split(";")}

    keep = parameters["keep_probabilities"]
    stage = Stage("segment", MASKS if keep else MASKS[:1], after="crops")
    settings = {key: value for key, value in parameters.items() if key != "batch_size"}  # speed
    shard = Shard(
        stage,
        manifest,
        ledger,
        results=results,
        parts=("segment", version, settings, crop, [files.sha256(path) for path in weights]),
        previous=crops_ledger,
        inputs=inputs,
        options=options,
    )
    for task in [] if keep else shard.tasks:  # of an earlier run, perhaps of other weights
        (task.folder / MASKS[1]).unlink(missing_ok=True)
    for task in shard.pending:
        if task.arguments:
            outcome = guarded(_take_manual, task.folder, stage.outputs, **task.arguments)
            if outcome.verdict not in ANNOTATION_REFUSED:
                shard.finish(task, outcome, outcome.value)
    pending = [task for task in shard.pending if task.key not in shard.own]
    if not pending:
        return shard.close()
    segmenter = Segmenter.configured(weights, parameters, crop)
    reader = CropReader(crops)

    def read(task):
        cut = {side: reader.read(task.name, side, crop["normalisation"]) for side in grid.SIDES}
        with output_of("landmarks", task.folder / LANDMARKS):
            return Subject(cut, files.read_json(task.folder / LANDMARKS))

    def write(task, result):
        with output_of("dixon", task.folder / "body.nii.gz"):
            affine = nib.load(task.folder / "body.nii.gz").affine
        arrays = (result.mask, result.percent)
        for name, array in zip(stage.outputs, arrays, strict=False):
            files.write_nifti(task.folder / name, grid.las_image(array, affine))
        return result.record

    start = time.perf_counter()
    for task, result in segment_many(segmenter, pending, read, write, keep=keep):
        seconds, start = time.perf_counter() - start, time.perf_counter()
        if isinstance(result, InputError):
            raise result
        failed = isinstance(result, Exception)
        outcome = outcome_of(result, seconds) if failed else Outcome(Verdict.OK, "", seconds)
        shard.finish(task, outcome, None if failed else result)
    return shard.close()


def _take_manual(folder, outputs, annotation: list[str]) -> dict:
    """Write a participant's manual mask as its mask; returns the record."""
    from iliopsoas.masks import annotations

    with output_of("dixon", folder / "body.nii.gz"):
        body = nib.load(folder / "body.nii.gz")
        body.get_fdata(dtype="float32")
    mask = annotations.read(annotation, body, body)
    for name, array in zip(outputs, (mask, (mask > 0) * np.uint8(100)), strict=False):
        files.write_nifti(folder / name, grid.las_image(array, body.affine))
    hashes = [files.sha256(path) for path in annotation]
    return {"network": MANUAL, "annotation_sha256": ",".join(hashes)}
