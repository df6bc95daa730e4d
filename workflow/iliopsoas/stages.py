"""The stages of the workflow: what each reads, calls and leaves behind.

Every function here is what one rule runs. Heavy libraries are imported inside the functions, so
that a stage pays only for what it uses.
"""

from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.shards import Stage, Task, read_state
from iliopsoas.status import Verdict

IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")


def _tasks(manifest, results, previous: str, *parts, arguments=None) -> list[Task]:
    """A task per participant of a manifest, fingerprinted by the state of the previous stage.

    `arguments` gives a manifest row's keyword arguments beyond its folder.
    """
    tasks = []
    for row in files.read_tsv(manifest).itertuples():
        state = read_state(results, row.eid, row.instance, previous)
        blocked = None
        if state is None:
            blocked = f"{previous}: no verdict"
        elif state["verdict"] == Verdict.EARLIER_STAGE:
            blocked = state["message"]
        elif state["verdict"] != Verdict.OK:
            blocked = f"{previous}: {state['verdict']}"
        folder = files.subject_folder(results, row.eid, row.instance)
        tasks.append(
            Task(
                row.eid,
                row.instance,
                files.fingerprint(state and state["fingerprint"], *parts),
                {"folder": str(folder)} | (arguments(row) if arguments else {}),
                blocked,
            )
        )
    return tasks


# --- dixon --------------------------------------------------------------------------------------


def _dixon_participant(folder: str, scan: str, parameters: dict) -> dict:
    from iliopsoas.dixon import process_scan

    result = process_scan(scan, **parameters)
    folder = Path(folder)
    for name, image in zip(IMAGES, (result.water, result.fat, result.body), strict=True):
        files.write_nifti(folder / name, image)
    return {"scan_sha256": files.sha256(scan)} | result.record


def dixon(
    manifest, ledger, *, results, version: int, parameters: dict, processes: int, time_limit_s: float
) -> pd.DataFrame:
    """Zips of a shard to water, fat and body images; returns the ledger it writes."""
    from iliopsoas.ukb.archive import content_fingerprint

    tasks = [
        Task(
            row.eid,
            row.instance,
            files.fingerprint("dixon", version, parameters, content_fingerprint(row.scan)),
            {
                "folder": str(files.subject_folder(results, row.eid, row.instance)),
                "scan": row.scan,
                "parameters": parameters,
            },
        )
        for row in files.read_tsv(manifest).itertuples()
    ]
    stage = Stage("dixon", results, IMAGES)
    return stage.run(_dixon_participant, tasks, ledger, processes, time_limit_s)


# --- landmarks ----------------------------------------------------------------------------------


def _landmarks_participant(folder: str, parameters: dict) -> dict:
    import nibabel as nib

    from iliopsoas import landmarks

    folder = Path(folder)
    water, fat, body = (nib.load(folder / name) for name in IMAGES)
    found = landmarks.locate(body, water, fat, **parameters)
    record = landmarks.assess(found, body)
    files.write_json(folder / "landmarks.json", found)
    return record


def landmarks(
    manifest, ledger, *, results, version: int, parameters: dict, processes: int, time_limit_s: float
) -> pd.DataFrame:
    """Landmarks of a shard's participants."""
    tasks = _tasks(
        manifest,
        results,
        "dixon",
        "landmarks",
        version,
        parameters,
        arguments=lambda row: {"parameters": parameters},
    )
    stage = Stage("landmarks", results, ("landmarks.json",))
    return stage.run(_landmarks_participant, tasks, ledger, processes, time_limit_s)
