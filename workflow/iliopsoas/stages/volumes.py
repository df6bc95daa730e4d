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
from iliopsoas.status import Verdict

MASK = "iliopsoas.nii.gz"
PREVIEW = "preview.png"
PROFILE = "profile.tsv"  # cross-section and fat fraction at every level


def participant(folder, parameters: dict) -> dict:
    """Measure one participant's mask, draw its preview; returns measures and evidence."""
    from iliopsoas.masks import profile, volumes
    from iliopsoas.qc import evidence, preview

    folder = Path(folder)
    with output_of("segment", folder / MASK):
        image = nib.load(folder / MASK)
        mask = np.asanyarray(image.dataobj)
    with output_of("landmarks", folder / LANDMARKS):
        found = files.read_json(folder / LANDMARKS)
    water, fat, body = (np.asanyarray(image.dataobj) for image in images.load(folder))
    files.write_bytes(folder / PREVIEW, preview.preview(water, mask, found, image.affine))
    measures = volumes.measure(mask, image.affine, water, fat, **parameters)
    places = profile.heights(found, image.affine)
    levels = profile.per_level(mask, image.affine, water, fat, places["hip_mm"])
    files.write_tsv(folder / PROFILE, levels)
    boxes = evidence.crop_boxes(found, mask.shape)
    return measures | evidence.gather(mask, image.affine, water, body, found, boxes)


def profiles(ledger: pd.DataFrame, *, results) -> pd.DataFrame:
    """The profiles of a shard's measured participants at places along the muscle."""
    from iliopsoas.grid import las_affine
    from iliopsoas.masks import profile

    rows = []
    for row in ledger[ledger["verdict"] == Verdict.OK].itertuples():
        folder = files.subject_folder(results, row.eid, row.instance)
        with output_of("volumes", folder / PROFILE):
            levels = files.read_tsv(folder / PROFILE)
        with output_of("landmarks", folder / LANDMARKS):
            found = files.read_json(folder / LANDMARKS)
        key = {"eid": row.eid, "instance": row.instance}
        places = profile.heights(found, las_affine())  # heights are differences: any origin does
        rows += [key | side for side in profile.resample(levels, places)]
    return profile.table(rows)


def run(
    manifest,
    segment,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    options: Run,
) -> pd.DataFrame:
    """Volumes of a shard; `segment` is the ledger before, `parameters` the section volumes.

    The muscle index is added with the cohort's heights, so that a height changes no image stage.
    """
    shard = Shard(
        Stage("volumes", (PREVIEW, PROFILE), participant, after="segment"),
        manifest,
        ledger,
        results=results,
        parts=("volumes", version, parameters),
        previous=segment,
        inputs=lambda row, earlier: ((), {"parameters": parameters}),
        options=options,
    )
    return shard.run(processes)
