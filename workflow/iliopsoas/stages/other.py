"""Masks of another tool: the same measures, evidence and flags as this run's."""

from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.config import Run
from iliopsoas.stages import images
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Shard, Stage
from iliopsoas.status import Refused, Verdict


def participant(folder, paths: dict, labels: dict, name: str) -> dict:
    """Bring one participant's mask of another tool to the stitched grid and measure it."""
    from iliopsoas.masks import volumes
    from iliopsoas.masks.other_tools import read
    from iliopsoas.qc import evidence

    folder = Path(folder)
    water_image, fat_image, body_image = images.load(folder)
    mask, record = read(paths, labels, water_image, name)
    affine = water_image.affine
    files.write_nifti(folder / f"other-{name}.nii.gz", grid.las_image(mask, affine))
    water, fat, body = (
        np.asanyarray(image.dataobj) for image in (water_image, fat_image, body_image)
    )
    points = folder / LANDMARKS
    found = files.read_json(points) if points.exists() else None
    measures = volumes.measure(mask, affine, water, fat)
    # another tool has no crops of ours that its masks could touch
    return record | measures | evidence.gather(mask, affine, water, body, found, boxes={})


def run(
    manifest,
    dixon,
    landmarks,
    ledger,
    *,
    results,
    method: dict,
    version: int,
    processes: int,
    options: Run,
    tool=None,
) -> pd.DataFrame:
    """Measure another tool's masks of a shard.

    Parameters
    ----------
    dixon, landmarks : path
        Ledgers: masks are measured on the stitched images; landmarks, where there are any, are
        evidence for quality control.
    method : dict
        Of section other_methods: name, folder, left_file, right_file, left_labels, right_labels.
    tool : path, optional
        Ledger of the tool's command, where the workflow runs it (`iliopsoas.stages.tool`).
    """
    from iliopsoas.masks import other_tools as masks

    name, points = method["name"], Ledger(landmarks).rows()
    patterns = {side: method[f"{side}_file"] for side in grid.SIDES}
    labels = {side: list(method[f"{side}_labels"]) for side in grid.SIDES}

    drawn = Ledger(tool).rows() if tool else {}

    def inputs(row, earlier):
        state = drawn.get((row.eid, row.instance), {})
        if state.get("verdict", Verdict.OK) != Verdict.OK:
            raise Refused(Verdict(state["verdict"]), state["message"])
        paths = masks.find(method["folder"], patterns, row.eid, row.instance)
        there = [path for path in paths.values() if path.is_file()]
        located = points.get((row.eid, row.instance), {})
        parts = [
            [files.sha256(path) for path in there],
            located.get("verdict"),
            located.get("fingerprint"),
        ]
        return parts, {"paths": paths, "labels": labels, "name": name}

    shard = Shard(
        Stage(f"other-{name}", (f"other-{name}.nii.gz",), participant, after="dixon"),
        manifest,
        ledger,
        results=results,
        parts=("other", version, labels, patterns),
        previous=dixon,
        inputs=inputs,
        options=options,
    )
    return shard.run(processes)


def table(sample, dixon, ledger) -> pd.DataFrame:
    """The volume table of another tool's masks: the columns of results/volumes.tsv."""
    from iliopsoas.masks import volumes

    return volumes.table(sample, {"dixon": dixon, "volumes": ledger})
