"""Stitched images that are not kept: removed after their use, made again where needed."""

import shutil

import dixon_zip as dz
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages import dixon as dixon_stage
from iliopsoas.stages import images, shards
from iliopsoas.status import Refused, Verdict

MEASURED, REFUSED = "1000001", "1000002"
PARAMETERS = {"bias_shrink": 8}  # quick


def dixon(results, keep="results"):
    return dixon_stage.run(
        results / "manifest.tsv",
        results / "dixon.tsv",
        results=results,
        version=1,
        parameters=PARAMETERS,
        processes=1,
        options=Run(keep=keep),
    )


def remove(results):
    return images.remove(
        results / "manifest.tsv",
        dixon=results / "dixon.tsv",
        volumes=results / "volumes.tsv",
        results=results,
        parameters=PARAMETERS,
    )


def folder(results, eid=MEASURED):
    return files.subject_folder(results, eid, "2")


def modified(results):
    return {path: path.stat().st_mtime_ns for path in results.glob("subjects/*/*/*")}


@pytest.fixture(scope="module")
def removed(tmp_path_factory):
    """Results of two participants, one measured and one refused after Dixon; what was removed."""
    results = tmp_path_factory.mktemp("results")
    path = dz.write_zip(results / "scan.zip", dz.scan_items(dz.make_stations()))
    rows = [{"eid": eid, "instance": "2", "scan": str(path)} for eid in (MEASURED, REFUSED)]
    files.write_tsv(results / "manifest.tsv", pd.DataFrame(rows[:1]))
    dixon(results)
    shutil.copytree(folder(results), folder(results, REFUSED))
    files.write_tsv(results / "manifest.tsv", pd.DataFrame(rows))
    made = files.read_tsv(results / "dixon.tsv")
    files.write_tsv(results / "dixon.tsv", pd.concat([made, made.assign(eid=REFUSED)]))
    ends = [
        {"eid": eid, "instance": "2", "verdict": str(verdict)}
        for eid, verdict in ((MEASURED, Verdict.OK), (REFUSED, Verdict.EARLIER_STAGE))
    ]
    files.write_tsv(results / "volumes.tsv", pd.DataFrame(ends))
    before = [np.array(image.dataobj) for image in images.load(folder(results))]
    size = sum((folder(results) / name).stat().st_size for name in images.LARGE)
    found = remove(results)
    assert found == {"participants": 1, "megabytes": round(size / 1e6, 1)}
    return results, before


def test_only_the_measured_lose_images_and_the_body_stays(removed):
    results, _ = removed
    left = sorted(path.name for path in folder(results).glob("*.nii.gz"))
    assert left == ["body.nii.gz"]
    assert all((folder(results, REFUSED) / name).exists() for name in images.IMAGES)


def test_removed_images_are_made_again_the_same_and_not_written(removed):
    results, before = removed
    there = modified(results)
    again = images.load(folder(results))
    for image, array in zip(again, before, strict=True):
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
        assert image.get_data_dtype() == array.dtype
    assert modified(results) == there


def test_removed_images_count_as_done_where_they_are_not_kept(removed):
    results, _ = removed
    there = modified(results)
    ledger = dixon(results)
    assert ledger["verdict"].tolist() == ["ok", "ok"]
    assert modified(results) == there, "nobody is done again"


def test_a_lost_body_mask_is_noticed_although_the_others_were_removed(removed, tmp_path):
    results, before = removed
    own = tmp_path / "results"
    shutil.copytree(results, own)
    (folder(own) / "body.nii.gz").unlink()
    dixon(own)
    for image, array in zip(images.load(folder(own)), before, strict=True):
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
    assert (folder(own) / "body.nii.gz").exists()


def test_a_removal_that_was_cut_off_is_finished(removed, tmp_path):
    results, _ = removed
    own = tmp_path / "results"
    shutil.copytree(results, own)
    shutil.copy(folder(own, REFUSED) / "fat.nii.gz", folder(own) / "fat.nii.gz")
    note = files.read_json(folder(own) / images.NOTE)
    found = remove(own)
    assert found["megabytes"] == round(note["bytes"] / 1e6, 1)
    assert not (folder(own) / "fat.nii.gz").exists()


def test_a_zip_that_was_moved_is_followed_and_one_that_is_gone_is_said(removed, tmp_path):
    results, before = removed
    own = tmp_path / "results"
    shutil.copytree(results, own)
    manifest = files.read_tsv(own / "manifest.tsv")
    moved = tmp_path / "moved.zip"
    shutil.copy(manifest["scan"].iloc[0], moved)
    files.write_tsv(own / "manifest.tsv", manifest.assign(scan=str(moved)))
    dixon(own)
    (water,) = images.load(folder(own), "water.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(water.dataobj), before[0])
    moved.unlink()
    with pytest.raises(Refused, match=r"run\.keep") as caught:
        images.load(folder(own))
    assert caught.value.verdict == Verdict.SCAN_MISSING


def test_kept_again_they_come_back_and_a_loss_is_no_removal(removed, tmp_path, monkeypatch):
    results, before = removed
    own = tmp_path / "results"
    shutil.copytree(results, own)
    (folder(own, REFUSED) / "fat.nii.gz").unlink()
    monkeypatch.setattr(shards, "LATE_S", 0.1)
    with pytest.raises(Refused, match=r"dixon: fat\.nii\.gz is gone"):
        images.load(folder(own, REFUSED))
    dixon(own, keep="everything")
    for eid in (MEASURED, REFUSED):
        assert not images.is_removed(folder(own, eid))
        for image, array in zip(images.load(folder(own, eid)), before, strict=True):
            np.testing.assert_array_equal(np.asanyarray(image.dataobj), array)
