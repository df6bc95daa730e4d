"""Folders that people fill: a change is noticed, a folder that is not mounted is none."""

import json
import os

import pytest

from iliopsoas.status import InputError
from iliopsoas.ukb import folders, listing
from iliopsoas.ukb.mask_files import index_masks
from iliopsoas.ukb.scans import index_zips


def fill(folder, *names, text="x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def release(tmp_path):
    fill(tmp_path / "zips", "10/1000107_20201_2_0.zip", "20/2000208_20201_2_0.zip")
    fill(tmp_path / "masks", "1000107_2.nii.gz")
    return {"name": "main", "zips": str(tmp_path / "zips"), "annotations": str(tmp_path / "masks")}


def changed(release, before) -> set[str]:
    now = listing.of_release(release)
    return {key for key in now if now[key] != before[key]}


def test_a_zip_that_comes_goes_or_is_replaced_changes_the_listing(release, tmp_path):
    before = listing.of_release(release)
    assert changed(release, before) == set()
    zip_file = tmp_path / "zips/20/2000208_20201_2_0.zip"
    at = zip_file.stat().st_mtime_ns
    os.utime(zip_file, ns=(at, at + 1))  # downloaded again, of the same size
    assert changed(release, before) == {"zips"}
    os.utime(zip_file, ns=(at, at))
    assert changed(release, before) == set()
    fill(tmp_path / "zips", "30/3000309_20201_3_0.zip")
    assert changed(release, before) == {"zips"}
    (tmp_path / "zips/30/3000309_20201_3_0.zip").unlink()
    zip_file.unlink()
    assert changed(release, before) == {"zips"}


def test_a_mask_that_comes_or_is_corrected_changes_the_listing(release, tmp_path):
    before = listing.of_release(release)
    fill(tmp_path / "masks", "1000107_2.nii.gz", text="corrected")
    assert changed(release, before) == {"annotations"}
    before = listing.of_release(release)
    fill(tmp_path / "masks", "2000208_2-Left.nrrd")
    assert changed(release, before) == {"annotations"}


def test_what_is_no_zip_does_not_change_the_listing(release, tmp_path):
    before = listing.of_release(release)
    fill(tmp_path / "zips", "readme.txt", ".lock", "10/.DS_Store")
    assert changed(release, before) == set()


def test_a_folder_that_is_not_mounted_is_no_change(release, tmp_path):
    results = tmp_path / "results"
    before = listing.of_release(release, results)
    listing.record(results, {"main": before})
    (tmp_path / "zips").rename(tmp_path / "elsewhere")
    (tmp_path / "masks").rename(tmp_path / "masks elsewhere")
    assert listing.of_release(release, results) == before
    (tmp_path / "zips/10").mkdir(parents=True)  # the empty folder of a mount
    assert listing.of_release(release, results) == before
    assert listing.of_release(release) == {"zips": "nothing", "annotations": "nothing"}


def test_another_tools_masks_are_listed_file_by_file(tmp_path):
    fill(tmp_path, "a/1.nii.gz", "a/2.nii.gz")
    paths = [tmp_path / "a/1.nii.gz", tmp_path / "a/absent.nii.gz"]
    before = listing.of_files(paths)
    fill(tmp_path, "a/2.nii.gz", text="other")
    assert listing.of_files(paths) == before
    fill(tmp_path, "a/1.nii.gz", text="replaced")
    assert listing.of_files(paths) != before
    assert listing.of_files([tmp_path / "b/1.nii.gz"], before) == before
    assert listing.digest(tmp_path / "absent", before) == before
    assert listing.digest(tmp_path / "a", before) != before


def test_links_are_followed_once_and_links_to_nothing_are_no_files(tmp_path):
    fill(tmp_path / "there", "1000107_20201_2_0.zip")
    folder = tmp_path / "zips"
    folder.mkdir()
    (folder / "linked").symlink_to(tmp_path / "there")
    (folder / "linked again").symlink_to(tmp_path / "there")
    (folder / "2000208_20201_2_0.zip").symlink_to(tmp_path / "gone.zip")
    (tmp_path / "there/back").symlink_to(folder)
    assert [os.path.basename(path) for path, *_ in folders.entries(folder)] == [
        "1000107_20201_2_0.zip"
    ]


def test_zips_by_the_platforms_listing(tmp_path):
    text = """closed  2024-02-19 10:25:15 5.30 MB /Bulk/Whole Body MRI/Dixon (abdominal)/10/\
1000107_20201_2_0.zip (file-Gabc123)
closed  2025-11-02 08:00:00 5.61 MB /Bulk/Abdominal MRI/Dixon/20/2000208_20201_3_0.zip (file-Gdef)
closed  2025-11-02 08:00:00         /Bulk/Abdominal MRI/Dixon/20/2000208_20204_3_0.zip (file-Gxyz)
"""
    (tmp_path / "zips.txt").write_text(text)
    found = index_zips(tmp_path / "zips.txt")
    assert found["path"].tolist() == [
        "/mnt/project/Bulk/Whole Body MRI/Dixon (abdominal)/10/1000107_20201_2_0.zip",
        "/mnt/project/Bulk/Abdominal MRI/Dixon/20/2000208_20201_3_0.zip",
    ]
    assert found["instance"].tolist() == ["2", "3"]
    files = [
        {
            "project": "project-G",
            "id": "file-Gabc123",
            "describe": {
                "name": "1000107_20201_2_0.zip",
                "folder": "/Bulk/Whole Body MRI/Dixon (abdominal)/10",
                "size": 5300000,
                "modified": 1708338315000,
            },
        }
    ]
    (tmp_path / "zips.json").write_text(json.dumps(files))
    as_json = index_zips(tmp_path / "zips.json", mount="/mount/point/")
    assert as_json["path"].tolist() == [found["path"][0].replace("/mnt/project", "/mount/point")]
    release = {"name": "rap", "zips": str(tmp_path / "zips.json"), "mount": None}
    before = listing.of_release(release)
    files[0]["describe"]["modified"] += 1000
    (tmp_path / "zips.json").write_text(json.dumps(files))
    assert listing.of_release(release) != before


def test_zips_by_a_list_of_paths(tmp_path):
    fill(tmp_path, "a folder/1000107_20201_2_0.zip")
    path = tmp_path / "a folder/1000107_20201_2_0.zip"
    (tmp_path / "zips.txt").write_text(f"{path}\n\n")
    assert index_zips(tmp_path / "zips.txt")["path"].tolist() == [str(path)]
    release = {"name": "main", "zips": str(tmp_path / "zips.txt")}
    before = listing.of_release(release)
    fill(tmp_path, "a folder/1000107_20201_2_0.zip", text="again")
    assert listing.of_release(release) != before


@pytest.mark.parametrize("text", ["", "eid\n1000107\n", "[]", '[{"id": "file-1"}]', "[1, 2"])
def test_a_list_without_zips_is_refused(tmp_path, text):
    (tmp_path / "zips.txt").write_text(text)
    with pytest.raises(InputError, match="list of zips"):
        index_zips(tmp_path / "zips.txt")


@pytest.mark.parametrize(
    ("names", "masks"),
    [
        (["1000107_2.nii.gz"], 1),
        (["1000107_2.NII.GZ"], 1),
        (["1000107-2.Nrrd"], 1),
        (["1000107_2_left.nrrd", "1000107_2_RIGHT.nrrd"], 2),
        (["1000107_2-left.nii.gz", "1000107_2-Right.nii"], 2),
        (["1000107_2_L.mha", "1000107_2.r.mha"], 2),
        (["1000107_20201_2_0_left.nii.gz", "1000107_20201_2_0_right.nii.gz"], 2),
        (["sub/1000107_2.seg.nrrd", "1000107_2_water.nii.gz", "participants.tsv"], 1),
    ],
)
def test_masks_in_other_spellings_are_accepted(tmp_path, names, masks):
    fill(tmp_path, *names)
    found = index_masks(tmp_path)
    assert found[["eid", "instance"]].to_numpy().tolist() == [["1000107", "2"]]
    assert found["annotation"].str.count(";").tolist() == [masks - 1]
    assert found.attrs["unmatched"] == {}


def test_masks_whose_names_are_no_visits_are_told_without_ids(tmp_path):
    fill(tmp_path, "1000107_2_lft.nii.gz", "2000208_2_lft.nii.gz", "left_1000107_2.nrrd")
    fill(tmp_path, "1000107.nii.gz", "notes.txt")
    found = index_masks(tmp_path)
    assert found.empty
    assert found.attrs["unmatched"] == {
        "#######_#_lft.nii.gz": 2,
        "left_#######_#.nrrd": 1,
        "#######.nii.gz": 1,
    }


def test_ambiguous_masks_are_refused(tmp_path):
    fill(tmp_path, "1000107_2_left.nrrd", "1000107_2-Left.nii", "1000107_2_right.nrrd")
    with pytest.raises(InputError, match="two masks"):
        index_masks(tmp_path)


def test_the_voxels_beside_a_header_belong_to_its_stamp(tmp_path):
    fill(tmp_path, "1000107_2.nhdr", "1000107_2.raw")
    before = index_masks(tmp_path)["stamp"][0]
    fill(tmp_path, "1000107_2.raw", text="drawn on")
    assert index_masks(tmp_path)["stamp"][0] != before
