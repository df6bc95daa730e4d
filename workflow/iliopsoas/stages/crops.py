"""The two crops of a shard's participants, with their manual masks, in one file."""

from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages import images
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.shards import Shard, Stage, execute, output_of
from iliopsoas.status import Refused, Verdict


def participant(folder, annotation: list[str]):
    """Both crops of one participant, and the record of what became of the manual masks."""
    from iliopsoas.crops import Crops

    water, body = images.load(folder, "water.nii.gz", "body.nii.gz")
    path = Path(folder) / LANDMARKS
    with output_of("landmarks", path):
        found = files.read_json(path)
    label_map, record = _annotation(annotation, water, body)
    return record, Crops.of(np.asanyarray(water.dataobj), found, label_map)


def _annotation(paths: list[str], water, body):
    """The label map of a participant's manual masks, and what became of them as a record."""
    from iliopsoas.masks import annotations

    if not paths:
        return None, {"annotation": "none"}
    try:
        label_map = annotations.read(paths, water, body)
    except Refused as refused:
        return None, {"annotation": str(refused.verdict), "annotation_message": refused.message}
    return np.asanyarray(label_map), {"annotation": "ok"}


def run(
    manifest,
    landmarks,
    ledger,
    crops,
    *,
    results,
    version: int,
    processes: int,
    options: Run,
) -> pd.DataFrame:
    """Crops of a shard; who was cropped before with the same inputs is copied over.

    Parameters
    ----------
    manifest, landmarks, ledger : path
        The shard's participants, the ledger before, and the ledger that is written.
    crops : path
        The crop file; see `crops.CropWriter`. ``options.scratch`` is where it is built.
    """
    from iliopsoas.crops import CropWriter

    def inputs(row, earlier):
        paths = row.annotation.split(";") if isinstance(row.annotation, str) else []
        # a file that is not there today is told where it is read
        content = [files.sha256(path) if Path(path).exists() else None for path in paths]
        return content, {"annotation": paths}

    with CropWriter(crops, options.scratch) as writer:
        shard = Shard(
            Stage("crops", (), participant, after="landmarks"),
            manifest,
            ledger,
            results=results,
            parts=("crops", version),
            previous=landmarks,
            inputs=inputs,
            still_there=lambda task: writer.holds(task.name),
            options=options,
        )
        writer.keep({task.name for task in shard.tasks} - {task.name for task in shard.pending})
        for task, outcome in execute(participant, shard.pending, processes, options.time_limit_s):
            record = None
            if outcome.verdict == Verdict.OK:
                record, cut = outcome.value
                writer.add(task.name, cut)
            shard.finish(task, outcome, record)
    return shard.close()
