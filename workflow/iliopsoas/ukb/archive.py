"""Reading a scan: a zip, or a folder, of single-slice DICOM files, in memory and within bounds.

Nothing is unpacked to disk and no member's name is trusted: what a file is comes
from its DICOM header alone. The manifest is not read (ukb_format.md, section 1).
"""

import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from iliopsoas.status import Refused, Verdict
from iliopsoas.ukb import dicom

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What an archive may ask for; a complete scan is 1,329 members and about 105 MB;
    the same voxels stored as coronal slices are 4,033 members.

    Parameters
    ----------
    members : int
        Files in the archive.
    member_bytes : int
        Unpacked size of a file that is read; one slice is under 0.2 MB, an enhanced
        multi-frame file of a whole station about 20 MB.
    claimed_bytes : int
        Unpacked size of the largest file the archive may hold at all.
    total_bytes : int
        Unpacked size of all files together.
    """

    members: int = 4_500
    member_bytes: int = 64 * MEGABYTE
    claimed_bytes: int = 256 * MEGABYTE
    total_bytes: int = 1_024 * MEGABYTE


LIMITS = Limits()


@dataclass
class Scan:
    """The Dixon slices of one archive, and a count of what else was in it.

    Attributes
    ----------
    slices : list of dicom.Slice
        Slices of Dixon series, in no particular order.
    surplus : dict
        What was passed over, counted by kind.
    unreadable : list of str
        Base names of members that begin like DICOM but cannot be parsed.
    """

    slices: list = field(default_factory=list)
    surplus: Counter = field(default_factory=Counter)
    unreadable: list = field(default_factory=list)
    others: list = field(default_factory=list)


def open_scan(path, limits: Limits = LIMITS) -> Scan:
    """Read every Dixon slice of a scan.

    Parameters
    ----------
    path : path
        A UK Biobank zip of field 20201, or a folder of DICOM files.
    limits : Limits
        Bounds on what is read.

    Returns
    -------
    Scan

    Raises
    ------
    Refused
        ``scan_missing``, ``not_a_zip``, ``truncated_zip``, ``hostile_archive``,
        ``unreadable_pixels``, ``several_people``, ``wrong_body_part`` or
        ``no_dixon_series``.
    """
    path = Path(path)
    if not path.exists():
        raise Refused(Verdict.SCAN_MISSING, "scan: no such file or folder; expected a zip")
    members = _folder_members(path, limits) if path.is_dir() else _zip_members(path, limits)
    scan = Scan()
    held = 0
    for name, data in members:
        if data is None:
            scan.surplus["too large for an image"] += 1
            continue
        kind = dicom.sniff(data, name)
        if not kind:
            scan.surplus["not DICOM"] += 1
            continue
        try:
            items = dicom.read_slices(data, name, forced=kind == "bare")
        except dicom.NotAnImage:
            scan.surplus["DICOM without an image"] += 1
            continue
        except dicom.Unreadable:
            scan.unreadable.append(os.path.basename(name))
            continue
        for item in items:
            if item.channel is None:
                scan.surplus["images of other series"] += 1
                scan.others.append(item)
                continue
            held += item.held_bytes
            if held > limits.total_bytes // 2:
                raise Refused(
                    Verdict.HOSTILE_ARCHIVE,
                    f"scan: more than {limits.total_bytes // 2 // MEGABYTE} MB of Dixon pixels;"
                    " a complete scan has about 100 MB",
                )
            scan.slices.append(item)
    _check_people(scan)
    _check_content(scan)
    return scan


# -- members ---------------------------------------------------------------------------


def _folder_members(folder: Path, limits: Limits) -> Iterator[tuple[str, bytes | None]]:
    count = total = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(parent) / name
            if not file.is_file():
                continue
            count += 1
            size = file.stat().st_size
            total += size
            _check_bounds(count, size, total, limits)
            yield name, None if size > limits.member_bytes else file.read_bytes()


def _zip_members(path: Path, limits: Limits) -> Iterator[tuple[str, bytes | None]]:
    with open(path, "rb") as file:
        _check_directory(file, limits)
        try:
            archive = zipfile.ZipFile(file)
        except (
            zipfile.BadZipFile,
            struct.error,
            ValueError,
            OSError,
            NotImplementedError,
        ) as error:
            raise Refused(
                Verdict.TRUNCATED_ZIP, f"zip: its directory cannot be read ({error})"
            ) from None
        infos = [info for info in archive.infolist() if not info.is_dir()]
        _check_bounds(len(archive.infolist()), 0, 0, limits)
        total = 0
        for info in infos:
            _check_name(info.filename)
            total += info.file_size
            _check_bounds(0, info.file_size, total, limits)
        for info in infos:
            if info.flag_bits & 0x1:
                raise Refused(
                    Verdict.UNREADABLE_PIXELS, "zip: members are encrypted; expected no password"
                )
            if info.file_size > limits.member_bytes:
                yield info.filename, None
            else:
                yield info.filename, _unpack(archive, info)


def _check_directory(file, limits: Limits) -> None:
    """Judge the end record before `zipfile` loads the whole directory into memory."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4)
    if not head.startswith(b"PK"):
        found = "an empty file" if size == 0 else f"a file that begins with {head!r}"
        raise Refused(Verdict.NOT_A_ZIP, f"scan: expected a zip, found {found}")
    tail_length = min(size, 22 + 65_535)
    file.seek(size - tail_length)
    tail = file.read(tail_length)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise Refused(
            Verdict.TRUNCATED_ZIP,
            f"zip: no directory at the end of its {size} bytes; the download is incomplete",
        )
    count, length = struct.unpack("<HI", tail[at + 10 : at + 16])
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":  # ZIP64: real numbers elsewhere
        (where,) = struct.unpack("<Q", tail[at - 12 : at - 4])
        file.seek(min(where, size))
        record = file.read(56)
        if len(record) == 56 and record.startswith(b"PK\x06\x06"):
            count, length = struct.unpack("<QQ", record[32:48])
    _check_bounds(count, 0, 0, limits)
    if length > limits.members * 1_024:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE,
            f"zip: its directory claims {length} bytes, far beyond a scan's",
        )


def _check_name(name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE, "zip: a member's name leads out of the archive's folder"
        )


def _check_bounds(count: int, size: int, total: int, limits: Limits) -> None:
    if count > limits.members:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE,
            f"scan: {count} members or more, expected at most {limits.members}",
        )
    if size > limits.claimed_bytes:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE,
            f"scan: a member claims {size // MEGABYTE} MB, a slice has under 1 MB",
        )
    if total > limits.total_bytes:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE,
            f"scan: members claim over {limits.total_bytes // MEGABYTE} MB together,"
            " a complete scan has about 105 MB",
        )


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """One member's bytes; `zipfile` reads no more than claimed, and checks the CRC-32."""
    name = os.path.basename(info.filename)
    try:
        with archive.open(info) as member:
            data = member.read(info.file_size)
    except NotImplementedError as error:
        raise Refused(
            Verdict.UNREADABLE_PIXELS,
            f"zip: {name} is packed in a way that is not read ({error}), expected deflate or"
            " stored",
        ) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, struct.error) as error:
        raise Refused(Verdict.TRUNCATED_ZIP, f"zip: {name} is damaged ({error})") from None
    if len(data) != info.file_size:
        raise Refused(
            Verdict.TRUNCATED_ZIP,
            f"zip: {name} is damaged ({len(data)} of {info.file_size} bytes)",
        )
    return data


# -- content ---------------------------------------------------------------------------


def _check_people(scan: Scan) -> None:
    """Two people in one archive: any identifying field with two different values."""
    images = scan.slices + scan.others
    for name in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
        values = {item.person[name] for item in images} - {""}
        if len(values) > 1:
            raise Refused(
                Verdict.SEVERAL_PEOPLE,
                f"scan: its images carry {len(values)} different values of {name}, expected one",
            )


def _check_content(scan: Scan) -> None:
    if scan.slices:
        return  # whatever the header calls the body part, geometry decides (`dixon.series`)
    part = dicom.foreign_part(scan.others)
    if part:
        raise Refused(
            Verdict.WRONG_BODY_PART,
            f"scan: BodyPartExamined is {part}, expected a scan of neck to knee",
        )
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(scan.surplus.items()))
    if scan.unreadable:
        found = f"{len(scan.unreadable)} damaged DICOM files" + (found and ", ") + found
    raise Refused(
        Verdict.NO_DIXON_SERIES,
        f"scan: no series named *dixon*_in, _opp, _F or _W; found {found or 'an empty archive'}",
    )
