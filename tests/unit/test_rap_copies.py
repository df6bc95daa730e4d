"""Zips are copied whole from a mount that fails, or not at all."""

import errno
import os
import zipfile

import pytest

from iliopsoas.rap import copies
from iliopsoas.stages.dixon import local_copy


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "mount" / "1000107_20201_2_0.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.dcm", os.urandom(10_000))
    return path


def mount(monkeypatch, *faults):
    """A mount that does this at the first readings, and then works; returns what was read."""
    read, left, asked = copies._read, list(faults), []

    def unsteady(source, target):
        asked.append(source)
        fault = left.pop(0) if left else None
        if isinstance(fault, OSError):
            raise fault
        read(source, target)
        if fault:
            fault(target)

    monkeypatch.setattr(copies, "_read", unsteady)
    return asked


def cut(path):
    os.truncate(path, 5_000)


def garble(path):
    content = bytearray(path.read_bytes())
    content[5_000] ^= 255
    path.write_bytes(content)


def test_a_failing_mount_is_asked_again(scan, tmp_path, monkeypatch):
    asked = mount(monkeypatch, OSError(errno.EIO, "failed"), cut, garble,
                  OSError(errno.ENOTCONN, "not connected"))  # fmt: skip
    target = tmp_path / "copy.zip"
    assert copies.copy(scan, target, wait_s=0)
    assert target.read_bytes() == scan.read_bytes()
    assert len(asked) == 5


def test_nothing_lies_under_the_name_of_a_zip_that_never_came_whole(scan, tmp_path, monkeypatch):
    mount(monkeypatch, *[cut] * 9)
    with pytest.raises(copies.Unreadable, match="in 4 tries: cut off"):
        copies.copy(scan, tmp_path / "to" / "copy.zip", tries=4, wait_s=0)
    assert list((tmp_path / "to").iterdir()) == []


def test_a_zip_that_is_damaged_where_it_lies_is_copied_as_it_is(scan, tmp_path, monkeypatch):
    garble(scan)
    asked = mount(monkeypatch)
    assert copies.copy(scan, tmp_path / "copy.zip", wait_s=0)
    assert (tmp_path / "copy.zip").read_bytes() == scan.read_bytes()
    assert len(asked) == copies.AGREE


def test_absent_is_said_only_where_the_folder_is_there(scan, tmp_path):
    assert copies.copy(scan.with_name("other.zip"), tmp_path / "copy.zip", wait_s=0) is False
    with pytest.raises(copies.Unreadable):  # the mount is gone, not the zip
        copies.copy(tmp_path / "gone" / "a.zip", tmp_path / "copy.zip", tries=2, wait_s=0)


def test_a_full_disk_is_no_failing_mount(scan, tmp_path, monkeypatch):
    asked = mount(monkeypatch, OSError(errno.ENOSPC, "full"))
    with pytest.raises(OSError, match="full"):
        copies.copy(scan, tmp_path / "copy.zip", wait_s=0)
    assert len(asked) == 1


def test_one_unreadable_zip_names_nobody_and_the_others_are_copied(scan, tmp_path, monkeypatch):
    other = scan.with_name("1000206_20201_2_0.zip")
    other.write_bytes(scan.read_bytes())
    mount(monkeypatch, cut, cut)
    with pytest.raises(copies.Unreadable, match=r"^1 of 2 zips") as raised:
        copies.copy_all([scan, other], tmp_path / "copies", tries=2, wait_s=0)
    assert "1000107" not in str(raised.value)
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [other.name]
    asked = mount(monkeypatch)
    copies.copy_all([scan, other], tmp_path / "copies", wait_s=0)
    assert asked == [scan], "what was copied is whole"


def test_a_scan_is_read_from_its_copy(scan, tmp_path, monkeypatch):
    assert local_copy(str(scan), None) == str(scan)
    assert local_copy(str(scan), str(tmp_path)) == str(scan)
    copies.copy(scan, tmp_path / scan.name)
    monkeypatch.setenv("HERE", str(tmp_path))
    assert local_copy(str(scan), "$HERE") == str(tmp_path / scan.name)
