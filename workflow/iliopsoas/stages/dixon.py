"""Zips to stitched images, shard by shard."""

from functools import partial
from pathlib import Path

import pandas as pd

from iliopsoas import files, machine
from iliopsoas.config import Run
from iliopsoas.stages import images
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Shard, Stage


def participant(folder, scan: str, content: str, parameters: dict) -> dict:
    """One zip to water, fat and body images; returns what `process_scan` recorded."""
    from iliopsoas.dixon import process_scan

    result = process_scan(scan, **parameters)
    images.save(folder, result)
    further = images.bytes_of_contrasts(folder, result.contrasts)
    record = {"scan_sha256": files.sha256(scan), "scan_content": content} | result.record
    return record | ({"contrast_bytes": further} if further else {})


def local_copy(scan: str, copies: str | None) -> str:
    """The copy of a zip in the folder `copies`, where there is one; else the zip itself."""
    if copies:
        copy = Path(machine.expand(copies)) / Path(scan).name
        return str(copy) if copy.exists() else scan
    return scan


def run(
    manifest, ledger, *, results, version: int, parameters: dict, processes: int, options: Run
) -> pd.DataFrame:
    """Dixon preprocessing of a shard.

    Parameters
    ----------
    manifest, ledger : path
        The shard's participants, and the ledger that is written.
    results : path
        Folder of all results.
    version : int
        Of the stage.
    parameters : dict
        The section dixon of the configuration.
    processes : int
    options : config.Run
        With ``keep`` "results", images that were removed after their use count as done;
        ``copies`` is where copies of zips may lie.

    Notes
    -----
    Contrasts are no part of the fingerprint: whoever lacks one is done again, and nobody's
    landmarks, crops, masks or volumes.
    """
    from iliopsoas.ukb.fingerprint import content_fingerprint

    def inputs(row, earlier):
        scan = local_copy(row.scan, options.copies)
        content = content_fingerprint(scan)
        if content == "missing" and earlier:
            # a scan that is not mounted today does not undo its results
            content = earlier.get("scan_content") or content
        images.follow(files.subject_folder(results, row.eid, row.instance), row.scan, content)
        return content, {"scan": scan, "content": content, "parameters": parameters}

    contrasts = parameters.get("contrasts", [])
    earlier = Ledger(ledger).rows()

    def still_there(task):
        if not contrasts or (options.keep == "results" and images.is_removed(task.folder)):
            return True
        there = images.bytes_of_contrasts(task.folder, contrasts)
        before = earlier[task.key].get("contrast_bytes")
        return there is not None and str(there) == str(before)

    outputs = (*images.IMAGES, *images.CONTRASTS.values())
    size = partial(images.bytes_in, keep=options.keep)
    stage = Stage("dixon", outputs, participant, size=size)
    shard = Shard(
        stage,
        manifest,
        ledger,
        results=results,
        parts=("dixon", version, {k: v for k, v in parameters.items() if k != "contrasts"}),
        inputs=inputs,
        still_there=still_there,
        options=options,
    )
    for task in shard.tasks:  # of an earlier run that asked for them
        for name in set(images.CONTRASTS) - set(contrasts):
            (task.folder / images.CONTRASTS[name]).unlink(missing_ok=True)
    return shard.run(processes)
