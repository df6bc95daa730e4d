"""The image stages of a shard: dixon, landmarks, crops, volumes."""

import dataclasses
from pathlib import Path

import nibabel as nib
import pandas as pd

from iliopsoas import files
from iliopsoas.logs import Progress
from iliopsoas.stages import images
from iliopsoas.stages.common import tasks_after
from iliopsoas.stages.shards import Stage, Task, execute, in_order, read_state
from iliopsoas.status import Refused, Verdict


def _dixon_participant(folder: str, scan: str, content: str, parameters: dict) -> dict:
    from iliopsoas.dixon import process_scan

    result = process_scan(scan, **parameters)
    images.save(folder, (result.water, result.fat, result.body))
    return {"scan_sha256": files.sha256(scan), "scan_content": content} | result.record


def dixon(
    manifest,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    time_limit_s: float,
    retry=(),
    keep: str = "everything",
) -> pd.DataFrame:
    """Zips of a shard to water, fat and body images; returns the ledger it writes.

    With `keep` "results", images that were removed after their use count as done.
    """
    from iliopsoas.ukb.fingerprint import content_fingerprint

    removed = dict.fromkeys(images.LARGE, images.NOTE) if keep == "results" else {}
    stage = Stage("dixon", results, images.IMAGES, retry, instead=removed)
    tasks = []
    for row in files.read_tsv(manifest).itertuples():
        content = content_fingerprint(row.scan)
        if content == "missing":  # a scan that is not mounted today does not undo its results
            state = read_state(results, row.eid, row.instance, "dixon") or {"record": {}}
            content = state["record"].get("scan_content", content)
        folder = files.subject_folder(results, row.eid, row.instance)
        images.follow(folder, row.scan, content)
        arguments = {
            "folder": str(folder),
            "scan": row.scan,
            "content": content,
            "parameters": parameters,
        }
        fingerprint = files.fingerprint("dixon", version, parameters, content)
        tasks.append(Task(row.eid, row.instance, fingerprint, arguments))
    return stage.run(_dixon_participant, tasks, ledger, processes, time_limit_s)


def _landmarks_participant(folder: str, parameters: dict) -> dict:
    from iliopsoas import landmarks

    folder = Path(folder)
    water, fat, body = images.load(folder)
    found, record = landmarks.locate_with_record(body, water, fat, **parameters)
    landmarks.assess(found, body)
    files.write_json(folder / "landmarks.json", found)
    return record


def landmarks(
    manifest,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    time_limit_s: float,
    retry=(),
) -> pd.DataFrame:
    """Landmarks of a shard's participants."""
    tasks = tasks_after(
        manifest,
        results,
        "dixon",
        "landmarks",
        version,
        parameters,
        arguments=lambda row: {"parameters": parameters},
    )
    stage = Stage("landmarks", results, ("landmarks.json",), retry)
    return stage.run(_landmarks_participant, tasks, ledger, processes, time_limit_s)


def _annotation(paths: list[str], water, body):
    """The label map of a participant's manual masks, and what became of them as a record."""
    if not paths:
        return None, {"annotation": "none"}

    import numpy as np

    from iliopsoas.masks import annotations

    try:
        label_map = annotations.read(paths, water, body)
    except Refused as refused:
        return None, {"annotation": str(refused.verdict), "annotation_message": refused.message}
    return np.asanyarray(label_map), {"annotation": "ok"}


def _crops_participant(folder: str, annotation: list[str]):
    import numpy as np

    from iliopsoas.crops import Crops

    folder = Path(folder)
    water, body = images.load(folder, "water.nii.gz", "body.nii.gz")
    found = files.read_json(folder / "landmarks.json")
    label_map, record = _annotation(annotation, water, body)
    cut = Crops.of(np.asanyarray(water.dataobj), found, label_map)
    return record, cut


def crops(
    manifest,
    crops,
    ledger,
    *,
    results,
    version: int,
    processes: int,
    time_limit_s: float,
    retry=(),
    scratch: str | None = None,
) -> pd.DataFrame:
    """Both crops of a shard's participants, with their manual masks, in one file.

    `scratch` is the folder where that file is built; see `files.atomic`.
    """
    from iliopsoas.crops import CropWriter

    def annotation_of(row):
        paths = row.annotation.split(";") if isinstance(row.annotation, str) else []
        return {"annotation": paths}

    tasks = [
        dataclasses.replace(
            task,
            fingerprint=files.fingerprint(
                task.fingerprint, [files.sha256(path) for path in task.arguments["annotation"]]
            ),
        )
        for task in tasks_after(
            manifest, results, "landmarks", "crops", version, arguments=annotation_of
        )
    ]
    stage = Stage("crops", results, retry=retry)
    stage.pending(tasks)  # records who is blocked
    todo = [task for task in tasks if not task.blocked]
    progress = Progress("crops", len(todo))
    with CropWriter(crops, scratch) as writer:
        for task, outcome in in_order(
            todo, execute(_crops_participant, todo, processes, time_limit_s)
        ):
            record = None
            if outcome.verdict == Verdict.OK:
                record, cut = outcome.value
                writer.add(files.subject_name(task.eid, task.instance), cut)
            stage.finish(task, outcome, record)
            progress.step(outcome.verdict)
    return stage.write_ledger(ledger, tasks)


def _volumes_participant(folder: str) -> dict:
    import numpy as np

    from iliopsoas.masks import volumes
    from iliopsoas.qc import evidence, preview

    folder = Path(folder)
    mask_image = nib.load(folder / "iliopsoas.nii.gz")
    mask = np.asanyarray(mask_image.dataobj)
    water, fat, body = (np.asanyarray(image.dataobj) for image in images.load(folder))
    found = files.read_json(folder / "landmarks.json")
    files.write_bytes(
        folder / "preview.png", preview.preview(water, mask, found, mask_image.affine)
    )
    measures = volumes.measure(mask, mask_image.affine, water, fat)
    return measures | evidence.gather(
        mask,
        mask_image.affine,
        water,
        body,
        found,
        evidence.crop_boxes(found, mask.shape),
    )


def volumes_of_shard(
    manifest, ledger, *, results, version: int, processes: int, time_limit_s: float, retry=()
) -> pd.DataFrame:
    """Volumes, further measures and the evidence for quality control of a shard's masks."""
    # the muscle index is added with the cohort's heights, so that a height changes no image stage
    tasks = tasks_after(manifest, results, "segment", "volumes", version)
    stage = Stage("volumes", results, ("preview.png",), retry)
    return stage.run(_volumes_participant, tasks, ledger, processes, time_limit_s)
