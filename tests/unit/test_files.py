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
