"""Masks of another tool: the same measures, evidence and flags as this run's."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.stages import images
from iliopsoas.stages.common import tasks_after
from iliopsoas.stages.shards import Stage


def _participant(folder: str, paths: dict, labels: dict, name: str) -> dict:
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
    points = folder / "landmarks.json"
    found = files.read_json(points) if points.exists() else None
    measures = volumes.measure(mask, affine, water, fat)
    # another tool has no crops of ours that its masks could touch
    return record | measures | evidence.gather(mask, affine, water, body, found, boxes={})


def other_masks(
    manifest, ledger, *, results, method: dict, version: int, processes: int, time_limit_s: float
) -> pd.DataFrame:
    """Bring another tool's masks of a shard to the stitched grid and measure them.

    Parameters
    ----------
    method : dict
        Of section other_methods: name, folder, left_file, right_file, left_labels, right_labels.
    """
    from iliopsoas.masks import other_tools as masks

    name = method["name"]
    patterns = {side: method[f"{side}_file"] for side in grid.SIDES}
    labels = {side: list(method[f"{side}_labels"]) for side in grid.SIDES}

    def arguments(row):
        paths = masks.find(method["folder"], patterns, row.eid, row.instance)
        return {"paths": paths, "labels": labels, "name": name}

    def with_content(task):
        there = [path for path in task.arguments["paths"].values() if path.is_file()]
        content = [files.sha256(path) for path in there]
        return dataclasses.replace(
            task, fingerprint=files.fingerprint(task.fingerprint, len(there), content)
        )

    tasks = tasks_after(
        manifest, results, "dixon", "other", version, labels, patterns, arguments=arguments
    )
    stage = Stage(f"other-{name}", results, (f"other-{name}.nii.gz",))
    return stage.run(_participant, list(map(with_content, tasks)), ledger, processes, time_limit_s)


def other_table(sample, dixon, ledger) -> pd.DataFrame:
    """The volume table of another tool's masks: the columns of results/volumes.tsv."""
    from iliopsoas.masks import volumes

    return volumes.table(sample, {"dixon": dixon, "volumes": ledger})
