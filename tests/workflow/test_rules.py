"""Every rule's script, run alone on one job, with nothing there but what the job declares.

It must make again what the whole run made of the same inputs. So a rule that reads a file which it
does not declare fails here, and so does a new rule without a case.
"""

import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Workflow
from PIL import Image

from iliopsoas import files

pytestmark = pytest.mark.slow

# What `all` does not ask for, once it is frozen, and rules that take away what others have made.
BY_NAME = ("export_for_annotation", "learning_rate_sweep", "drift", "egress")
BY_NAME += ("export_bids", "export_phenotypes")
TAKE_AWAY = {"find_failed", "remove_images"}
WEIGHTS, RETRY = "results/model/weights.json", "results/retry.tsv"
REMOVED = "results/shards/small-0001/images_removed.json"
IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")
MASK, POINTS, PICTURE = "iliopsoas.nii.gz", "landmarks.json", "preview.png"
DRAWN, OTHER = "results/boxes/{subject}.nii.gz", "other-boxes.nii.gz"
# What no rule declares file by file, as a ledger or a table stands for it: files of participants'
# folders (names without a slash) and files and folders that the configuration names.
MAKES = {
    "phantom": ("phantom/zips", "phantom/annotations", "phantom/truth"),
    "dixon_shard": IMAGES,
    "landmarks_shard": (POINTS,),
    "segment_shard": (MASK,),
    "volumes_shard": (PICTURE, "profile.tsv"),
    "review_page": ("results/qc/review",),
    "tool_shard": (DRAWN,),
    "other_masks_shard": (OTHER,),
    "export_for_annotation": ("results/annotation",),
    "learning_rate_sweep": ("results/model/learning_rate_sweep",),
    "export_bids": ("results/individual_level/bids",),
    "collect_egress": ("results/egress",),
    "freeze": ("results/frozen/small",),
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
    "opinion_shard": (POINTS, MASK),
    "tool_shard": ("water.nii.gz",),
    "other_masks_shard": (*IMAGES, POINTS, DRAWN),
    "methods_shard": (MASK, OTHER),
    "export_for_annotation": IMAGES,
    "export_bids": (MASK, OTHER),
    "remove_images": IMAGES,
    "egress": ("results/egress",),
}
# What an earlier call has left there, which a rule looks at and does not wait for.
EARLIER = {
    "export_for_annotation": (MASK,),
    "export_bids": ("results/cohort/pseudonyms.tsv",),
    "drift": ("results/frozen/small",),
    "find_failed": ("results/shards",),
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
def whole(finished, tmp_path_factory) -> Workflow:
    """The finished run with all that can be configured, and all that is asked for by name."""
    run = finished.copy(tmp_path_factory.mktemp("whole") / "work")
    shutil.copy(run.results / "model/fold-1/model.h5", run.folder / "elsewhere.h5")
    run.settings["segmentation"] = {"weights": "elsewhere.h5"}
    run.run(WEIGHTS)
    (run.folder / "config.yaml").rename(run.folder / "elsewhere.yaml")
    run.settings["segmentation"] = {"threshold": "calibrated"}
    run.settings["qc"] = {"second_opinion": True}
    run.settings["other_methods"] = [run.boxes()]
    run.settings["training"] |= {"sweep_rates": [0.0006], "sweep_epochs": 1}
    run.settings["release_tag"] = "small"
    run.run("all", "freeze")
    run.run(*BY_NAME)
    return run


@pytest.fixture(scope="module")
def jobs(whole, tmp_path_factory):
    """A job of every rule, by name, and the file that holds them; see rule_jobs.py."""
    path = tmp_path_factory.mktemp("jobs") / "jobs.pickle"
    targets = ("all", "freeze", *BY_NAME, RETRY, REMOVED)
    calls = f"config.yaml={','.join(targets)}", f"elsewhere.yaml={WEIGHTS}"
    planning = subprocess.Popen(
        [*SCRIPT, "plan", str(path), *calls],
        cwd=whole.folder,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert planning.stdout.readline() == "planned\n"
    yield pickle.loads(path.read_bytes()), path
    planning.communicate()


def undeclared(run, names, shard: str | None) -> list[str]:
    """Paths in the run's folder of names as in `MAKES` and `READS`; of a shard's participants."""
    sample = files.read_tsv(run.results / "cohort/sample.tsv")
    people = [row for row in sample.itertuples() if shard in (None, row.shard)]
    found = []
    for name in names:
        if "/" in name:
            paths = {name.format(subject=files.subject_name(p.eid, p.instance)) for p in people}
        else:
            paths = {files.subject_folder("results", p.eid, p.instance) / name for p in people}
        found += sorted(str(path) for path in paths if (run.folder / path).exists())
    return found


class Alone:
    """A rule's job in a folder that holds nothing but what it reads."""

    def __init__(self, rule, run, jobs, folder: Path):
        self.rule, self.run, self.jobs, self.folder = rule, run, jobs[1], folder / "alone"
        self.job = jobs[0][rule]
        read = (*READS.get(rule, ()), *EARLIER.get(rule, ()))
        paths = (*self.job["inputs"], *undeclared(run, read, self.job["shard"]))
        self.given = {path for path in paths if not Path(path).is_absolute()}
        if rule == "report":  # Snakemake's own, of everything there is
            there = files_of(run.folder, ["results", "phantom", ".snakemake/metadata"])
            self.given = set(there) - {*self.job["outputs"], *self.job["log"]}
        made = undeclared(run, MAKES.get(rule, ()), self.job["shard"])
        self.makes = [*self.job["outputs"], *made]
        for path in (*self.job["outputs"], *self.job["log"]):  # as Snakemake does
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        for path in self.given:
            give(run.folder / path, self.folder / path)

    def execute(self) -> None:
        """Run it; fail where it asked for more, or wrote into what it was given."""
        before, asked = files_of(self.run.folder, self.given), self.folder.parent / "asked"
        call(self.folder, "run", self.jobs, self.rule, asked)
        assert files_of(self.run.folder, self.given) == before, "a script wrote into its inputs"
        if asked.exists():
            known = {Path(path) for path in (*self.given, *self.makes, *self.job["log"])}
            strange = [path for path in asked.read_text().splitlines() if not may(path, known)]
            assert not strange, strange


@pytest.mark.parametrize("rule", sorted(set(rules_with_work()) - TAKE_AWAY))
def test_a_rule_makes_its_outputs_again_from_what_it_declares(rule, jobs, whole, tmp_path):
    alone = Alone(rule, whole, jobs, tmp_path)
    alone.execute()
    for path in alone.makes:
        SAME.get(rule, same)(whole.folder / path, alone.folder / path)


def test_only_images_of_measured_participants_are_removed(jobs, whole, tmp_path):
    alone = Alone("remove_images", whole, jobs, tmp_path)
    ledger = files.read_tsv(whole.folder / REMOVED.replace("images_removed.json", "volumes.tsv"))
    measured = ledger[ledger["verdict"] == "ok"]
    folders = [
        files.subject_folder("results", row.eid, row.instance) for row in measured.itertuples()
    ]
    alone.makes += [str(folder / "images_removed.json") for folder in folders]
    before = files_of(alone.folder, alone.given)
    alone.execute()
    gone = set(before) - set(files_of(alone.folder, alone.given))
    assert gone == {str(folder / name) for folder in folders for name in IMAGES[:2]}
    assert files.read_json(alone.folder / REMOVED)["participants"] == len(folders)


def test_only_ledgers_with_failures_of_a_machine_are_opened_again(jobs, whole, tmp_path):
    alone = Alone("find_failed", whole, jobs, tmp_path)
    failed = {
        str(path.relative_to(whole.folder)): number
        for path in whole.folder.glob("results/shards/*/*/boxes.tsv")
        if (number := (files.read_tsv(path)["verdict"] == "tool_failed").sum())
    }
    before = files_of(alone.folder, alone.given)
    alone.execute()
    assert set(before) - set(files_of(alone.folder, alone.given)) == set(failed)
    counts = files.read_tsv(alone.folder / RETRY)
    assert counts["stage"].tolist() == ["tool/boxes", "other/boxes"]
    assert counts["participants"].sum() == sum(failed.values()) > 0


def give(source: Path, place: Path) -> None:
    """Link a file, or every file of a folder: what a script adds there stays with it."""
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        for path in source.iterdir():
            give(path, place / path.name)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.hardlink_to(source)  # the search of egress follows no other link


def files_of(run: Path, paths) -> dict[str, int]:
    """Files of a run, and in folders of it, with their time of change."""
    places = [run / path for path in paths]
    found = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    return {str(path.relative_to(run)): path.stat().st_mtime_ns for path in found}


def may(path: str, known: set[Path]) -> bool:
    """Whether a path may be asked for: known, in a known folder, the folder of a known path."""
    path = Path(path)
    inside = path.parts[:1] not in [("..",), (".snakemake",)]
    return not inside or bool({path, *path.parents} & known) or path in {k.parent for k in known}


def test_every_rule_has_a_case(jobs):
    assert set(jobs[0]) == set(rules_with_work())


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


def same_sweep(expected, found):
    if expected.is_file():  # see same_training
        first, second = (files.read_tsv(path) for path in (expected, found))
        pd.testing.assert_frame_equal(first, second, rtol=0.1)
    else:
        for path in filter(Path.is_file, expected.rglob("*")):
            same_training(path, found / path.relative_to(expected))


def same_egress(expected, found):
    """But for the list of what stays: of everything that there is, and here are inputs alone."""
    if expected.is_file():
        first, second = (files.read_tsv(path).set_index("file") for path in (expected, found))
        pd.testing.assert_frame_equal(first.drop("LEFT_OUT.tsv"), second.drop("LEFT_OUT.tsv"))
    else:
        names = [
            {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
            for folder in (expected, found)
        ]
        assert names[0] - {Path(".snakemake_timestamp")} == names[1]


SAME = {
    ".tsv": same_table,
    ".json": same_json,
    ".png": same_picture,
    ".npz": same_arrays,
    ".h5": same_crops,
    "report.zip": same_names,
    "collect_egress": same_egress,
    "learning_rate_sweep": same_sweep,
    "train": same_training,
}
