"""Shoulders, hips and knees of a shard's participants."""

from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages import images
from iliopsoas.stages.shards import Shard, Stage

FILE = "landmarks.json"


def participant(folder, parameters: dict) -> dict:
    """Landmarks of one participant's stitched images; returns how they were found."""
    from iliopsoas import landmarks

    water, fat, body = images.load(folder)
    found, record = landmarks.locate_with_record(body, water, fat, **parameters)
    landmarks.assess(found, body)
    files.write_json(Path(folder) / FILE, found)
    return record


def run(
    manifest,
    dixon,
    ledger,
    *,
    results,
    version: int,
    parameters: dict,
    processes: int,
    options: Run,
) -> pd.DataFrame:
    """Landmarks of a shard; `dixon` is the ledger before, `parameters` the section landmarks."""
    shard = Shard(
        Stage("landmarks", (FILE,), participant, after="dixon"),
        manifest,
        ledger,
        results=results,
        parts=("landmarks", version, parameters),
        previous=dixon,
        inputs=lambda row, earlier: ((), {"parameters": parameters}),
        options=options,
    )
    return shard.run(processes)
