"""Stands in for Snakemake and the image stages on a worker's machine.

The ledgers, the resuming and the atomic files are the workflow's own; a participant's work is a
hash of the zip, written big enough that a kill can cut it off. Every participant who is worked on
adds a line to $WORKED.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.stages.dixon import local_copy
from iliopsoas.stages.shards import Shard, Stage, guarded
from iliopsoas.status import Verdict

RESULTS = Path("results")
IMAGE = "water.nii.gz"


def content_of(scan) -> bytes:
    """What the stub makes of a zip."""
    return hashlib.sha256(Path(scan).read_bytes()).hexdigest().encode() * 4000


def note(stage, folder):
    with open(os.environ["WORKED"], "ab", buffering=0) as file:
        file.write(f"{stage} {folder.name}\n".encode())
    time.sleep(0.02)


def image(folder, scan):
    note("dixon", folder)
    files.write_bytes(folder / IMAGE, content_of(scan))


def volume(folder):
    note("volumes", folder)
    content = (folder / IMAGE).read_bytes()
    files.write_text(folder / "volume.txt", f"{content[:64].decode()} {len(content)}\n")


def draw(world: Path):
    for name in ("shards.tsv", "manifests.tsv"):
        files.write_text(RESULTS / "cohort" / name, (world / name).read_text())


def work(shard: str, copies: str):
    manifest = RESULTS / "shards" / shard / "manifest.tsv"
    table = files.read_tsv(RESULTS / "cohort/manifests.tsv")
    files.write_tsv(manifest, table[table["shard"] == shard])
    place = manifest.parent
    for stage, previous, inputs in (
        (Stage("dixon", (IMAGE,), image), None,
         lambda row, earlier: ("zip", {"scan": local_copy(row.scan, copies)})),
        (Stage("volumes", ("volume.txt",), volume, after="dixon"), place / "dixon.tsv", None),
    ):  # fmt: skip
        ledger = place / f"{stage.name}.tsv"
        if ledger.exists():  # as Snakemake would find
            continue
        one = Shard(stage, manifest, ledger, results=RESULTS, previous=previous, inputs=inputs)
        for task in one.pending:
            outcome = guarded(stage.work, task.folder, **task.arguments)
            assert outcome.verdict == Verdict.OK, outcome.trace
            one.finish(task, outcome)
        one.close()


def together():
    ledgers = [files.read_tsv(path) for path in sorted(RESULTS.glob("shards/*/volumes.tsv"))]
    files.write_tsv(RESULTS / "volumes.tsv", pd.concat(ledgers))


if __name__ == "__main__":
    world, copies, *targets = sys.argv[1:]
    for target in targets:
        if target == "cohort":
            draw(Path(world))
        elif target == "all":
            together()
        elif not target.endswith("weights.json"):
            work(Path(target).parent.name, copies)
