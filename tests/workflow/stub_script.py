"""Stands in for every script of the workflow: writes the rule's outputs, and computes nothing.

What the cohort holds, what is trained on, and which jobs are in trouble is read from ``world.json``
in the working folder, so that a test can change it. ``ran.txt`` tells what began and what ended.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def note(text):
    with open("ran.txt", "ab", buffering=0) as file:
        file.write(f"{text}\n".encode())


def in_trouble(kind):
    """What keeps a job busy at its first try, or always."""
    held = b"x" * 1_300_000_000 if kind == "memory" else None
    time.sleep({"memory": 120, "time": 300, "slow": 30}.get(kind, 0))
    del held
    if kind == "always":
        sys.exit("in trouble")


if __name__ == "__main__":
    world = json.loads(Path("world.json").read_text(encoding="utf-8"))
    job = f"{snakemake.rule} {snakemake.wildcards.get('shard', '')}".strip()
    kind = world.get("trouble", {}).get(job)
    again = kind and f"began {job}\n" in Path("ran.txt").read_text(encoding="utf-8")
    note(f"began {job}")
    note(f"on {os.environ.get('SLURMD_NODENAME')} {job}")
    if kind and (kind == "always" or not again):
        in_trouble(kind)
    for path in snakemake.output:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # what a shard's files hold follows from the shard
        text = world["shards"].get(path.parent.name, {}).get("digest", "a") + "\n"
        if path.name == "shards.tsv":
            rows = [f"{s}\t{w['participants']}\t{w['annotated']}\t{w['digest']}" for s, w in
                    world["shards"].items()]  # fmt: skip
            text = "\n".join(["shard\tparticipants\tannotated\tdigest", *rows]) + "\n"
        elif path.name == "manifests.tsv":
            rows = [f"{1000001 + i}\t2\t{shard}" for i, shard in enumerate(world["shards"])]
            text = "\n".join(["eid\tinstance\tshard", *rows]) + "\n"
        elif path.name == "folds.tsv":
            text = json.dumps(world["trained_on"])
        if path.name in world.get("late", ()):  # a network disk shows it after the job's end
            path.unlink(missing_ok=True)
            hidden = path.with_name(f".{path.name}")
            hidden.write_text(text)
            subprocess.Popen(["sh", "-c", f"sleep 3; touch {hidden}; mv {hidden} {path}"])
        else:
            path.write_text(text)
    note(f"ended {job}")
