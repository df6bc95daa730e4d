"""One small run of the whole workflow, shared by the tests that look at it."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

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
        "participants": 8,
        "annotated": 4,
        "repeats": 1,
        "faults": ["truncated", "missing:3"],
        "seed": 7,
    },
    "cohort": {"shard_size": 5},
    "dixon": {"bias_shrink": 8},
    "crops": {"coarsen": 3},
    "network": {"base_filters": 4},
    "training": {
        "folds": 2,
        "epochs": 6,
        "samples_per_muscle": 4,
        "batch_size": 2,
        "learning_rate": 0.0006,
        "loss": "dice+cross-entropy",
        "clip_norm": 1,
    },
    "run": {"max_failed_share": 0.5},
}


# draws a box on either side of the body, whoever it is, and fails on the second of a folder
BOXES = """
import pathlib, sys, nibabel, numpy
for path in sorted(pathlib.Path(sys.argv[1]).iterdir())[:1]:
    image = nibabel.load(path)
    labels = numpy.zeros(image.shape, "uint8")
    labels[150:170, 80:100, 140:200], labels[54:74, 80:100, 140:200] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), pathlib.Path(sys.argv[2], path.name))
sys.exit("no memory left")
"""


class Workflow:
    """A working folder and the means to run Snakemake in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results"
        self.settings = yaml.safe_load(yaml.safe_dump(SETTINGS))

    def copy(self, folder: Path) -> "Workflow":
        """The same run in another folder: every path in it is relative."""
        shutil.copytree(self.folder, folder)
        return Workflow(folder)

    def run(self, *arguments, check=True) -> str:
        """Run Snakemake with this folder's configuration; returns everything it printed."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        command = [
            # before --configfile, which takes every word after it for a file
            *(sys.executable, "-m", "snakemake", *arguments),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(self.folder)),
            *("--cores", "2", "--resources", "gpu=1", "--configfile", str(path)),
            *("--workflow-profile", str(ROOT / "profiles/default")),
        ]
        done = subprocess.run(
            command,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        if check:
            assert done.returncode == 0, done.stdout[-6000:]
        else:
            assert done.returncode != 0, done.stdout[-6000:]
        return done.stdout

    def rules_run(self, *arguments) -> set[str]:
        """Names of the rules that a run executes."""
        words = ("rule ", "localrule ", "checkpoint ", "localcheckpoint ")
        return {
            line.split()[1].rstrip(":")
            for line in self.run(*arguments).splitlines()
            if line.startswith(words)
        }

    def boxes(self, **options) -> dict:
        """An entry of other_methods: a command that draws the first of a shard, and then fails."""
        (self.folder / "boxes.py").write_text(BOXES)
        command = f"'{sys.executable}' '{self.folder}/boxes.py' {{inputs}} {{outputs}}"
        self.settings["run"] |= {"max_machine_failures": 1}
        return {"name": "boxes", "folder": "results/boxes", "command": command} | options

    def modified(self, pattern: str) -> dict[str, int]:
        """Modification times of the result files that match a pattern."""
        return {
            str(path.relative_to(self.results)): path.stat().st_mtime_ns
            for path in self.results.glob(pattern)
        }


@pytest.fixture(scope="session")
def finished(tmp_path_factory, testrun_uid, worker_id) -> Workflow:
    """A finished run, to be copied, not changed; ILIOPSOAS_WORKFLOW names one to go on from.

    Processes of pytest-xdist share it.
    """
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent
    run = Workflow(Path(os.environ.get("ILIOPSOAS_WORKFLOW", shared / "finished")))
    done = shared / f"finished-{testrun_uid}"
    with open(shared / "finished.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            run.folder.mkdir(exist_ok=True)
            run.run()
            done.touch()
    return run


@pytest.fixture(scope="session")
def workflow(finished, tmp_path_factory) -> Workflow:
    """A copy that tests change, in their order."""
    return finished.copy(tmp_path_factory.mktemp("workflow") / "work")


@pytest.fixture
def route(finished, tmp_path) -> Workflow:
    """A copy for one test."""
    return finished.copy(tmp_path / "work")
