"""Vertebra masks of another tool: middles of the bodies, refusals, the stage that reads them."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import cli, config, files, grid
from iliopsoas.cli.arguments import parser
from iliopsoas.config import Run
from iliopsoas.masks import profile, vertebrae
from iliopsoas.stages import volumes
from iliopsoas.status import Refused

LABELS = {"L3": [4], "L4": [3], "L5": [2]}
HIP_MM = -611.0
MIDDLES = {"L5": -490.0, "L4": -452.0, "L3": -414.0}


def spine(places=MIDDLES, labels=LABELS):
    """A label image of 2 mm in RAS order: bodies of 26 mm, processes behind them 14 mm lower."""
    image = np.zeros((40, 60, 110), np.int16)
    origin = np.array([-40.0, -60.0, -560.0])
    for name, z in places.items():
        low = round((z - 13 - origin[2]) / 2)
        image[10:30, 30:50, low : low + 14] = labels[name][0]
        image[17:23, 8:30, low - 7 : low + 5] = labels[name][0]
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = origin
    return nib.Nifti1Image(image, affine)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR", "SLP"])
def test_the_middle_is_the_body_s_whatever_the_order_of_axes(tmp_path, axes):
    image = spine()
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(image.as_reoriented(turn), tmp_path / "spine.nii.gz")
    found = vertebrae.read(tmp_path / "spine.nii.gz", LABELS, HIP_MM)
    # the whole vertebra's extent would lie 7 mm lower
    assert found == pytest.approx(MIDDLES, abs=1.1)


@pytest.mark.parametrize(
    ("image", "verdict"),
    [
        (None, "mask_missing"),
        (b"nothing of the kind", "mask_unreadable"),
        (spine(labels={"L3": [14], "L4": [13], "L5": [12]}), "mask_empty"),
        (spine({"L5": -414.0, "L4": -452.0, "L3": -490.0}), "mask_other_space"),  # upside down
        (spine({"L4": -490.0, "L3": -410.0}), "mask_other_space"),  # L3 is none of its neighbours
    ],
)
def test_what_cannot_be_a_lumbar_spine_is_refused(tmp_path, image, verdict):
    path = tmp_path / "1234567_2.nii.gz"
    if isinstance(image, bytes):
        path.write_bytes(image)
    elif image is not None:
        nib.save(image, path)
    with pytest.raises(Refused) as refused:
        vertebrae.read(path, LABELS, HIP_MM)
    assert refused.value.verdict == verdict
    assert "1234567" not in refused.value.message
    nib.save(spine(), path)
    with pytest.raises(Refused, match="above the hips"):
        vertebrae.read(path, LABELS, HIP_MM + 300)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Three segmented participants of a shard, and a function that runs the stage on them."""
    folder = tmp_path_factory.mktemp("vertebrae")
    eids = ["1000001", "1000002", "1000003"]
    affine = grid.las_affine(origin=(250.0, -200.0, -1100.0))
    mask = np.zeros((60, 50, 240), np.uint8)
    mask[35:45, 20:30, 150:220] = grid.LEFT
    mask[12:22, 20:30, 150:220] = grid.RIGHT
    body = np.zeros(mask.shape, np.uint8)
    body[5:55, 5:45] = 1
    tissue = body.astype(np.int16) * 300
    joints = {"1": [8, 20, 239], "2": [52, 20, 239], "11": [15, 25, 163], "12": [42, 25, 163]}
    for eid in eids:
        own = files.subject_folder(folder / "results", eid, "2")
        for name, array in (
            ("iliopsoas", mask),
            ("water", tissue),
            ("fat", tissue),
            ("body", body),
        ):
            files.write_nifti(own / f"{name}.nii.gz", grid.las_image(array, affine))
        files.write_json(own / "landmarks.json", joints)
    table = pd.DataFrame({"eid": eids, "instance": "2"})
    files.write_tsv(folder / "manifest.tsv", table)
    done = table.assign(verdict="ok", message="", seconds=1.0, fingerprint="a", bytes=1)
    files.write_tsv(folder / "results/shards/s-0001/segment.tsv", done)
    (folder / "masks").mkdir()

    def run(settings):
        return volumes.run(
            folder / "manifest.tsv",
            folder / "results/shards/s-0001/segment.tsv",
            folder / "results/shards/s-0001/volumes.tsv",
            results=folder / "results",
            version=1,
            parameters={},
            processes=1,
            options=Run(),
            vertebrae=settings,
        ).set_index("eid")

    return folder, run


def test_levels_come_from_the_mask_where_there_is_one_and_say_so(stage):
    folder, run = stage
    without = run(None)
    assert set(without["level_source"]) == {"landmarks"}
    assert without["level_note"].isna().all()
    settings = config.Vertebrae(
        folder=str(folder / "masks"), preset="totalsegmentator_vertebrae_mr"
    )
    hip = -1100 + 163 * grid.SLICE_MM
    assert hip == pytest.approx(HIP_MM)
    nib.save(spine(), folder / "masks/1000001_2.nii.gz")
    (folder / "masks/1000002_2.nii.gz").write_bytes(b"not an image")
    found = run(settings)
    assert (found["verdict"] == "ok").all(), "nobody loses a volume by a vertebra mask"
    assert found["level_source"].tolist() == ["vertebrae", "landmarks", "landmarks"]
    notes = found["level_note"].fillna("").str.split(":").str[0]
    assert notes.tolist() == ["", "mask_unreadable", "mask_missing"]
    first = found.loc["1000001"]
    assert first["l3_above_hip_mm"] == pytest.approx(MIDDLES["L3"] - hip, abs=1.1)
    assert first["l45_above_hip_mm"] == pytest.approx(-471.0 - hip, abs=1.1)
    for column in ("l3_above_hip_mm", "level_error_mm"):
        assert found[column].iloc[1:].tolist() == without[column].iloc[1:].tolist()
    profiles = volumes.profiles(found.reset_index(), results=folder / "results")
    assert profiles["level_source"].value_counts().to_dict() == {"landmarks": 4, "vertebrae": 2}
    # a mask that comes later is read, and only its participant is measured again
    nib.save(spine({name: z + 4 for name, z in MIDDLES.items()}), folder / "masks/1000003_2.nii.gz")
    again = run(settings)
    assert again["level_source"].tolist() == ["vertebrae", "landmarks", "vertebrae"]
    assert again["seconds"].iloc[:2].tolist() == found["seconds"].iloc[:2].tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "expected a preset, or l3, l4 and l5"),
        ({"l3": [20], "l4": [19]}, "found \\['l3', 'l4'\\]"),
        ({"l3": [20], "l4": [19], "l5": [19]}, "different labels"),
        ({"preset": "verse", "l3": [20]}, "found both"),
        ({"preset": "some"}, "expected one of .*totalspineseg"),
        ({"preset": "verse", "file": "spine.nii.gz"}, "subject"),
    ],
)
def test_labels_are_a_preset_or_three(change, said):
    with pytest.raises(ValueError, match=said):
        config.Vertebrae(folder="masks", **change)


def test_presets_and_labels_name_the_same_vertebrae():
    own = config.Vertebrae(folder="masks", l3=[22], l4=[23], l5=[24])
    assert own.labels == config.Vertebrae(folder="masks", preset="verse").labels
    assert config.Vertebrae(folder="m", preset="totalspineseg").labels["L5"] == [45]


def measured(work, spine, monkeypatch, capsys, *arguments):
    """`iliopsoas measure` on the first participant's images: exit code, volumes.json, messages."""
    own = files.subject_folder(work / "results", "1000001", "2")
    water, fat, body = (nib.load(own / f"{name}.nii.gz") for name in ("water", "fat", "body"))
    joints = files.read_json(own / "landmarks.json")
    monkeypatch.setattr("iliopsoas.cli.images.read", lambda *_: (water, fat, body, {}))
    monkeypatch.setattr("iliopsoas.landmarks.locate_with_record", lambda *_: (joints, {}))
    monkeypatch.setattr("iliopsoas.landmarks.assess", lambda *_: None)
    masks = ["--annotation", own / "iliopsoas.nii.gz", "--vertebrae", spine, *arguments]
    command = ["measure", own / "water.nii.gz", "-o", work / "out", "--overwrite", *masks]
    code = cli.main([str(part) for part in command])
    found = work / "out/volumes.json"
    return code, files.read_json(found) if found.exists() else None, "".join(capsys.readouterr())


@pytest.mark.parametrize("labels", ["totalsegmentator_vertebrae_mr", "4,3,2"])
def test_one_scan_gets_the_levels_that_the_workflow_gives(stage, labels, monkeypatch, capsys):
    folder, _ = stage
    path = folder / "spine.nii.gz"
    nib.save(spine(), path)
    code, found, said = measured(folder, path, monkeypatch, capsys, "--vertebra-labels", labels)
    assert code == cli.OK, said
    own = files.subject_folder(folder / "results", "1000001", "2")
    workflow = volumes.participant(own, {}, {"path": path, "labels": LABELS})
    assert {name: found[name] for name in profile.places_of(workflow)} == profile.places_of(
        workflow
    )
    assert found["level_source"] == "vertebrae"
    assert "by the vertebra mask" in said
    record = files.read_json(folder / "out/run.json")
    assert record["settings"]["vertebra_labels"] == LABELS
    assert record["inputs"]["vertebrae_sha256"] == files.sha256(path)


def test_one_scan_keeps_its_volumes_where_the_vertebra_mask_is_of_no_use(
    stage, monkeypatch, capsys
):
    path = stage[0] / "spine.nii.gz"
    nib.save(spine(), path)
    code, found, said = measured(
        stage[0], path, monkeypatch, capsys, "--vertebra-labels", "totalspineseg"
    )
    assert code == cli.OK, said
    assert found["left_ml"] > 0
    assert found["level_source"] == "landmarks"
    assert found["level_note"].startswith("mask_empty")
    assert "without the vertebra mask: mask_empty" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "needs --vertebra-labels"),
        (["--vertebra-labels", "spine_tool"], "totalspineseg.*'spine_tool'"),
        (["--vertebra-labels", "verse", "--vertebrae", "none.nii.gz"], "does not exist"),
    ],
)
def test_a_vertebra_mask_that_cannot_be_meant_is_refused(
    stage, arguments, said, monkeypatch, capsys
):
    path = stage[0] / "spine.nii.gz"
    nib.save(spine(), path)
    code, _, printed = measured(stage[0], path, monkeypatch, capsys, *arguments)
    assert code == cli.REFUSED
    assert re.search(said, printed)


@pytest.mark.parametrize("labels", ["4,3", "4,3,3", "4,3,0"])
def test_label_values_are_three_different_ones(stage, labels, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        measured(stage[0], "spine.nii.gz", monkeypatch, capsys, "--vertebra-labels", labels)
    assert stop.value.code == cli.USAGE


def test_the_help_names_the_presets():
    command = next(a for a in parser()._actions if a.dest == "command").choices["measure"]
    help_text = "".join(command.format_help().split())
    assert all(name in help_text for name in config.vertebra_presets())
