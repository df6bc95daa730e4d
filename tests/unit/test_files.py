"""Files: atomic writing, identity-free NIfTI, stable hashes."""

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, grid
from iliopsoas.status import InputError


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "table.tsv"
    files.write_text(path, "old")

    def write_half_and_fail():
        with files.atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half_and_fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.tsv"]


def test_nifti_is_deterministic_and_names_nobody(tmp_path):
    image = grid.las_image(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    first, second = tmp_path / "1234567_2.nii.gz", tmp_path / "7654321_2.nii.gz"
    files.write_nifti(first, image)
    files.write_nifti(second, image)
    assert first.read_bytes() == second.read_bytes()
    content = gzip.decompress(first.read_bytes())
    assert b"1234567" not in first.read_bytes() + content
    loaded = nib.load(first)
    np.testing.assert_array_equal(loaded.get_fdata(), image.get_fdata())
    np.testing.assert_allclose(loaded.affine, grid.las_affine(), atol=1e-4)
    assert loaded.header.get_xyzt_units()[0] == "mm"
    assert not loaded.header["descrip"].tobytes().strip(b"\0")


def test_tables_keep_ids_as_text_and_missing_as_missing(tmp_path):
    table = pd.DataFrame({"eid": ["0100001"], "instance": ["2"], "left_ml": [np.nan]})
    files.write_tsv(tmp_path / "t.tsv", table)
    assert (tmp_path / "t.tsv").read_text().splitlines()[1] == "0100001\t2\t"
    read = files.read_tsv(tmp_path / "t.tsv")
    assert read["eid"].tolist() == ["0100001"]
    assert read["left_ml"].isna().all()


def test_not_a_number_becomes_null(tmp_path):
    files.write_json(tmp_path / "r.json", {"snr": np.float32("nan"), "z": np.int64(3)})
    assert files.read_json(tmp_path / "r.json") == {"snr": None, "z": 3}


def test_fingerprints_depend_on_content_alone():
    assert files.fingerprint({"a": 1, "b": 2}) == files.fingerprint({"b": 2, "a": 1})
    assert files.fingerprint({"a": 1}) != files.fingerprint({"a": 2})


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 1000)
    assert files.sha256(tmp_path / "f") == hashlib.sha256(b"abc" * 1000).hexdigest()


@pytest.mark.parametrize(
    ("affine", "expected"),
    [
        (grid.las_affine(), True),
        (np.diag([2.2, 2.2, 3.0, 1.0]), False),
        (np.array([[-2.2, 0.01, 0, 0], [0, 2.2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]), False),
    ],
)
def test_las_is_told_from_other_orders(affine, expected):
    assert grid.is_las(affine) is expected


def test_stitched_grid_is_the_published_one():
    assert grid.SHAPE == (224, 174, 370)
    np.testing.assert_allclose(
        grid.las_affine() @ [223, 173, 369, 1], [-247.767872, 194.196436, 66.0, 1.0], atol=1e-4
    )
    assert pytest.approx(2.232142925**2 * 3.0 / 1000) == grid.VOXEL_ML


def test_atomic_builds_on_scratch_and_leaves_nothing_there(tmp_path, monkeypatch):
    scratch = tmp_path / "node disk"
    scratch.mkdir()
    monkeypatch.setenv("NODE_DISK", str(scratch))
    target = tmp_path / "results" / "crops.h5"
    with files.atomic(target, "$NODE_DISK") as built:
        assert scratch in built.parents
        built.write_bytes(b"new")
        assert not target.exists()
    assert target.read_bytes() == b"new"

    def fail():
        with files.atomic(target, "$NODE_DISK") as built:
            built.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_bytes() == b"new"
    assert list(scratch.iterdir()) == []
    assert [path.name for path in target.parent.iterdir()] == ["crops.h5"]
    with (
        pytest.raises(InputError, match=r"\$NO_SUCH_DISK.*expected a folder.*not set"),
        files.atomic(target, "$NO_SUCH_DISK"),
    ):
        pass


def fill(folder, **content):
    with files.owned_folder(folder) as part:
        for name, text in content.items():
            files.write_text(part / name.replace("_", "/"), text)


def test_only_our_own_files_are_replaced_and_removed(tmp_path):
    folder = tmp_path / "review"
    fill(folder, index="1", previews_a="1", previews_b="1", old_c="1")
    (folder / "decisions.tsv").write_text("mine")
    (folder / "previews/mask").write_text("mine")
    fill(folder, index="2", previews_b="2")
    found = [path for path in folder.rglob("*") if path.is_file()]
    there = {path.relative_to(folder).as_posix(): path.read_text() for path in found}
    assert there == {"index": "2", "previews/b": "2", "decisions.tsv": "mine",
                     "previews/mask": "mine"}  # fmt: skip
    assert not (folder / "old").exists()


def test_a_file_of_somebody_else_is_never_overwritten(tmp_path):
    folder = tmp_path / "annotation"
    folder.mkdir()
    (folder / "1234567").write_text("mine")
    with pytest.raises(InputError, match="1 files there were not written") as refused:
        fill(folder, **{"1234567": "2", "other": "2"})
    assert "1234567" not in str(refused.value)
    assert [p.name for p in folder.iterdir()] == ["1234567"]
    assert (folder / "1234567").read_text() == "mine"


def test_a_folder_that_must_be_ours_alone_is_refused_before_and_after(tmp_path):
    folder = tmp_path / "egress"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"), files.owned_folder(folder, alone=True):
        pytest.fail("nothing is made where it cannot go")
    (folder / "notes.txt").unlink()
    with pytest.raises(InputError, match=r"late\.txt"), files.owned_folder(folder, alone=True):
        (folder / "late.txt").write_text("mine")
    assert (folder / "late.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["egress"]


def test_what_a_failure_leaves_is_the_folder_as_it_was(tmp_path):
    folder = tmp_path / "review"
    fill(folder, index="1")

    def fail_halfway():
        with files.owned_folder(folder) as part:
            files.write_text(part / "index", "2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert (folder / "index").read_text() == "1"
    assert sorted(p.name for p in tmp_path.iterdir()) == [".review.written", "review"]


def test_files_of_a_move_that_was_cut_off_are_still_ours(tmp_path, monkeypatch):
    folder = tmp_path / "review"
    fill(folder, index="1")
    replace = files.os.replace

    def cut_off(source, target):
        if target == folder / "b":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fill(folder, a="2", b="2")
    monkeypatch.undo()
    assert (folder / "a").exists()
    fill(folder, index="3")
    assert [p.name for p in folder.iterdir()] == ["index"]
