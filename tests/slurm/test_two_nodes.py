"""A node is lost, jobs go over memory and time, files come late: on two nodes, with stub scripts.

Started by ``tests/slurm/two_nodes.sh start``, as test_slurm.py, which runs the real work.
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from test_slurm import PATIENCE_S, ROOT, Submission, jobs, slurm  # noqa: F401

sys.path.insert(0, str(ROOT / "tests/workflow"))
from stub_workflow import StubWorkflow

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


def cluster(*words) -> None:
    subprocess.run([str(ROOT / "tests/slurm/two_nodes.sh"), *words], check=True)


SHARDS = [f"r-{n:04}" for n in range(1, 5)]


class Stubs(Submission):
    """The real rules on four shards with stub scripts, through profiles/slurm."""

    def __init__(self, folder: Path, **world):
        stubs = StubWorkflow(folder)
        stubs.settings["segmentation"] = {"weights": "weights.h5"}
        member = {"participants": 3, "annotated": 0}
        shards = {name: member | {"digest": name} for name in SHARDS}
        (folder / "world.json").write_text(json.dumps(stubs.world | {"shards": shards} | world))
        (folder / "ran.txt").touch()
        super().__init__(folder, stubs.settings, folder / "source",
                         ["volumes", "--set-resources", "segment_shard:runtime=1"])  # fmt: skip

    def ran(self, what: str) -> Counter:
        lines = (self.folder / "ran.txt").read_text().splitlines()
        return Counter(line.removeprefix(f"{what} ") for line in lines if line.startswith(what))

    def lost(self) -> None:
        """Wait for work on node2, and cut its power."""
        self.until(lambda: any(job.startswith("dixon_shard") for job in self.ran("on node2")),
                   "a job of image stages worked on node2")  # fmt: skip
        cluster("lose", "node2")


def test_nothing_is_lost_and_nothing_done_twice(slurm, tmp_path):  # noqa: F811
    run = Stubs(
        tmp_path,
        late=["segment.tsv"],
        trouble={f"dixon_shard {name}": "slow" for name in SHARDS}
        | {"volumes_shard r-0002": "memory", "segment_shard r-0003": "time"},
    )
    try:
        run.start()
        run.lost()
        assert run.process.wait(PATIENCE_S) == 0, run.log.read_text()[-6000:]
    finally:
        cluster("back", "node2")
    assert (tmp_path / "results/volumes.tsv").exists()
    stages = ("dixon", "landmarks", "crops", "segment", "volumes")
    expected = {f"{stage}_shard {name}" for stage in stages for name in SHARDS}
    ended = {job: n for job, n in run.ran("ended").items() if "_shard " in job}
    assert ended == dict.fromkeys(expected, 1)
    # each trouble was there, and was met with another try
    began = run.ran("began")
    assert began["volumes_shard r-0002"] == began["segment_shard r-0003"] == 2
    assert any(began[f"dixon_shard {name}"] == 2 for name in SHARDS), (
        "no job was lost with the node"
    )
    states = {row["rule"]: set() for row in jobs()}
    for row in jobs():
        states[row["rule"]].add(row["state"])
    assert "TIMEOUT" in states["segment_shard"], states
    assert {"OUT_OF_MEMORY", "FAILED", "CANCELLED"} & states["volumes_shard"], states


def test_a_job_that_always_fails_shows_in_the_exit_status(slurm, tmp_path):  # noqa: F811
    run = Stubs(tmp_path, trouble={"cohort": "always"})
    run.start()
    assert run.process.wait(PATIENCE_S) == 1
    began = run.ran("began")
    assert began.pop("cohort") == 3
    assert set(began) <= {"check_weights"}  # needs no cohort, and may go first
