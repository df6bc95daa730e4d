"""The whole workflow on a real SLURM: partitions, GPU jobs, arrays, killed jobs, resume.

Started by ``tests/slurm/two_nodes.sh start`` on a machine that is thrown away afterwards.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from iliopsoas import files

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 900
NETWORK_RULES = {"train", "validate", "quality_rows", "segment_shard"}
SETTINGS = {
    "results": "results",
    "releases": [
        {
            "name": "small",
            "zips": "phantom/zips",
            "phenotypes": ["phantom/phenotypes.csv"],
            "annotations": "phantom/annotations",
        }
    ],
    "phantom": {
        "folder": "phantom",
        "participants": 4,
        "annotated": 2,
        "repeats": 0,
        "faults": [],
        "seed": 7,
    },
    "cohort": {"shard_size": 2},
    "crops": {"coarsen": 6},
    "network": {"base_filters": 2},
    "training": {"folds": 2, "epochs": 1, "samples_per_muscle": 2, "batch_size": 2},
    "qc": {"review_sample": 2},
    "figures": {"dpi": 50},
    "run": {"max_failed_share": 1},
}
BUSY = {"RUNNING", "PENDING", "COMPLETING", "CONFIGURING"}
PARTITIONS = {"partitions": {"batch": {"max_gpu": 0}, "accelerated": {"max_gpu": 1}}}
THREADS = (
    *("phantom", "dixon_shard", "landmarks_shard", "crops_shard", "volumes_shard"),
    *("segment_shard", "train", "validate", "quality_rows"),
)


EARLIER = set()  # jobs that SLURM remembers of another run
WIDTHS = {
    "JobArrayID": 20,
    "Comment": 80,
    "State": 20,
    "Partition": 20,
    "tres-per-job": 20,
    "MinMemory": 20,
}


def jobs() -> list[dict]:
    """Every job that SLURM remembers, the finished ones too."""
    wanted = ",".join(f"{name}:{width}" for name, width in WIDTHS.items())
    listed = subprocess.run(
        ["squeue", "--noheader", "--array", "--states=all", "--Format", wanted],
        text=True,
        capture_output=True,
        check=True,
    )
    rows = []
    for line in listed.stdout.splitlines():
        words, rest = [], line
        for width in WIDTHS.values():
            words.append(rest[:width].strip())
            rest = rest[width:]
        row = dict(zip(("id", "rule", "state", "partition", "gres", "mem"), words, strict=True))
        rule = row["rule"].removeprefix("rule_").split("_wildcards_")[0]
        row["rule"] = "images" if rule.startswith("images_") else rule  # a group and its rules
        rows.append(row)
    return [row for row in rows if row["id"] not in EARLIER]


@pytest.fixture(scope="module")
def slurm():
    """A SLURM of our own; nothing is ever submitted to somebody's cluster."""
    if not shutil.which("scontrol"):
        pytest.skip("NOT RUN: SLURM is absent")
    shown = subprocess.run(["scontrol", "show", "config"], text=True, capture_output=True)
    if "iliopsoas-test" not in shown.stdout:
        pytest.skip("NOT RUN: no test cluster answers; tests/slurm/two_nodes.sh start makes one")
    EARLIER.update(row["id"] for row in jobs())


class Submission:
    """A run of the workflow through profiles/slurm."""

    def __init__(self, folder: Path, settings=SETTINGS, root=ROOT, targets=()):
        self.folder, self.log = folder, folder / "submission.log"
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))
        (folder / "partitions.yaml").write_text(yaml.safe_dump(PARTITIONS))
        self.command = [
            *(sys.executable, "-m", "snakemake", *targets, "--snakefile", str(root / "Snakefile")),
            *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
            *("--workflow-profile", str(ROOT / "profiles" / "slurm")),
            *("--slurm-partition-config", str(folder / "partitions.yaml")),
            *("--slurm-status-command", "squeue", "--seconds-between-status-checks", "2"),
            *("--slurm-init-seconds-before-status-checks", "2"),
            *("--set-threads", *(f"{rule}=1" for rule in THREADS)),
        ]

    def start(self):
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
            )

    def until(self, condition, what: str):
        """Wait for a condition of the queue; fail with the end of the log when the run ends."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            if self.process.poll() is not None:
                pytest.fail(f"the run ended before {what}:\n{self.log.read_text()[-6000:]}")
            time.sleep(0.5)
        self.process.kill()
        pytest.fail(f"waited {PATIENCE_S} s for {what}:\n{self.log.read_text()[-6000:]}")
        return None

    def running(self, rule: str) -> list[dict]:
        return [row for row in jobs() if row["rule"] == rule and row["state"] == "RUNNING"]


def processes_of(folder: Path, rule: str) -> list[int]:
    """Ids of the processes that run a rule's script for this run and no other."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        scripts = (word.decode(errors="replace") for word in words if word.endswith(b".py"))
        if any(s.startswith(str(folder)) and s.endswith(f".{rule}.py") for s in scripts):
            found.append(int(path.parent.name))
    return found


def megabytes(text: str) -> float:
    return float(text[:-1]) * {"M": 1, "G": 1024}[text[-1]]


def test_killed_jobs_are_tried_again_and_a_killed_run_resumes(slurm, tmp_path):
    run = Submission(tmp_path)
    run.start()
    first = run.until(lambda: run.running("images"), "a job of image stages ran")[0]
    subprocess.run(["scancel", first["id"]], check=True)

    run.until(lambda: run.running("train"), "a training ran")
    pids = run.until(lambda: processes_of(tmp_path, "train"), "the training's script ran")
    run.process.send_signal(signal.SIGKILL)
    run.process.wait()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # what else was submitted is taken back, as the page on SLURM says
    left = [row["id"] for row in jobs() if row["state"] in {"RUNNING", "PENDING"}]
    if left:
        subprocess.run(["scancel", *left], check=True)
    end = time.monotonic() + 120
    while any(row["state"] in BUSY for row in jobs()) and time.monotonic() < end:
        time.sleep(1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("results/shards/*/*.tsv")}
    assert before, run.log.read_text()[-6000:]
    first_log = run.log.read_text()

    subprocess.run([*run.command, "--unlock"], cwd=tmp_path, check=True, capture_output=True)
    run.start()
    assert run.process.wait(PATIENCE_S) == 0, run.log.read_text()[-6000:]

    # what was finished before the run was killed is not done again
    assert {path: path.stat().st_mtime_ns for path in before} == before
    volumes = files.read_tsv(tmp_path / "results/volumes.tsv")
    assert len(volumes) == 4
    assert volumes["status"].notna().all()
    assert not (volumes["status"] == "no_verdict").any()
    assert (tmp_path / "results/report.zip").stat().st_size > 10_000
    assert "Trying to restart job" in first_log

    seen = jobs()
    states = {}
    for row in seen:
        states.setdefault(row["rule"], []).append(row["state"])
    assert "CANCELLED" in states["images"]
    assert states["images"].count("COMPLETED") == 2
    assert not {"dixon_shard", "landmarks_shard", "crops_shard"} & set(states)
    assert {"FAILED", "CANCELLED"} & set(states["train"])
    assert states["train"].count("COMPLETED") >= 3

    # the second try asks for twice the memory
    asked = sorted(megabytes(row["mem"]) for row in seen if row["rule"] == "images")
    assert asked == [asked[0], asked[0], pytest.approx(2 * asked[0], rel=0.01)]
    # GPU jobs run the network, in the partition that has GPUs; nothing else goes there
    assert {row["rule"] for row in seen if "gpu" in row["gres"]} == NETWORK_RULES
    for row in seen:
        wanted = "accelerated" if row["rule"] in NETWORK_RULES else "batch"
        assert row["partition"] == wanted, row
