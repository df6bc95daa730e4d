"""The synthetic cohort on disk: complete, resumable, the same for the same seed."""

import hashlib

import nibabel as nib
import numpy as np
import pytest

from iliopsoas import files, grid
from iliopsoas.phantom import anatomy, cohort
from iliopsoas.status import InputError

ARGUMENTS = {
    "participants": 5,
    "annotated": 2,
    "repeats": 1,
    "faults": ["truncated", "missing:6"],
    "seed": 11,
}


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def quick(monkeypatch):
    """Bodies of noise: this file tests the bookkeeping; the anatomy has tests of its own."""
    made = []

    class Body:
        volume_ml = {"left": 250.5, "right": 260.25}  # noqa: RUF012

        def __init__(self, traits):
            self.iliopsoas = np.zeros(grid.SHAPE, np.uint8)
            self.iliopsoas[100:120, 80:100, 150:170] = grid.RIGHT
            self.iliopsoas[140:160, 80:100, 150:170] = grid.LEFT
            self.seed = traits.seed

    def build(traits):
        made.append(traits)
        return Body(traits)

    def acquire(body, rng, faults=()):
        from iliopsoas.phantom.acquisition import Station

        stations = []
        for number in range(1, 7):
            shape = (6, 12, 16)
            arrays = {
                name: rng.integers(0, 900, shape).astype(np.uint16)
                for name in ("in", "opp", "F", "W")
            }
            position = np.zeros((6, 3))
            position[:, 2] = -200.0 * number + np.arange(6) * 4.0
            stations.append(Station(number, arrays, position, 4.0, number in (2, 3, 4)))
        return stations

    monkeypatch.setattr(cohort.anatomy, "build", build)
    monkeypatch.setattr(cohort.acquisition, "acquire", acquire)
    return made


def test_what_lies_in_the_folder(tmp_path, quick):
    steps = []
    truth = cohort.make(tmp_path, **ARGUMENTS, progress=lambda *step: steps.append(step))
    assert steps == [(i, 6) for i in range(1, 7)]
    assert truth["eid"].nunique() == 5
    assert sorted(truth["planted_fault"]) == ["", "", "", "", "missing:6", "truncated"]
    on_disk = files.read_tsv(tmp_path / "truth.tsv", keep_default_na=False)
    assert on_disk.columns.tolist() == ["eid", "instance", "left_ml", "right_ml", "planted_fault"]
    assert len(on_disk) == 6
    zips = {path.name for path in (tmp_path / "zips").iterdir()}
    assert zips == {f"{row.eid}_20201_{row.instance}_0.zip" for row in truth.itertuples()}
    masks = {path.name for path in (tmp_path / "truth").iterdir()}
    assert masks == {f"{row.eid}_{row.instance}.nii.gz" for row in truth.itertuples()}
    annotated = {path.name for path in (tmp_path / "annotations").iterdir()}
    assert len(annotated) == 2
    faulty = truth[truth["planted_fault"] != ""]
    assert not any(name[:7] in set(faulty["eid"]) for name in annotated)
    image = nib.load(tmp_path / "annotations" / min(annotated))
    assert image.shape == grid.SHAPE
    assert grid.is_las(image.affine)
    assert image.get_data_dtype() == np.uint8
    assert set(np.unique(image.dataobj)) == {0, 1, 2}
    header = bytes(image.header.binaryblock)
    assert not any(eid.encode() in header for eid in truth["eid"])


def test_a_second_call_makes_nothing_and_changes_no_byte(tmp_path, quick):
    cohort.make(tmp_path, **ARGUMENTS)
    before = hashes(tmp_path)
    del quick[:]
    cohort.make(tmp_path, **ARGUMENTS)
    assert quick == []
    assert hashes(tmp_path) == before


def test_more_participants_leave_the_earlier_ones_as_they_are(tmp_path, quick):
    cohort.make(tmp_path, **ARGUMENTS)
    before = hashes(tmp_path)
    del quick[:]
    cohort.make(tmp_path, **ARGUMENTS | {"participants": 8})
    assert len(quick) == 3
    after = hashes(tmp_path)
    images = {name for name in before if name.endswith((".zip", ".nii.gz"))}
    assert all(after[name] == before[name] for name in images)
    assert len(list((tmp_path / "zips").iterdir())) == 9


def test_only_what_is_gone_or_damaged_is_made_again(tmp_path, quick):
    cohort.make(tmp_path, **ARGUMENTS)
    before = hashes(tmp_path)
    victims = sorted((tmp_path / "zips").iterdir())[:2]
    victims[0].unlink()
    victims[1].write_bytes(b"half")
    (tmp_path / "truth.tsv").unlink()
    del quick[:]
    cohort.make(tmp_path, **ARGUMENTS)
    assert len(quick) == 2
    assert hashes(tmp_path) == before


def test_another_seed_replaces_the_cohort(tmp_path, quick):
    first = cohort.make(tmp_path, **ARGUMENTS)
    stranger = tmp_path / "zips" / "note.txt"
    stranger.write_text("not ours")
    second = cohort.make(tmp_path, **ARGUMENTS | {"seed": 12})
    assert not set(first["eid"]) & set(second["eid"])
    assert len(list((tmp_path / "zips").glob("*.zip"))) == 6
    assert stranger.exists()


def test_a_new_stage_version_makes_everything_again(tmp_path, quick, monkeypatch):
    cohort.make(tmp_path, **ARGUMENTS)
    del quick[:]
    monkeypatch.setitem(cohort.STAGES, "phantom", cohort.STAGES["phantom"] + 1)
    cohort.make(tmp_path, **ARGUMENTS)
    assert len(quick) == 6


def test_an_interrupted_call_is_resumed(tmp_path, quick, monkeypatch):
    whole = tmp_path / "whole"
    cohort.make(whole, **ARGUMENTS)
    write = cohort.archive.write_zip
    calls = []

    def failing(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(*arguments, **options)

    monkeypatch.setattr(cohort.archive, "write_zip", failing)
    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        cohort.make(part, **ARGUMENTS)
    assert not (part / "truth.tsv").exists()
    del quick[:]
    cohort.make(part, **ARGUMENTS)
    assert len(quick) == 3
    assert hashes(part) == hashes(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"faults": ["swaped:4"]}, "swaped:4"),
        ({"participants": 3}, "at least 4"),
        ({"repeats": 9}, "9 repeat visits"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_before_anything_is_made(
    tmp_path, quick, change, message
):
    with pytest.raises(InputError, match=message):
        cohort.make(tmp_path, **ARGUMENTS | change)
    assert quick == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_real_bodies_in_two_processes_as_in_one(tmp_path):
    arguments = {"participants": 2, "annotated": 1, "repeats": 0, "faults": [], "seed": 5}
    truth = cohort.make(tmp_path / "a", **arguments, processes=1)
    cohort.make(tmp_path / "b", **arguments, processes=2)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    for row in truth.itertuples():
        mask = np.asarray(nib.load(tmp_path / "a" / "truth" / f"{row.eid}_2.nii.gz").dataobj)
        voxel = 2.232142925**2 * 3.0 / 1000
        assert (mask == 1).sum() * voxel == pytest.approx(row.left_ml)
        assert (mask == 2).sum() * voxel == pytest.approx(row.right_ml)
        person = next(p for p in cohort.phenotypes.draw(2, 5) if p.eid == row.eid)
        body = anatomy.build(person.visits[0].traits)
        np.testing.assert_array_equal(body.iliopsoas, mask)
