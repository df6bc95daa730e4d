"""The workflow on a folder laid out like UK Biobank's platform, on machines of its own kind.

Data under a read-only mount whose paths hold spaces; every machine has a disk of its own, takes a
part of the shards, and may be taken away; the parts are put together on another. The platform's
command line is a stand-in, tests/rap/dx; tests/rap/test_kills.py kills by the hundred.
"""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import yaml

from iliopsoas import files
from iliopsoas.network.architecture import build_network
from iliopsoas.network.weights import save_weights
from iliopsoas.phantom import cohort
from iliopsoas.versions import IMAGE_STAGES

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def bind_read_only(folder: Path) -> bool:
    """Make a folder read-only for root as well, where that is allowed."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        return False
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
    if bound.returncode:
        return False
    return (
        subprocess.run(
            ["mount", "-o", "remount,bind,ro", folder, folder], capture_output=True
        ).returncode
        == 0
    )


@pytest.fixture(scope="module")
def mount(tmp_path_factory):
    """``project/Bulk/Whole Body MRI/Dixon/NN/<zip>``, the table and the weights; read-only."""
    base = tmp_path_factory.mktemp("mnt")
    cohort.make(base / "made", participants=2, annotated=0, repeats=0, faults=[], seed=11)
    project = base / "project"
    for path in (base / "made/zips").rglob("*.zip"):
        folder = project / "Bulk/Whole Body MRI/Dixon" / path.name[:2]
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    tables = project / "Showcase metadata"
    tables.mkdir()
    (base / "made/phenotypes.csv").rename(tables / "participant data.csv")
    shape = [32, 32, 64, 1]
    recipe = {"input_shape": shape, "base_filters": 2, "variant": "published", "coarsen": 3}
    network = build_network(tuple(shape), base_filters=2)
    save_weights(tables / "my weights.h5", network, recipe | {"normalisation": "published"})
    for path in [project, *project.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    bound = bind_read_only(project)
    yield project
    if bound:
        subprocess.run(["umount", project], check=True)
    for path in [project, *project.rglob("*")]:
        path.chmod(0o755)


@pytest.fixture(scope="module")
def config(mount, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("configuration") / "my cohort.yaml"
    tables = mount / "Showcase metadata"
    settings = {
        "releases": [
            {
                "name": "rap",
                "zips": str(mount / "Bulk/Whole Body MRI/Dixon"),
                "phenotypes": [str(tables / "participant data.csv")],
            }
        ],
        "cohort": {"shard_size": 1},
        "crops": {"coarsen": 3},
        "network": {"base_filters": 2},
        "segmentation": {"weights": str(tables / "my weights.h5")},
        "run": {"max_failed_share": 1},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


class Project:
    """The platform's project, and machines that work for it."""

    def __init__(self, folder: Path, config: Path):
        self.folder, self.config = folder, config
        self.store = folder / "my run"

    def start(self, disk: Path, step: str, *words) -> subprocess.Popen:
        disk.mkdir(parents=True, exist_ok=True)
        with open(disk / "log.txt", "a", encoding="utf-8") as log:
            return subprocess.Popen(
                [str(ROOT / "profiles/rap/worker.sh"), step, self.config, "/my run",
                 *map(str, words)],
                cwd=disk, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ
                | {"PATH": f"{ROOT}/tests/rap:{Path(sys.executable).parent}:{os.environ['PATH']}"}
                | {"DX_STAND_IN": str(self.folder), "TF_CPP_MIN_LOG_LEVEL": "2"},
            )  # fmt: skip

    def run(self, disk: Path, step: str, *words) -> str:
        status = self.start(disk, step, *words).wait()
        said = (disk / "log.txt").read_text()
        assert status == 0, said[-6000:]
        return said

    def kept(self, kind: str) -> list[str]:
        """Names of the archives of a kind, as the mount shows them."""
        return sorted(path.name for path in self.store.glob(f"*.{kind}.*.tar"))


@pytest.fixture
def project(config, tmp_path):
    return Project(tmp_path / "project", config)


def members(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_a_machine_is_taken_away_and_the_parts_fit_together(mount, project, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in mount.rglob("*")}
    first = tmp_path / "first machine"
    project.run(first, "cohort")
    sample = files.read_tsv(first / "results/cohort/sample.tsv")
    assert sample["shard"].nunique() == len(sample) == 2

    # one is taken away once its first ledger is kept
    machine = project.start(tmp_path / "taken away", "shards", 1, 2, "--every", 1)
    while machine.poll() is None and not any(
        name.endswith("dixon.tsv") for part in project.kept("part")
        for name in members(project.store / part)
    ):  # fmt: skip
        time.sleep(0.2)
    os.killpg(machine.pid, signal.SIGKILL)
    machine.wait()
    assert not project.kept("whole")
    said = project.run(tmp_path / "another", "shards", 1, 2)
    assert "rule dixon_shard:" not in said, "what was kept is not done again"
    assert "rule volumes_shard:" in said
    assert len(project.kept("whole")) == 1
    assert not project.kept("part")

    said = project.run(tmp_path / "second machine", "shards", 2, 2)
    assert "rule dixon_shard:" in said
    assert not list((tmp_path / "second machine").rglob("*.zip")), "copies go when they were used"
    said = project.run(tmp_path / "second machine", "shards", 2, 2)
    assert said.count("rule dixon_shard:") == 1

    last = tmp_path / "last machine"
    said = project.run(last, "collect", "volumes")
    assert not any(f"rule {stage}_shard:" in said for stage in IMAGE_STAGES), said
    assert "checkpoint cohort:" not in said
    volumes = files.read_tsv(last / "results/volumes.tsv")
    assert sorted(volumes["eid"]) == sorted(sample["eid"])
    assert volumes["status"].notna().all()
    for stage in IMAGE_STAGES:
        ledgers = [files.read_tsv(path) for path in last.glob(f"results/shards/*/{stage}.tsv")]
        assert sum(map(len, ledgers)) == 2
    for row in sample.itertuples():
        folder = files.subject_folder(last / "results", row.eid, row.instance)
        assert (folder / "water.nii.gz").exists()
    # the mount is as it was
    assert {path: path.stat().st_mtime_ns for path in mount.rglob("*")} == before
