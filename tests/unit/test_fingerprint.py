"""A scan is known by its content, not by its place or date."""

import os
import zipfile

from iliopsoas.ukb.fingerprint import content_fingerprint


def make(path, content=b"slice", member="1.2.3.dcm"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(member), content)
    return path


def test_a_copy_is_the_same_scan_and_another_content_is_not(tmp_path):
    first = make(tmp_path / "1000000_20201_2_0.zip")
    copy = make(tmp_path / "other.zip")
    os.utime(copy, (0, 0))
    assert content_fingerprint(first) == content_fingerprint(copy)
    assert content_fingerprint(first) != content_fingerprint(make(tmp_path / "b.zip", b"slicf"))
    assert content_fingerprint(first) != content_fingerprint(
        make(tmp_path / "c.zip", member="1.2.4.dcm")
    )


def test_broken_and_missing_scans_have_fingerprints_too(tmp_path):
    whole = make(tmp_path / "whole.zip", os.urandom(100_000))
    cut = tmp_path / "cut.zip"
    cut.write_bytes(whole.read_bytes()[:50_000])
    shorter = tmp_path / "shorter.zip"
    shorter.write_bytes(whole.read_bytes()[:40_000])
    assert len({content_fingerprint(p) for p in (whole, cut, shorter)}) == 3
    assert content_fingerprint(tmp_path / "nowhere.zip") == "missing"


def test_a_folder_is_known_by_its_files(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"1")
    before = content_fingerprint(folder)
    (folder / "b.dcm").write_bytes(b"1")
    assert content_fingerprint(folder) != before
