"""Every rule's script, run alone on one job, with nothing there but what the job declares.

It must make again what the whole run made of the same inputs. So a rule that reads a file which it
does not declare fails here, and so does a new rule without a case.
"""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image

from iliopsoas import files

pytestmark = pytest.mark.slow

# Rules that have no job in the small run.
OTHERS = {
    # with other settings
    *("check_weights", "threshold_curve", "calibrate", "opinion_shard", "remove_images"),
    *("tool_shard", "other_masks_shard", "methods_shard", "other_volumes", "other_statistics"),
    # asked for by name
    *("export_for_annotation", "learning_rate_sweep", "export_bids", "export_phenotypes"),
    *("collect_egress", "egress", "freeze", "drift", "find_failed"),
}
IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")
MASK, POINTS, PICTURE = "iliopsoas.nii.gz", "landmarks.json", "preview.png"
# What no rule declares file by file, as a ledger or a table stands for it: files of participants'
# folders (names without a slash) and folders that the configuration names.
MAKES = {
    "phantom": ("phantom/zips", "phantom/annotations", "phantom/truth"),
    "dixon_shard": IMAGES,
    "landmarks_shard": (POINTS,),
    "segment_shard": (MASK,),
    "volumes_shard": (PICTURE, "profile.tsv"),
    "review_page": ("results/qc/review",),
}
READS = {
    "cohort": ("phantom/zips", "phantom/annotations"),
    "dixon_shard": ("phantom/zips",),
    "landmarks_shard": IMAGES,
    "crops_shard": ("water.nii.gz", "body.nii.gz", POINTS, "phantom/annotations"),
    "segment_shard": ("body.nii.gz", POINTS),
    "volumes_shard": (*IMAGES, POINTS, MASK),
    "figures": ("water.nii.gz", "body.nii.gz", POINTS, MASK, "phantom/annotations"),
    "review_page": ("water.nii.gz", POINTS, PICTURE),
    "recovery": (MASK, "phantom/truth"),
}
SCRIPT = [sys.executable, str(Path(__file__).with_name("rule_jobs.py"))]
# When, how fast and where something was made.
CHANGING = {"seconds", "finished", "machine", "commit", "date", "time"}


def rules_with_work() -> list[str]:
    """Names of the rules that run something, from the text of the workflow."""
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    parts = re.split(r"^ *(?:rule|checkpoint) (\w+):", text, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    return sorted(name for name in bodies if re.search("^ +(script|shell):", bodies[name], re.M))


def call(folder: Path, *arguments) -> None:
    done = subprocess.run(
        [*SCRIPT, *map(str, arguments)],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.fixture(scope="module")
def jobs(finished, tmp_path_factory):
    """A job of every rule, by name, and the file that holds them; see rule_jobs.py."""
    path = tmp_path_factory.mktemp("jobs") / "jobs.pickle"
    planning = subprocess.Popen(
        [*SCRIPT, "plan", str(path)],
        cwd=finished.folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert planning.stdout.readline() == "planned\n"
    yield pickle.loads(path.read_bytes()), path
    planning.communicate()


def undeclared(run, names, shard: str | None) -> list[str]:
    """Paths in the run's folder of names in `MAKES` or `READS`; of a shard's participants."""
    sample = files.read_tsv(run.results / "cohort/sample.tsv")
    folders = [
        files.subject_folder("results", row.eid, row.instance)
        for row in sample.itertuples()
        if shard in (None, row.shard)
    ]
    found = []
    for name in names:
        paths = [Path(name)] if "/" in name else [folder / name for folder in folders]
        found += [str(path) for path in paths if (run.folder / path).exists()]
    return found


@pytest.mark.parametrize("rule", sorted(set(rules_with_work()) - OTHERS))
def test_a_rule_makes_its_outputs_again_from_what_it_declares(rule, jobs, finished, tmp_path):
    job, jobs_file = jobs[0][rule], jobs[1]
    made = undeclared(finished, MAKES.get(rule, ()), job["shard"])
    read = undeclared(finished, READS.get(rule, ()), job["shard"])
    given = {path for path in (*job["inputs"], *read) if not Path(path).is_absolute()}
    if rule == "report":  # Snakemake's own, of everything there is
        there = files_of(finished.folder, ["results", "phantom", ".snakemake/metadata"])
        given = set(there) - {*job["outputs"], *job["log"]}
    folder, asked = tmp_path / "alone", tmp_path / "asked"
    for path in (*job["outputs"], *job["log"]):  # as Snakemake does
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    for path in given:
        give(finished.folder / path, folder / path)
    before = files_of(finished.folder, given)
    call(folder, "run", jobs_file, rule, asked)
    assert files_of(finished.folder, given) == before, "a script wrote into its inputs"
    expected = [*job["outputs"], *made]
    for path in expected:
        SAME.get(rule, same)(finished.folder / path, folder / path)
    if asked.exists():
        known = {Path(path) for path in (*given, *expected)}
        strange = [path for path in asked.read_text().splitlines() if not may(Path(path), known)]
        assert not strange, strange


def give(source: Path, place: Path) -> None:
    """Link a file, or every file of a folder: what a script adds there stays with it."""
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            give(path, place / path.name)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)


def files_of(run: Path, paths) -> dict[str, int]:
    """Files of a run, and in folders of it, with their time of change."""
    places = [run / path for path in paths]
    found = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    return {str(path.relative_to(run)): path.stat().st_mtime_ns for path in found}


def may(path: Path, known: set[Path]) -> bool:
    """Whether a path may be asked for: known, in a known folder, the folder of a known path."""
    inside = path.parts[:1] not in [("..",), (".snakemake",)]
    return not inside or bool({path, *path.parents} & known) or path in {k.parent for k in known}


def test_every_rule_has_a_case(jobs):
    assert set(jobs[0]) == set(rules_with_work()) - OTHERS


def test_what_no_rule_declares_is_made_by_a_rule_before(jobs):
    maker = {name: rule for rule, names in MAKES.items() for name in names}
    for rule, names in READS.items():
        for name in names:
            assert maker[name] in jobs[0][rule]["after"], (rule, name)


# --- the same ------------------------------------------------------------------------------------


def same(expected: Path, found: Path) -> None:
    """Fail where two files, or folders of files, do not hold the same."""
    if expected.is_dir():
        names = sorted(path.name for path in expected.iterdir())
        assert names == sorted(path.name for path in found.iterdir())
        for name in names:
            same(expected / name, found / name)
    else:
        assert found.is_file(), f"{found.name} was not made"
        alike = SAME.get(expected.name) or SAME.get(expected.suffix, same_bytes)
        alike(expected, found)


def same_bytes(expected, found):
    assert expected.read_bytes() == found.read_bytes(), found.name


def same_table(expected, found):
    tables = [pd.read_csv(path, sep="\t", dtype=str) for path in (expected, found)]
    tables = [table.drop(columns=CHANGING & set(table)) for table in tables]
    pd.testing.assert_frame_equal(*tables, obj=found.name)


def same_json(expected, found):
    first, second = (unchanging(files.read_json(path)) for path in (expected, found))
    assert first == second, found.name


def unchanging(content):
    if isinstance(content, dict):
        return {key: unchanging(content[key]) for key in content if key not in CHANGING}
    return content


def same_picture(expected, found):
    first, second = (np.asarray(Image.open(path)) for path in (expected, found))
    np.testing.assert_array_equal(first, second, err_msg=found.name)


def same_arrays(expected, found):
    with np.load(expected) as first, np.load(found) as second:
        assert set(first) == set(second)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def same_crops(expected, found):
    """Crops of the same participants; they lie in the order in which participants were done."""
    held = []
    for path in (expected, found):
        with h5py.File(path) as file:
            values = {name: file[name][:] for name in file} | dict(file.attrs)
        rows = np.lexsort((values["side"], values["subject"]))
        label, label_row = values.pop("label"), values.pop("label_row")[rows]
        for name in ("subject", "side", "raw", "divisor", "origin", "extent", "label_voxels"):
            values[name] = values[name][rows]
        held.append(
            values | {"annotated": label_row >= 0, "label": label[label_row[label_row >= 0]]}
        )
    np.testing.assert_equal(*held)


def same_names(expected, found):
    first, second = (sorted(zipfile.ZipFile(path).namelist()) for path in (expected, found))
    assert first == second


def shapes(path) -> dict:
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: getattr(item, "shape", None)}))
    return found


def same_training(expected, found):
    """Not to the bit: sums of several threads are rounded in any order."""
    if expected.suffix == ".h5":
        assert shapes(expected) == shapes(found)
    elif expected.suffix == ".csv":
        first, second = pd.read_csv(expected), pd.read_csv(found)
        assert list(first) == list(second)
        np.testing.assert_allclose(first.iloc[0], second.iloc[0], rtol=1e-3)
        np.testing.assert_allclose(first["loss"], second["loss"], rtol=0.1)
    elif expected.suffix == ".json":
        first, second = (files.read_json(path) for path in (expected, found))
        assert {key: first[key] for key in first if key != "last_epoch"} == {
            key: second[key] for key in second if key != "last_epoch"
        }
    elif expected.suffix == ".png":
        assert Image.open(expected).size == Image.open(found).size
    else:
        same(expected, found)


SAME = {
    ".tsv": same_table,
    ".json": same_json,
    ".png": same_picture,
    ".npz": same_arrays,
    ".h5": same_crops,
    "report.zip": same_names,
    "train": same_training,
}
