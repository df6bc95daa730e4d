"""Volumes, further measures and the evidence for quality control of a shard's masks."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.config import Run, Vertebrae
from iliopsoas.stages import images
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.shards import Shard, Stage, output_of
from iliopsoas.status import Verdict

MASK = "iliopsoas.nii.gz"
PREVIEW = "preview.png"
PROFILE = "profile.tsv"  # cross-section and fat fraction at every level


def participant(folder, parameters: dict, vertebrae: dict | None = None) -> dict:
    """Measure one participant's mask, draw its preview; returns measures, levels and evidence.

    `vertebrae`: `mask` of `masks.vertebrae.heights`.
    """
    from iliopsoas.masks import profile, volumes
    from iliopsoas.masks import vertebrae as spine
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
    places = spine.heights(found, image.affine, vertebrae)
    levels = profile.per_level(mask, image.affine, water, fat, places["hip_mm"])
    files.write_tsv(folder / PROFILE, levels)
    boxes = evidence.crop_boxes(found, mask.shape)
    seen = evidence.gather(mask, image.affine, water, body, found, boxes)
    return measures | seen | profile.places_of(places)


def profiles(ledger: pd.DataFrame, *, results) -> pd.DataFrame:
    """The profiles of a shard's measured participants at places along the muscle."""
    from iliopsoas.masks import profile

    rows = []
    for row in ledger[ledger["verdict"] == Verdict.OK].to_dict("records"):
        folder = files.subject_folder(results, row["eid"], row["instance"])
        with output_of("volumes", folder / PROFILE):
            levels = files.read_tsv(folder / PROFILE)
        key = {name: row[name] for name in files.KEY}
        rows += [key | side for side in profile.resample(levels, row)]
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
    vertebrae: Vertebrae | None = None,
) -> pd.DataFrame:
    """Volumes of a shard; `segment` is the ledger before, `parameters` the section volumes.

    The muscle index is added with the cohort's heights, so that a height changes no image stage.
    """
    from iliopsoas.masks.other_tools import file_of

    def inputs(row, earlier):
        arguments = {"parameters": parameters}
        if vertebrae is None:
            return (), arguments
        path = file_of(vertebrae.folder, vertebrae.file, row.eid, row.instance)
        arguments["vertebrae"] = {"path": path, "labels": vertebrae.labels}
        return (files.sha256(path) if path.is_file() else None, vertebrae.labels), arguments

    shard = Shard(
        Stage("volumes", (PREVIEW, PROFILE), participant, after="segment"),
        manifest,
        ledger,
        results=results,
        parts=("volumes", version, parameters),
        previous=segment,
        inputs=inputs,
        options=options,
    )
    return shard.run(processes)
