"""The synthetic zips, read back with zipfile, csv and pydicom alone."""

import csv
import io
import re
import zipfile
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pydicom
import pytest

from iliopsoas.phantom import archive, draft, faults
from iliopsoas.phantom.traits import Traits
from iliopsoas.status import InputError

SPACING = 500 / 224
TRAITS = Traits("female", 60.0, 165.0, 70.5, 270.0, 276.0, 0.05, 3)
TABLE = [  # rows, slices, thickness, breath hold, lowest z: ukb_format.md section 2
    (168, 64, 3.0, False, -123.0),
    (174, 44, 4.5, True, -292.5),
    (174, 44, 4.5, True, -462.75),
    (174, 44, 4.5, True, -640.0),
    (162, 72, 3.5, False, -845.0),
    (156, 64, 4.0, False, -1041.0),
]


@dataclass
class Station:
    number: int
    arrays: dict
    position_lps: np.ndarray
    thickness_mm: float
    breath_hold: bool


def make_stations(columns=224, shrink=1):
    """Stations of noise; `shrink` divides rows, columns and slices for fast tests."""
    rng = np.random.default_rng(5)
    stations = []
    for index, (rows, slices, thickness, held, bottom) in enumerate(TABLE):
        shape = (slices // shrink, rows // shrink, columns // shrink)
        arrays = {name: rng.integers(0, 900, shape).astype(np.uint16) for name in draft.CHANNELS}
        positions = np.zeros((shape[0], 3))
        positions[:, 0] = -250.0
        positions[:, 1] = -rows * SPACING / 2
        positions[:, 2] = bottom + np.arange(shape[0]) * thickness
        stations.append(Station(index + 1, arrays, positions, thickness, held))
    return stations


def read(path):
    """All images of a zip: series -> slices sorted by height; and everything else by name."""
    images, others = defaultdict(list), {}
    with zipfile.ZipFile(path) as file:
        for name in file.namelist():
            data = file.read(name)
            try:
                dataset = pydicom.dcmread(io.BytesIO(data))
            except pydicom.errors.InvalidDicomError:
                others[name] = data
                continue
            if "PixelData" in dataset:
                images[dataset.SeriesInstanceUID].append((name, dataset))
            else:
                others[name] = data
    for slices in images.values():
        slices.sort(key=lambda item: float(item[1].ImagePositionPatient[2]))
    return images, others


def write(path, *planted, stations=None, seed=1, **options):
    stations = make_stations(shrink=8) if stations is None else stations
    rng = np.random.default_rng(seed)
    archive.write_zip(path, stations, TRAITS, rng, faults=planted, **options)
    return path


def described(images):
    return {slices[0][1].SeriesDescription + str(slices[0][1].SeriesNumber): slices
            for slices in images.values()}  # fmt: skip


def stack(slices):
    return np.stack([dataset.pixel_array for _, dataset in slices])


@pytest.mark.parametrize("syntax", [pytest.param("implicit", marks=pytest.mark.slow), "explicit"])
def test_a_full_zip_is_what_uk_biobank_holds(tmp_path, syntax):
    stations = make_stations()
    path = write(tmp_path / "1000107_20201_2_0.zip", stations=stations, transfer_syntax=syntax)
    images, others = read(path)
    assert len(images) == 24
    assert sum(len(slices) for slices in images.values()) == 1328
    seen_instances = set()
    for slices in images.values():
        first = slices[0][1]
        number = int(first.SeriesNumber)
        station, channel = stations[(number - 1) // 4], draft.CHANNELS[(number - 1) % 4]
        rows, count, thickness, held, bottom = TABLE[(number - 1) // 4]
        kind = "Dixon_BH_17s_" if held else "Dixon_noBH_"
        assert first.SeriesDescription == kind + channel
        assert (first.Rows, first.Columns, len(slices)) == (rows, 224, count)
        assert float(first.SliceThickness) == thickness
        assert list(first.PixelSpacing) == pytest.approx([2.232142925] * 2, abs=1e-9)
        assert (first.BitsAllocated, first.BitsStored, first.PixelRepresentation) == (16, 16, 0)
        assert first.file_meta.TransferSyntaxUID == draft.TRANSFER_SYNTAXES[syntax]
        np.testing.assert_array_equal(stack(slices), station.arrays[channel])
        heights = [float(dataset.ImagePositionPatient[2]) for _, dataset in slices]
        np.testing.assert_allclose(heights, bottom + np.arange(count) * thickness, atol=1e-4)
        for name, dataset in slices:
            assert name == f"{dataset.SOPInstanceUID}.dcm"
            assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
            assert pydicom.uid.UID(dataset.SOPInstanceUID).is_valid
            seen_instances.add(dataset.SOPInstanceUID)
            assert "M" in dataset.ImageType
    assert len(seen_instances) == 1328
    header = first
    assert (header.Manufacturer, header.ManufacturerModelName) == ("SIEMENS", "Aera")
    assert header.SoftwareVersions == "syngo MR D13"
    assert float(header.MagneticFieldStrength) == 1.5
    assert (float(header.RepetitionTime), float(header.FlipAngle)) == (6.67, 10)
    assert float(header.PixelBandwidth) == 440
    echoes = {s[0][1].SeriesDescription[-3:]: float(s[0][1].EchoTime) for s in images.values()}
    assert echoes["_in"] == 4.77
    assert echoes["opp"] == 2.39
    assert str(header.PatientName).endswith("^Bio")
    assert header.PatientID.endswith("^Bio")
    assert header.PatientBirthDate
    assert float(header.PatientSize) == 1.65
    assert float(header.PatientWeight) == 70.5
    # nothing inside names the participant of the file name
    assert b"1000107" not in zipfile.ZipFile(path).read(next(iter(others)))
    assert "1000107" not in str(header)


def test_the_manifest_is_malformed_as_described(tmp_path):
    images, others = read(write(tmp_path / "a.zip"))
    (name,) = others
    assert name in ("manifest.csv", "manifest.cvs")
    text = others[name].decode()
    assert "series discription" in text
    assert text.endswith("\n\n\n")
    rows = [row for row in csv.reader(text.splitlines()) if row]
    assert {len(row) for row in rows[1:]} == {len(rows[0]) + 1}
    assert re.search(r",[A-Z][a-z]{2} \d{1,2}, 20\d\d", text)
    assert {row[0] for row in rows[1:]} == {n for slices in images.values() for n, _ in slices}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first = write(tmp_path / "a.zip", seed=3).read_bytes()
    assert first == write(tmp_path / "b.zip", seed=3).read_bytes()
    assert first != write(tmp_path / "c.zip", seed=4).read_bytes()


def test_pydicom_would_write_the_same_elements(tmp_path):
    """The exchanged elements leave a file that pydicom reads, writes and reads again alike."""
    images, _ = read(write(tmp_path / "a.zip", transfer_syntax="implicit"))
    _, dataset = next(iter(images.values()))[3]
    again = io.BytesIO()
    pydicom.dcmwrite(again, dataset, enforce_file_format=True)
    again.seek(0)
    assert pydicom.dcmread(again) == dataset


def test_missing_station_and_channel(tmp_path):
    images, _ = read(write(tmp_path / "a.zip", "missing:6", "missing_channel:2:W"))
    numbers = {int(slices[0][1].SeriesNumber) for slices in images.values()}
    assert numbers == set(range(1, 21)) - {8}


def test_drop_slice_takes_one_inner_slice_of_one_channel(tmp_path):
    full, _ = read(write(tmp_path / "a.zip"))
    images, _ = read(write(tmp_path / "b.zip", "drop_slice:3:F"))
    before = {k: len(v) for k, v in described(full).items()}
    after = {k: len(v) for k, v in described(images).items()}
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"Dixon_BH_17s_F11"}
    assert after["Dixon_BH_17s_F11"] == before["Dixon_BH_17s_F11"] - 1
    heights = [float(d.ImagePositionPatient[2]) for _, d in described(images)["Dixon_BH_17s_F11"]]
    whole = [float(d.ImagePositionPatient[2]) for _, d in described(full)["Dixon_BH_17s_F11"]]
    assert (heights[0], heights[-1]) == (whole[0], whole[-1])


def test_a_station_acquired_twice(tmp_path):
    stations = make_stations(shrink=8)
    images, _ = read(write(tmp_path / "a.zip", "repeated:4", stations=stations))
    assert len(images) == 28
    water = sorted(
        (slices for slices in images.values() if slices[0][1].SeriesDescription[-2:] == "_W"),
        key=lambda slices: slices[0][1].SeriesTime,
    )
    twice = Counter(float(slices[0][1].ImagePositionPatient[2]) for slices in water)
    height = next(key for key, count in twice.items() if count == 2)
    old, new = (s for s in water if float(s[0][1].ImagePositionPatient[2]) == height)
    np.testing.assert_array_equal(stack(new), stations[3].arrays["W"])
    assert stack(old).mean() < 0.6 * stack(new).mean()


def test_rescale_gives_back_the_true_values(tmp_path):
    stations = make_stations(shrink=8)
    images, _ = read(write(tmp_path / "a.zip", "rescale:0.5:-10", stations=stations))
    slices = described(images)["Dixon_noBH_in1"]
    dataset = slices[0][1]
    true = stack(slices) * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    np.testing.assert_allclose(true, stations[0].arrays["in"])


def patient_volume(slices):
    """Values keyed by the LPS position of their voxel: independent of how they are stored."""
    values = {}
    for _, dataset in slices:
        along = np.array(dataset.ImageOrientationPatient[:3], float)
        down = np.array(dataset.ImageOrientationPatient[3:], float)
        origin = np.array(dataset.ImagePositionPatient, float)
        pixels = dataset.pixel_array
        for row, column in np.ndindex(pixels.shape):
            place = (
                origin
                + along * column * float(dataset.PixelSpacing[1])
                + down * row * float(dataset.PixelSpacing[0])
            )
            values[tuple(np.round(place, 1) + 0.0)] = pixels[row, column]
    return values


@pytest.mark.parametrize("fault", ["flipped:x", "flipped:yz", "rotated", "coronal"])
def test_other_orientations_hold_the_same_anatomy(tmp_path, fault):
    plain, _ = read(write(tmp_path / "a.zip"))
    other, _ = read(write(tmp_path / "b.zip", fault))
    one = next(s for s in plain.values() if s[0][1].SeriesNumber == 12)
    two = next(s for s in other.values() if s[0][1].SeriesNumber == 12)
    assert patient_volume(one) == patient_volume(two)
    assert (
        list(one[0][1].ImageOrientationPatient) != list(two[0][1].ImageOrientationPatient)
        or fault == "flipped:z"
    )


def test_oblique_turns_the_slices(tmp_path):
    images, _ = read(write(tmp_path / "a.zip", "oblique:12"))
    dataset = next(iter(images.values()))[0][1]
    down = np.array(dataset.ImageOrientationPatient[3:], float)
    assert np.rad2deg(np.arccos(down @ [0, 1, 0])) == pytest.approx(12, abs=1e-4)


@pytest.mark.parametrize("name", ["rle", "jpeg2000"])
def test_compressed_pixels_decode_to_the_same_values(tmp_path, name):
    stations = make_stations(shrink=4)[:1]
    path = write(tmp_path / "a.zip", f"transfer_syntax:{name}", stations=stations)
    images, _ = read(path)
    slices = described(images)["Dixon_noBH_in1"]
    assert slices[0][1].file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(stack(slices), stations[0].arrays["in"])


def test_unequal_sizes_keep_their_place(tmp_path):
    plain, _ = read(write(tmp_path / "a.zip"))
    other, _ = read(write(tmp_path / "b.zip", "unequal:5:F:2:1"))
    one = patient_volume(described(plain)["Dixon_noBH_F19"])
    two = patient_volume(described(other)["Dixon_noBH_F19"])
    assert len(two) < len(one)
    assert two.items() <= one.items()


def test_surplus_members_surround_a_whole_scan(tmp_path):
    images, others = read(write(tmp_path / "a.zip", "surplus", "shuffled_numbers", "letter_case"))
    names = [slices[0][1].SeriesDescription.lower() for slices in images.values()]
    assert sum(name.startswith("dixon") for name in names) == 24
    assert sum(name.startswith("localizer") for name in names) == 3
    assert {"Thumbs.db", "broken.dcm", "empty.dcm", "junk folder/"} <= set(others)
    dixon = [s[0][1] for s in images.values() if "ixon" in s[0][1].SeriesDescription.lower()]
    numbers = [int(d.SeriesNumber) for d in sorted(dixon, key=lambda d: d.SeriesTime)]
    assert numbers != sorted(numbers)
    assert len(set(names)) > 4


def test_two_people_and_a_wrong_body_part(tmp_path):
    images, _ = read(write(tmp_path / "a.zip", "two_people"))
    assert len({slices[0][1].PatientID for slices in images.values()}) == 2
    images, _ = read(write(tmp_path / "b.zip", "wrong_body_part"))
    assert {slices[0][1].BodyPartExamined for slices in images.values()} == {"HEAD"}
    images, _ = read(write(tmp_path / "c.zip", "no_dixon"))
    assert not any("ixon" in slices[0][1].SeriesDescription for slices in images.values())


def test_empty_and_constant_channels_and_a_gap(tmp_path):
    images, _ = read(write(tmp_path / "a.zip", "empty:2:W", "constant:3:F:7", "gap:5:250"))
    found = described(images)
    assert stack(found["Dixon_BH_17s_W8"]).max() == 0
    assert np.unique(stack(found["Dixon_BH_17s_F11"])).tolist() == [7]
    lowest = float(found["Dixon_noBH_W24"][0][1].ImagePositionPatient[2])
    assert lowest == pytest.approx(-1041 - 250)
    assert float(found["Dixon_BH_17s_W16"][0][1].ImagePositionPatient[2]) == pytest.approx(-640)


def test_broken_files(tmp_path):
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(write(tmp_path / "a.zip", "truncated"))
    assert not zipfile.is_zipfile(write(tmp_path / "b.zip", "not_a_zip"))
    with zipfile.ZipFile(write(tmp_path / "c.zip", "traversal")) as file:
        assert "../../outside.dcm" in file.namelist()
    with zipfile.ZipFile(write(tmp_path / "d.zip", "bomb:30")) as file:
        largest = max(file.infolist(), key=lambda member: member.file_size)
    assert largest.file_size == 30 << 20
    assert largest.compress_size < 100_000
    with zipfile.ZipFile(write(tmp_path / "e.zip", "thousands:500")) as file:
        assert len(file.namelist()) > 500
    with zipfile.ZipFile(write(tmp_path / "f.zip", "flipped_bytes")) as file:
        assert file.testzip() is not None


def test_a_function_is_a_fault_too(tmp_path):
    images, _ = read(write(tmp_path / "a.zip", lambda scan, rng: scan.series.pop()))
    assert len(images) == 23


@pytest.mark.parametrize("fault", ["no_such_fault", "missing:9", "missing", "drop_slice:3:X"])
def test_faults_that_cannot_be_planted_are_refused_by_name(tmp_path, fault):
    with pytest.raises(InputError, match=fault.split(":")[0]):
        write(tmp_path / "a.zip", fault)
    assert not (tmp_path / "a.zip").exists()


def test_every_fault_writes_a_file(tmp_path):
    arguments = {
        "missing": ":5", "missing_channel": ":2:F", "drop_slice": ":2:W", "repeated": ":1",
        "empty": ":2:W", "constant": ":2:W", "gap": ":4", "unequal": ":5",
        "transfer_syntax": ":rle", "bomb": ":1", "thousands": ":10",
    }  # fmt: skip
    for name in faults.FAULTS:
        path = tmp_path / f"{name}.zip"
        write(path, name + arguments.get(name, ""))
        assert path.stat().st_size
