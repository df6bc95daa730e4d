"""Volumes, further measures and the evidence for quality control of a shard's masks."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages import images
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.shards import Shard, Stage, output_of

MASK = "iliopsoas.nii.gz"
PREVIEW = "preview.png"


def participant(folder) -> dict:
    """Measure one participant's mask and draw its preview; returns measures and evidence."""
    from iliopsoas.masks import volumes
    from iliopsoas.qc import evidence, preview

    folder = Path(folder)
    with output_of("segment", folder / MASK):
        image = nib.load(folder / MASK)
        mask = np.asanyarray(image.dataobj)
    with output_of("landmarks", folder / LANDMARKS):
        found = files.read_json(folder / LANDMARKS)
    water, fat, body = (np.asanyarray(image.dataobj) for image in images.load(folder))
    files.write_bytes(folder / PREVIEW, preview.preview(water, mask, found, image.affine))
    measures = volumes.measure(mask, image.affine, water, fat)
    boxes = evidence.crop_boxes(found, mask.shape)
    return measures | evidence.gather(mask, image.affine, water, body, found, boxes)


def run(
    manifest, segment, ledger, *, results, version: int, processes: int, options: Run
) -> pd.DataFrame:
    """Volumes of a shard; `segment` is the ledger before.

    The muscle index is added with the cohort's heights, so that a height changes no image stage.
    """
    shard = Shard(
        Stage("volumes", (PREVIEW,), participant, after="segment"),
        manifest,
        ledger,
        results=results,
        parts=("volumes", version),
        previous=segment,
        options=options,
    )
    return shard.run(processes)
