"""The workflow on a folder laid out like UK Biobank's platform, on machines of its own kind.

Data under a read-only mount whose paths hold spaces; every machine has a disk of its own and
takes a part of the shards; the parts are put together on another.
"""

import os
import shutil
import subprocess
import sys
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


def worker(folder: Path, *arguments, **variables) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [str(ROOT / "profiles/rap/worker.sh"), *map(str, arguments)],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        | {"TF_CPP_MIN_LOG_LEVEL": "2"}
        | variables,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def test_every_machine_takes_its_shards_and_the_parts_fit_together(mount, config, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in mount.rglob("*")}
    first = tmp_path / "first machine"
    worker(first, "cohort", config)
    sample = files.read_tsv(first / "results/cohort/sample.tsv")
    assert len(sample) == 2
    assert sample["shard"].nunique() == 2
    manifest = files.read_tsv(first / "results/shards/rap-0001/manifest.tsv")
    assert "/Bulk/Whole Body MRI/Dixon/" in manifest["scan"][0]

    archives = [first / "cohort.tar"]
    for part in (1, 2):
        folder = tmp_path / f"machine {part}"
        worker(folder, "shards", config, part, 2, first / "cohort.tar")
        done = [path.parent.name for path in folder.glob("results/shards/*/volumes.tsv")]
        assert len(done) == 1, "each machine does its own shard and no other"
        archives.append(folder / f"worker-{part}.tar")

    last = tmp_path / "last machine"
    said = worker(last, "collect", config, *archives, TARGET="volumes")
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
