"""The pre-commit hook, in a repository of its own."""

import gzip
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path):
    """A git repository with the hook turned on, and the package beside it."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "user.email", "a@b.c")
    git(tmp_path, "config", "user.name", "A")
    shutil.copytree(ROOT / "hooks", tmp_path / "hooks")
    git(tmp_path, "config", "core.hooksPath", "hooks")
    return tmp_path


def git(folder, *arguments, check=True):
    # the hook's python3 is the one that runs the tests
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env | {"PATH": path, "PYTHONPATH": str(ROOT / "workflow")},
    )
    assert not check or done.returncode == 0, done.stdout
    return done


def commit(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    git(folder, "add", "-f", name)
    return git(folder, "commit", "-qm", "x", check=False)


def nifti():
    return nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)).to_bytes()


def test_participants_data_are_refused_and_the_rest_is_not(repository):
    with zipfile.ZipFile(repository / "scan", "w") as archive:
        archive.writestr("a.dcm", b"x")
    scan = (repository / "scan").read_bytes()
    (repository / "scan").unlink()
    refused = {
        "a.zip": scan,
        "renamed.dat": scan,
        "slice": bytes(128) + b"DICM" + bytes(9),
        "mask.nii.gz": gzip.compress(nifti()),
        "renamed.gz": gzip.compress(nifti()),
        "mask.nii": nifti(),
        "sample.tsv": "eid\tage\n12\t50\n",
        "list.txt": "2718281\n",
        "notes.md": "participant 2718281 looks odd",
        "folder/2718281_2/note.txt": "well",
    }
    for name, data in refused.items():
        done = commit(repository, name, data)
        assert done.returncode != 0, name
        assert "2718281" not in done.stdout
        git(repository, "rm", "-rqf", "--cached", name)
    for name, data in {
        "table.tsv": "group\tmean\nall\t12.5\n",
        "code.py": "EID = 2718281\n",
        "readme.md": "Nothing to see.",
    }.items():
        done = commit(repository, name, data)
        assert done.returncode == 0, done.stdout


def test_an_id_of_the_local_results_is_refused_even_in_code_and_in_what_is_allowed(repository):
    sample = repository / "results/cohort/sample.tsv"
    sample.parent.mkdir(parents=True)
    sample.write_text("eid\tinstance\n2718281\t2\n")
    (repository / "hooks/allowed.txt").write_text("made_up/*\n")
    for name in ("code.py", "made_up/table.tsv"):
        done = commit(repository, name, "eid\n2718281\n")
        assert done.returncode != 0
        assert f"{name}: id of this cohort" in done.stdout
        git(repository, "rm", "-qf", "--cached", name)
    assert commit(repository, "made_up/table.tsv", "eid\n7654321\n").returncode == 0


def test_without_the_environment_nothing_is_let_through(repository):
    hook = repository / "hooks/pre-commit"
    hook.write_text(hook.read_text().replace("iliopsoas.privacy.commit", "iliopsoas.not_there"))
    done = commit(repository, "readme.md", "x")
    assert done.returncode != 0
    assert "make env" in done.stdout


def test_the_repository_itself_passes():
    done = subprocess.run(
        [sys.executable, "-m", "iliopsoas", "search", "--tracked", "--results", "no-results"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
    )
    if "not a git repository" in done.stderr:
        pytest.skip("not a git repository")
    assert done.returncode == 0, done.stderr
