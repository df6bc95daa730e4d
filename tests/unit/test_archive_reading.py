"""Reading zips and folders: what is read, what is passed over, what is refused and why."""

import io
import struct
import zipfile

import dixon_zip as dz
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from iliopsoas.status import Refused, Verdict
from iliopsoas.ukb.archive import Limits, open_scan


@pytest.fixture
def items():
    """Five slices of each channel of station 3."""
    rng = np.random.default_rng(0)
    made = []
    for channel in dz.CHANNELS:
        for index in range(5):
            pixels = rng.integers(0, 900, (174, 224)).astype(np.uint16)
            uid = f"1.9.{ord(channel[0])}"
            made.append((3, channel, index, dz.dataset(3, channel, index, pixels, uid)))
    return made


def refused(path, **options):
    with pytest.raises(Refused) as error:
        open_scan(path, **options)
    return error.value


def test_reads_dixon_slices_and_counts_the_rest(tmp_path, items):
    scout = dz.dataset(3, "in", 0, np.zeros((64, 64)), "1.8", SeriesDescription="localizer")
    report = dz.dataset(3, "in", 0, np.zeros((4, 4)), "1.7", Modality="SR")
    extra = [
        ("__MACOSX/._x.dcm", b"\0" * 400),
        ("notes/readme.txt", b"hello"),
        ("scout.dcm", dz.encode(scout)),
        ("report.dcm", dz.encode(report)),
    ]
    scan = open_scan(dz.write_zip(tmp_path / "a.zip", items, extra))
    assert len(scan.slices) == 20
    assert {item.channel for item in scan.slices} == set(dz.CHANNELS)
    assert scan.surplus["images of other series"] == 1
    assert scan.surplus["DICOM without an image"] + scan.surplus["not DICOM"] == 4  # and manifest
    assert sum(scan.surplus.values()) == 5


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
)
def test_transfer_syntaxes_give_the_same_pixels(tmp_path, items, syntax):
    truth = {item[-1].SOPInstanceUID: item[-1].pixel_array.copy() for item in _with_meta(items[:3])}
    if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
        pytest.importorskip("openjpeg" if syntax == JPEG2000Lossless else "pydicom")
        for item in items[:3]:
            item[-1].compress(syntax, generate_instance_uid=False)
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for item in items[:3]:
                buffer = io.BytesIO()
                item[-1].save_as(buffer, enforce_file_format=True)
                archive.writestr(f"{item[-1].SOPInstanceUID}.dcm", buffer.getvalue())
    else:
        dz.write_zip(tmp_path / "a.zip", items[:3], syntax=syntax)
    scan = open_scan(tmp_path / "a.zip")
    assert len(scan.slices) == 3
    for item in scan.slices:
        np.testing.assert_array_equal(item.pixels(), truth[item.uid])


def _with_meta(items):
    for item in items:
        dz.encode(item[-1])
    return items


def test_a_syntax_nobody_can_decode_is_refused_by_name(tmp_path, items):
    item = items[0][-1]
    data = bytearray(dz.encode(item))
    old, new = ExplicitVRLittleEndian.encode(), JPEGLSLossless.encode()
    where = data.index(old)
    # same length in the file: the UID is padded to an even number of bytes
    assert data[where - 2 : where] == struct.pack("<H", 20)
    data[where - 2 : where + 20] = struct.pack("<H", 22) + new.ljust(22, b"\0")
    length = struct.unpack("<I", data[140:144])[0]
    data[140:144] = struct.pack("<I", length + 2)
    dz.write_zip(tmp_path / "a.zip", [], [("a.dcm", bytes(data))])
    scan = open_scan(tmp_path / "a.zip")
    with pytest.raises(Refused, match="JPEG-LS") as error:
        scan.slices[0].pixels()
    assert error.value.verdict is Verdict.UNREADABLE_PIXELS


def test_rescale_slope_and_intercept_are_applied(tmp_path, items):
    item = items[0][-1]
    stored = np.frombuffer(item.PixelData, "<u2").reshape(174, 224)
    item.RescaleSlope, item.RescaleIntercept = "2.5", "-10"
    scan = open_scan(dz.write_zip(tmp_path / "a.zip", items[:1]))
    np.testing.assert_allclose(scan.slices[0].pixels(), 2.5 * stored - 10.0, rtol=1e-6)


def test_a_folder_gives_what_the_zip_gives(tmp_path, items):
    zipped = dz.write_zip(tmp_path / "a.zip", items)
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path / "folder" / "deeper")
    one, other = open_scan(zipped), open_scan(tmp_path / "folder")
    assert {s.uid for s in one.slices} == {s.uid for s in other.slices}
    np.testing.assert_array_equal(
        sorted(int(s.pixels().sum()) for s in one.slices),
        sorted(int(s.pixels().sum()) for s in other.slices),
    )


@pytest.mark.parametrize(
    "name", ["../../etc/x.dcm", "/etc/x.dcm", "a\\..\\..\\x.dcm", "C:\\x.dcm", "a/../../x.dcm"]
)
def test_names_that_leave_the_folder(tmp_path, items, name):
    path = dz.write_zip(tmp_path / "a.zip", items[:1], [(name, b"x")])
    assert refused(path).verdict is Verdict.HOSTILE_ARCHIVE


def test_thousands_of_members_are_refused_before_they_are_listed(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for k in range(5000):
            archive.writestr(f"{k}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: pytest.fail("the directory was loaded"))
    assert refused(tmp_path / "a.zip").verdict is Verdict.HOSTILE_ARCHIVE


def test_absurd_claimed_size(tmp_path, items):
    path = dz.write_zip(tmp_path / "a.zip", items[:1])
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 3_000_000_000)
    path.write_bytes(data)
    assert refused(path).verdict is Verdict.HOSTILE_ARCHIVE


def test_sizes_that_only_add_up_are_bounded(tmp_path, items):
    path = dz.write_zip(tmp_path / "a.zip", items)
    error = refused(path, limits=Limits(total_bytes=500_000))
    assert error.verdict is Verdict.HOSTILE_ARCHIVE


def test_a_member_that_unpacks_to_more_than_it_claims_costs_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.dcm", bytes(50_000_000))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    (tmp_path / "a.zip").write_bytes(data)
    assert refused(tmp_path / "a.zip").verdict is Verdict.TRUNCATED_ZIP


def test_encrypted_members(tmp_path, items):
    path = dz.write_zip(tmp_path / "a.zip", items[:1])
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 8] |= 1
    path.write_bytes(data)
    error = refused(path)
    assert error.verdict is Verdict.UNREADABLE_PIXELS
    assert "encrypted" in error.message


def test_missing_not_a_zip_truncated_and_damaged(tmp_path, items):
    assert refused(tmp_path / "none.zip").verdict is Verdict.SCAN_MISSING
    (tmp_path / "html.zip").write_bytes(b"<html>not found</html>" * 20)
    assert refused(tmp_path / "html.zip").verdict is Verdict.NOT_A_ZIP
    (tmp_path / "empty.zip").write_bytes(b"")
    assert refused(tmp_path / "empty.zip").verdict is Verdict.NOT_A_ZIP
    path = dz.write_zip(tmp_path / "a.zip", items)
    data = path.read_bytes()
    for share in (0.01, 0.5, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        assert refused(path).verdict is Verdict.TRUNCATED_ZIP
    spoiled = bytearray(data)
    spoiled[20_000:20_050] = bytes(50)
    path.write_bytes(spoiled)
    assert refused(path).verdict is Verdict.TRUNCATED_ZIP


def test_no_dixon_series(tmp_path):
    path = dz.write_zip(tmp_path / "a.zip", [])
    assert refused(path).verdict is Verdict.NO_DIXON_SERIES
    scout = dz.dataset(3, "in", 0, np.zeros((64, 64)), "1.8", SeriesDescription="localizer")
    path = dz.write_zip(tmp_path / "b.zip", [(scout,)])
    assert refused(path).verdict is Verdict.NO_DIXON_SERIES


def test_another_body_part_without_dixon_series(tmp_path):
    scout = dz.dataset(3, "in", 0, np.zeros((64, 64)), "1.8", SeriesDescription="localizer")
    scout.BodyPartExamined = "HEAD"
    path = dz.write_zip(tmp_path / "a.zip", [(scout,)])
    assert refused(path).verdict is Verdict.WRONG_BODY_PART


@pytest.mark.parametrize("name", ["ABCDEFGH^Bio^^^", "abcdefgh^BIO", " ABCDEFGH ^Bio=", ""])
def test_names_that_the_standard_calls_equal_are_one_person(tmp_path, items, name):
    items[0][-1].PatientName = name
    assert open_scan(dz.write_zip(tmp_path / "a.zip", items)).slices


@pytest.mark.parametrize("name", ["ABCDEFGH^Bio^A", "ABCDEFGH", "ABCDEFGI^Bio"])
def test_another_name_is_another_person(tmp_path, items, name):
    items[0][-1].PatientName = name
    assert refused(dz.write_zip(tmp_path / "a.zip", items)).verdict is Verdict.SEVERAL_PEOPLE


def test_the_body_part_named_in_a_dixon_scan_decides_nothing_here(tmp_path, items):
    for item in items:
        item[-1].BodyPartExamined = "HEART"
    scan = open_scan(dz.write_zip(tmp_path / "a.zip", items))
    assert len(scan.slices) == len(items)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("abcdefgh^bio", True),
        ("ABCDEFGH^Bio^^^", True),
        (" ABCDEFGH ^Bio ", True),
        ("ABCDEFGH^Bio=ideographic", True),
        ("ABCDEFGI^Bio", False),
    ],
)
def test_one_name_in_the_spellings_of_the_standard(tmp_path, items, name, same):
    items[0][-1].PatientName = name
    path = dz.write_zip(tmp_path / "a.zip", items)
    if same:
        assert len(open_scan(path).slices) == len(items)
    else:
        assert refused(path).verdict is Verdict.SEVERAL_PEOPLE


def enhanced(items, whole=True):
    """The slices of one series as an enhanced multi-frame image."""
    first = items[0][-1]
    made = dz.dataset(3, "in", 0, np.zeros((4, 4)), "1.9")
    for element in first:
        made[element.tag] = element
    made.SOPClassUID = pydicom.uid.EnhancedMRImageStorage
    made.NumberOfFrames = len(items)
    made.PixelData = b"".join(item[-1].PixelData for item in items)
    shared, frames = Dataset(), []
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = first.PixelSpacing, first.SliceThickness
    orientation.ImageOrientationPatient = first.ImageOrientationPatient
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    for item in items:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = item[-1].ImagePositionPatient
        frame.PlanePositionSequence = [place] if whole else []
        frames.append(frame)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(made, name)
    made.SharedFunctionalGroupsSequence = [shared]
    made.PerFrameFunctionalGroupsSequence = frames
    return made


def by_channel(items):
    groups = {}
    for item in items:
        groups.setdefault(item[:2], []).append(item)
    return list(groups.values())


def test_enhanced_multi_frame_images_are_read_as_their_slices(tmp_path, items):
    plain = open_scan(dz.write_zip(tmp_path / "a.zip", items)).slices
    whole = [(enhanced(group),) for group in by_channel(items)]
    read = open_scan(dz.write_zip(tmp_path / "b.zip", whole)).slices

    def key(item):
        return item.channel, float(item.position[2])

    assert sorted(map(key, plain)) == sorted(map(key, read))
    for a, b in zip(sorted(plain, key=key), sorted(read, key=key), strict=True):
        np.testing.assert_array_equal(a.pixels(), b.pixels())
        np.testing.assert_array_equal(a.position, b.position)
        assert (a.spacing, a.channel) == (b.spacing, b.channel)


def test_a_multi_frame_image_without_places_is_refused_by_name(tmp_path, items):
    path = dz.write_zip(tmp_path / "a.zip", [(enhanced(by_channel(items)[0], whole=False),)])
    error = refused(path)
    assert error.verdict is Verdict.NO_DIXON_SERIES
    assert "multi-frame" in error.message


def test_two_people_are_refused_and_not_named(tmp_path, items):
    items[0][-1].PatientID = "SOMEBODYELSE^Bio"
    error = refused(dz.write_zip(tmp_path / "a.zip", items))
    assert error.verdict is Verdict.SEVERAL_PEOPLE
    assert "SOMEBODY" not in error.message
    assert "ABCDEFGH" not in error.message


def test_a_damaged_dicom_file_is_counted_and_passed_over(tmp_path, items):
    short = dz.encode(items[0][-1])[:3000]
    scan = open_scan(dz.write_zip(tmp_path / "a.zip", items[1:], [("short.dcm", short)]))
    assert scan.unreadable == ["short.dcm"]
    assert len(scan.slices) == 19


@pytest.mark.parametrize(
    ("description", "channel"),
    [("DIXON_BH_17S_W", "W"), ("dixon_nobh_opp", "opp"), ("Dixon_noBH_IN", "in")],
)
def test_descriptions_in_any_case(tmp_path, items, description, channel):
    items[0][-1].SeriesDescription = description
    scan = open_scan(dz.write_zip(tmp_path / "a.zip", items[:1]))
    assert scan.slices[0].channel == channel
