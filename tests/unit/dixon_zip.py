"""Small synthetic scans for the tests of reading and stitching: no part of the phantom.

A body made of two nested ellipses: a rim of fat around water, tapering like a person,
with two legs in stations 5 and 6. Everything about the DICOM files can be bent.
"""

import io
import zipfile

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

STEP = 2.232142925
# number: rows, slices, thickness, z of the lowest slice, breath hold
STATIONS = {
    1: (168, 64, 3.0, -123.0, False),
    2: (174, 44, 4.5, -291.75, True),
    3: (174, 44, 4.5, -462.75, True),
    4: (174, 44, 4.5, -633.75, True),
    5: (162, 72, 3.5, -834.0, False),
    6: (156, 64, 4.0, -1041.0, False),
}
CHANNELS = ("in", "opp", "F", "W")


def tissue(x, y, z, rim=12.0):
    """Fat and water densities at RAS-like mm (x left, y anterior, z up); broadcasts."""
    fat = np.zeros(np.broadcast(x, y, z).shape)
    water = np.zeros_like(fat)
    legs = z < -700
    for centre in (-85.0, 85.0):
        width = 75.0 + 0.03 * (z + 800)
        r = np.sqrt(((x - centre) / width) ** 2 + ((y + 15) / width) ** 2)
        inside, deep = (r < 1) & legs, (r < 1 - rim / width) & legs
        fat = np.where(inside & ~deep, 0.9, fat)
        water = np.where(deep, 0.6, water)
        marrow = (np.hypot(x - centre, y + 15) < 12) & legs
        fat, water = np.where(marrow, 0.9, fat), np.where(marrow, 0.05, water)
    a, b = 165 + 0 * z, 110 + 15 * np.sin(z / 120)
    r = np.sqrt((x / a) ** 2 + ((y + 10) / b) ** 2)
    inside, deep = (r < 1) & ~legs, (r < 1 - rim / b) & ~legs
    fat = np.where(inside & ~deep, 0.9, fat)
    water = np.where(inside & ~deep, 0.05, np.where(deep, 0.6, water))
    spots = deep & (np.sin(x / 17) * np.sin(y / 13) * np.sin(z / 21) > 0.45)
    fat, water = np.where(spots, 0.8, fat), np.where(spots, 0.1, water)
    return fat, water


def make_stations(numbers=(1, 2, 3, 4, 5, 6), seed=0, noise=6.0, gain=1000.0, rim=12.0, shift=0.0):
    """{number: {"in", "opp", "F", "W": uint16 (slices, rows, cols), rows to posterior}}."""
    rng = np.random.default_rng(seed)
    stations = {}
    for number in numbers:
        rows, slices, thick, low, _ = STATIONS[number]
        x = (-250 + STEP * np.arange(224))[None, None, :]
        y = ((rows - 1) / 2 * STEP + 1.116 - STEP * np.arange(rows))[None, :, None]
        z = (low + thick * np.arange(slices))[:, None, None]
        fat, water = (gain * part for part in tissue(x, y, z, rim))

        def magnitude(signal):
            return np.hypot(
                signal + rng.normal(0, noise, signal.shape), rng.normal(0, noise, signal.shape)
            )

        values = {
            "in": magnitude(fat + water),
            "opp": magnitude(np.abs(water - fat)),
            "F": magnitude(fat),
            "W": magnitude(water),
        }
        stations[number] = {
            channel: np.rint(np.clip(value, 0, 65535)).astype(np.uint16)
            for channel, value in values.items()
        }
    return stations


def las(array):
    """Slices as a volume (x, y, z) of voxel order LAS."""
    return array.T[:, ::-1]


def first_row_lps(rows):
    """LPS y of the first row: slabs of 174 rows start at -194.196, smaller ones are centred."""
    return -194.196 + (174 - rows) / 2 * STEP


def dataset(number, channel, index, pixels, series_uid, **changes):
    """One slice's data set."""
    rows, _slices, thick, low, held = STATIONS[number]
    item = Dataset()
    item.SOPClassUID = MRImageStorage
    item.SOPInstanceUID = generate_uid()
    item.StudyInstanceUID = "1.2.3"
    item.SeriesInstanceUID = series_uid
    item.SeriesDescription = f"Dixon_{'BH_17s' if held else 'noBH'}_{channel}"
    item.SeriesNumber = 4 * (number - 1) + CHANNELS.index(channel) + 1
    item.InstanceNumber = index + 1
    item.Modality = "MR"
    item.ImageType = ["DERIVED", "PRIMARY", "DIXON", channel.upper()]
    item.SeriesDate = item.AcquisitionDate = "20160203"
    item.SeriesTime = item.AcquisitionTime = f"10{10 + number:02d}{CHANNELS.index(channel):02d}.000"
    item.PatientID = item.PatientName = "ABCDEFGH^Bio"
    item.PatientBirthDate = "19500101"
    item.SoftwareVersions = "syngo MR D13"
    item.ImagePositionPatient = [-250.0, first_row_lps(rows), low + index * thick]
    item.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    item.PixelSpacing = [STEP, STEP]
    item.SliceThickness = thick
    item.Rows, item.Columns = pixels.shape
    item.SamplesPerPixel = 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
    item.PixelRepresentation = 0
    item.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    for name, value in changes.items():
        setattr(item, name, value)
    return item


def encode(item, syntax=ExplicitVRLittleEndian):
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = syntax
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
    item["PixelData"].VR = "OW"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, item, enforce_file_format=True)
    return buffer.getvalue()


def scan_items(stations):
    """[(number, channel, index, data set)] of a whole scan."""
    items = []
    for number, channels in stations.items():
        for channel, array in channels.items():
            uid = generate_uid()
            for index, pixels in enumerate(array):
                items.append((number, channel, index, dataset(number, channel, index, pixels, uid)))
    return items


def write_zip(path, items, extra=(), syntax=ExplicitVRLittleEndian, level=1):
    """Write data sets, or ready bytes, and further (name, bytes) members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for item in items:
            item = item[-1]
            archive.writestr(f"{item.SOPInstanceUID}.dcm", encode(item, syntax))
        archive.writestr("manifest.cvs", "filename,series discription,date\nx,y,Aug 30, 2015\n\n")
        for name, data in extra:
            archive.writestr(name, data)
    return path


def in_memory(stations):
    """The slices of a scan as `open_scan` would give them, without writing any file."""
    from iliopsoas.ukb.dicom import Slice

    slices = []
    for number, channels in stations.items():
        rows, _, thick, low, held = STATIONS[number]
        for channel, array in channels.items():
            kind = "BH_17s" if held else "noBH"
            description = f"Dixon_{kind}_{channel}"
            second = 600.0 * number + CHANNELS.index(channel)
            for index, pixels in enumerate(array):
                slices.append(
                    Slice(
                        name=f"{number}.{channel}.{index}.dcm",
                        uid=f"1.{number}.{CHANNELS.index(channel)}.{index}",
                        series=(f"1.{number}.{channel}", str(number), description.lower()),
                        description=description,
                        channel=channel,
                        position=np.array([-250.0, first_row_lps(rows), low + index * thick]),
                        orientation=np.array([1.0, 0, 0, 0, 1, 0]),
                        spacing=(STEP, STEP),
                        thickness=thick,
                        rows=pixels.shape[0],
                        columns=pixels.shape[1],
                        when=("20160203", second, index),
                        acquired=second,
                        reconstruction=("DIXON", "PRIMARY"),
                        software="syngo MR D13",
                        body_part="ABDOMEN",
                        person={},
                        slope=1.0,
                        intercept=0.0,
                        _pixels=pixels,
                    )
                )
    return slices
