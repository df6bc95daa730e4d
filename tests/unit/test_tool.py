"""A command that draws masks, by participant or by folder: failures have names, nobody an id."""

import sys
import time

import nibabel as nib
import numpy as np
import pandas as pd
import psutil
import pytest

from iliopsoas import config, files, grid
from iliopsoas.masks import other_tools
from iliopsoas.stages import other, tool
from iliopsoas.stages.shards import ask_again
from iliopsoas.status import InputError

SHAPE = (30, 22, 35)
AFFINE = grid.las_affine((30.0, -20.0, -300.0))
# value in the corner of the image -> what the stand-in does with it
DRAWS, FAILS, SKIPS, SPOILS, HANGS = 0, 3, 4, 5, 6
STAND_IN = f"""
import pathlib, subprocess, sys, nibabel, numpy
def one(source, target):
    image = nibabel.load(source)
    values = numpy.asanyarray(image.dataobj)
    what = values[0, 0, 0]
    if what == {FAILS}:
        sys.exit("no memory for participant 7654321")
    if what == {HANGS}:
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path(sys.argv[3], "child").write_text(str(child.pid))
        child.wait()
    if what == {SPOILS}:
        pathlib.Path(target).write_text("no image")
    if what in ({SKIPS}, {SPOILS}):
        return
    sides = numpy.where(numpy.arange({SHAPE[0]})[:, None, None] > 15, 1, 2)
    labels = numpy.where(values > 100, sides, 0)
    if pathlib.Path(target).suffix:
        nibabel.save(nibabel.Nifti1Image(labels.astype("uint8"), image.affine), target)
    else:
        for side, label in (("left", 1), ("right", 2)):
            mask = nibabel.Nifti1Image((labels == label).astype("uint8"), image.affine)
            nibabel.save(mask, pathlib.Path(target, side + ".nii.gz"))
source, target = map(pathlib.Path, sys.argv[1:3])
with open(pathlib.Path(sys.argv[3], "calls"), "a") as calls:
    print(*sys.argv[1:3], *(source.iterdir() if source.is_dir() else ()), file=calls)
if source.is_dir():
    for path in sorted(source.iterdir()):
        one(path, target / path.name)
else:
    one(source, target)
"""
EIDS = {DRAWS: "1000001", FAILS: "1000002", SKIPS: "1000003", SPOILS: "1000004", HANGS: "1000005"}


@pytest.fixture
def work(tmp_path):
    """A folder whose name needs quotes, with a participant for everything a tool can do."""
    work = tmp_path / "my work"
    people, verdicts = [*EIDS.values(), "1000009"], ["ok"] * len(EIDS) + ["truncated_zip"]
    for what, eid in EIDS.items():
        values = np.zeros(SHAPE, np.int16)
        values[18:24, 5:12, 8:28] = values[5:11, 5:12, 8:28] = 300
        for name in ("water", "fat", "body"):
            values[0, 0, 0] = what
            image = grid.las_image(values, AFFINE)
            files.write_nifti(
                files.subject_folder(work / "results", eid, "2") / f"{name}.nii.gz", image
            )
    table = pd.DataFrame({"eid": people, "instance": "2", "verdict": verdicts, "message": ""})
    for stage in ("dixon", "landmarks"):
        files.write_tsv(work / f"results/shards/r-0001/{stage}.tsv", table.assign(fingerprint="f"))
    (work / "stand_in.py").write_text(STAND_IN)
    return work


def only(work, *kinds):
    """Keep these participants, and the one who was refused earlier."""
    people = [EIDS[kind] for kind in kinds] + ["1000009"]
    table = pd.DataFrame({"eid": people, "instance": "2"})
    files.write_tsv(work / "results/shards/r-0001/manifest.tsv", table)


def method(work, places="{input} {output}", **changes):
    command = f"'{sys.executable}' '{work}/stand_in.py' {places} '{work}'"
    release = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}
    given = {"name": "stand_in", "folder": str(work / "masks"), "command": command} | changes
    return config.load({"releases": [release], "other_methods": [given]}).other_methods[0]


def run(work, method, **options):
    shard = work / "results/shards/r-0001"
    options = {"max_machine_failures": 1} | options
    return tool.run(
        shard / "manifest.tsv",
        shard / "dixon.tsv",
        shard / f"tool/{method.name}.tsv",
        results=work / "results",
        method=method.model_dump(),
        version="tool 1",
        options=config.Run(**options),
    )


def calls(work):
    path = work / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


@pytest.mark.parametrize("places", ["{input} {output}", "{inputs} {outputs}"])
def test_a_mask_comes_out_for_each_or_its_absence_has_a_name(work, places):
    alone = places == "{input} {output}"
    # one that fails would take the rest of its folder with it
    only(work, DRAWS, SKIPS, SPOILS, *([FAILS] if alone else []))
    ledger = run(work, method(work, places)).set_index("eid")
    wanted = {DRAWS: "ok", SKIPS: "mask_missing", SPOILS: "mask_unreadable"}
    wanted |= {FAILS: "tool_failed"} if alone else {}
    for kind, verdict in wanted.items():
        assert ledger.loc[EIDS[kind], "verdict"] == verdict
    assert ledger.loc["1000009", "verdict"] == "earlier_stage"
    assert [path.name for path in (work / "masks").iterdir()] == ["1000001_2.nii.gz"]
    drawn = np.asanyarray(nib.load(work / "masks/1000001_2.nii.gz").dataobj)
    assert (drawn == 1).sum() == (drawn == 2).sum() == 6 * 7 * 20
    made = calls(work)
    assert len(made) == (4 if alone else 1)
    assert not any(eid in line for eid in EIDS.values() for line in made), "the tool knows no EID"
    assert ledger["message"].str.contains("stand_in").sum() >= 2


def test_what_failed_in_a_folder_costs_those_without_a_mask_alone(work):
    only(work, DRAWS, FAILS, SKIPS)
    ledger = run(work, method(work, "{inputs} {outputs}"))
    assert list(ledger["verdict"]) == ["ok", "tool_failed", "tool_failed", "earlier_stage"]
    assert ledger["message"].iloc[1] == "stand_in: its command ended with exit code 1"


def test_what_a_failing_tool_says_is_logged_without_ids(work, caplog):
    only(work, DRAWS, FAILS)
    with caplog.at_level("INFO", "iliopsoas"):
        run(work, method(work))
    assert "no memory for participant <EID>" in caplog.text
    assert "7654321" not in caplog.text


def test_nobody_is_done_twice_and_another_command_is_done_by_all(work):
    only(work, DRAWS, SKIPS)
    run(work, method(work))
    assert len(calls(work)) == 2
    run(work, method(work))
    assert calls(work) == []
    (work / "masks/1000001_2.nii.gz").unlink()
    run(work, method(work))
    assert len(calls(work)) == 1
    run(work, method(work, "{input}   {output}"))
    assert len(calls(work)) == 2


def test_who_failed_is_tried_again_when_asked_for(work):
    only(work, DRAWS, FAILS)
    run(work, method(work))
    found = ask_again(work / "results")
    assert found.to_dict("records") == [
        {"stage": "tool/stand_in", "verdict": "tool_failed", "participants": 1}
    ]
    calls(work)
    run(work, method(work))
    assert len(calls(work)) == 1


def test_a_tool_that_hangs_is_ended_with_all_it_has_started(work):
    only(work, DRAWS, HANGS)
    ledger = run(work, method(work), time_limit_s=8)
    assert list(ledger["verdict"]) == ["ok", "time_limit", "earlier_stage"]
    child = int((work / "child").read_text())
    for _ in range(50):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail("the tool's child still runs")


def test_a_program_that_is_not_there_stops_the_run(work):
    only(work, DRAWS)
    with pytest.raises(InputError, match="stand_in"):
        run(work, method(work, command="no_such_tool -i {input} -o {output}"))


LISTED = """
import pathlib, sys, nibabel, numpy
images, folder = sys.argv[sys.argv.index("-i") + 1], sys.argv[sys.argv.index("-o") + 1]
for path in images.split(","):
    image = nibabel.load(path)
    muscle = numpy.asanyarray(image.dataobj) > 100
    left = numpy.arange(muscle.shape[0])[:, None, None] > 15
    labels = numpy.where(muscle, numpy.where(left, 5121, 5122), 0).astype("int16")
    labels[:, :, :15] += numpy.where(labels[:, :, :15] > 0, 6141 - 5121, 0).astype("int16")
    name = pathlib.Path(path).name.removesuffix(".nii.gz") + "_dseg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels, image.affine, image.header), f"{folder}/{name}")
"""


def test_a_tool_that_takes_a_list_of_files_and_names_its_own(work):
    """As MuscleMap does: images between commas, IMAGE_dseg.nii.gz, psoas and iliacus apart."""
    only(work, DRAWS, SKIPS)
    (work / "listed.py").write_text(LISTED)
    scratch = work / "a scratch"
    scratch.mkdir()
    given = method(
        work,
        command=f"'{sys.executable}' '{work}/listed.py' "
        '-i "$(ls {inputs}/*.nii.gz | paste -sd,)" -o {outputs}',
        preset="musclemap_2",
        **{f"{side}_file": "{subject}_dseg.nii.gz" for side in grid.SIDES},
    )
    ledger = run(work, given, scratch=str(scratch))
    assert list(ledger["verdict"]) == ["ok", "ok", "earlier_stage"]
    path = work / "masks/1000001_2_dseg.nii.gz"
    water = nib.load(files.subject_folder(work / "results", "1000001", "2") / "water.nii.gz")
    labels = {side: getattr(given, f"{side}_labels") for side in grid.SIDES}
    found, _ = other_tools.read(dict.fromkeys(grid.SIDES, path), labels, water)
    assert (found == grid.LEFT).sum() == (found == grid.RIGHT).sum() == 6 * 7 * 20


def test_sides_in_files_of_their_own_are_a_folder_for_the_tool(work):
    only(work, DRAWS)
    apart = {f"{side}_file": f"{{subject}}/{side}.nii.gz" for side in grid.SIDES}
    apart |= {f"{side}_labels": [1] for side in grid.SIDES}
    ledger = run(work, method(work, **apart))
    assert ledger["verdict"].iloc[0] == "ok"
    found = sorted(path.name for path in (work / "masks/1000001_2").iterdir())
    assert found == ["left.nii.gz", "right.nii.gz"]


def test_its_masks_are_measured_like_any_other_tools(work):
    only(work, DRAWS, FAILS, SKIPS)
    chosen = method(work)
    run(work, chosen)
    shard = work / "results/shards/r-0001"
    ledger = other.run(
        shard / "manifest.tsv",
        shard / "dixon.tsv",
        shard / "landmarks.tsv",
        shard / f"other/{chosen.name}.tsv",
        results=work / "results",
        method=chosen.model_dump(),
        version="volumes 1",
        processes=1,
        options=config.Run(max_machine_failures=1),
        tool=shard / f"tool/{chosen.name}.tsv",
    )
    assert list(ledger["verdict"]) == ["ok", "tool_failed", "mask_missing", "earlier_stage"]
    assert ledger["left_ml"].iloc[0] == pytest.approx(6 * 7 * 20 * grid.VOXEL_ML)
    assert ledger["left_ml"].iloc[1:].isna().all()


def test_a_mask_that_lay_there_before_is_kept(work):
    only(work, DRAWS)
    path = work / "masks/1000001_2.nii.gz"
    path.parent.mkdir()
    path.write_text("drawn by hand, in days")
    run(work, method(work))
    assert nib.load(path).shape == SHAPE
    kept = path.with_name(f"{path.name}.kept")
    assert kept.read_text() == "drawn by hand, in days"
    run(work, method(work, "{input} {output} ''"))  # another command: our own mask makes room
    assert sorted(path.parent.iterdir()) == [path, kept]
    path.write_text("corrected by hand")
    run(work, method(work))
    assert path.with_name(f"{path.name}.kept1").read_text() == "corrected by hand"
