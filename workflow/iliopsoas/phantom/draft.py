"""A visit's archive before it is written, and its bytes, as UK Biobank holds field 20201.

What public parsers of such files know: a flat folder of
``<SOPInstanceUID>.dcm``, 24 series, Siemens Aera headers, a malformed manifest and an
anonymised patient. What goes wrong in real zips is planted by `iliopsoas.phantom.faults`.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    RLELossless,
)

from iliopsoas import files, grid

CHANNELS = ("in", "opp", "F", "W")  # the order of a station's series
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
TRANSFER_SYNTAXES = {
    "implicit": ImplicitVRLittleEndian,
    "explicit": ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
}
ECHO_TIMES = {"in": 4.77, "opp": 2.39, "F": 2.39, "W": 2.39}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MANIFEST_HEADER = "filename,modality,patientid,date,seriesid,series discription"


@dataclass(frozen=True)
class Series:
    """One DICOM series: what its headers say and its pixels.

    Parameters
    ----------
    station : int
        1 to 6 head to foot; 0 for what is not a Dixon station.
    channel : str
        ``"in"``, ``"opp"``, ``"F"``, ``"W"``, or ``""``.
    description, number, time : str, int, str
        SeriesDescription, SeriesNumber, SeriesTime (HHMMSS.ffffff).
    pixels : ndarray of uint16, shape (slices, rows, columns)
    positions : ndarray, shape (slices, 3)
        LPS millimetres of each slice's first pixel.
    thickness : float
        Slice thickness in millimetres.
    orientation : tuple of float
        ImageOrientationPatient.
    spacing : tuple of float
        Millimetres between rows and between columns.
    header : dict
        Further elements by keyword; they replace what the scan would write.
    transfer_syntax : str
        A key of TRANSFER_SYNTAXES.
    """

    station: int
    channel: str
    description: str
    number: int
    time: str
    pixels: np.ndarray
    positions: np.ndarray
    thickness: float
    orientation: tuple[float, ...] = AXIAL
    spacing: tuple[float, float] = (grid.IN_PLANE_MM, grid.IN_PLANE_MM)
    header: dict = field(default_factory=dict)
    transfer_syntax: str = "explicit"

    def changed(self, **changes) -> "Series":
        """A copy with other fields; ``header`` adds to the present one."""
        if "header" in changes:
            changes["header"] = self.header | changes["header"]
        return replace(self, **changes)


@dataclass
class ScanDraft:
    """One visit's archive before it is written; faults change it.

    Parameters
    ----------
    series : list of Series
    header : dict
        Patient and study elements every series shares.
    seed : str
        What all UIDs are made from.
    members : list of (str, bytes)
        Further members of the zip.
    manifest : str or None
        Its name.
    finish : list of callable
        Applied in order to the zip's bytes, when it is already closed.
    """

    series: list[Series]
    header: dict
    seed: str
    members: list[tuple[str, bytes]] = field(default_factory=list)
    manifest: str | None = "manifest.cvs"
    finish: list = field(default_factory=list)


def uid(*parts) -> str:
    """A UID of always 44 characters that depends on `parts` alone (UUID-derived, root 2.25)."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()
    return f"2.25.1{int(digest, 16) % 10**38:038d}"


def make_scan(stations, traits, rng, day=None, birth=None, transfer_syntax=None) -> ScanDraft:
    """Headers around `stations`: a complete visit without any fault.

    Parameters
    ----------
    stations : list of iliopsoas.phantom.acquisition.Station
        Each with ``number``, ``arrays`` {"in", "opp", "F", "W"} of uint16 (slices, rows,
        columns), ``position_lps`` (slices, 3), ``thickness_mm`` and ``breath_hold``.
    traits : Traits
    rng : numpy.random.Generator
        Source of names, times and UIDs.
    day, birth : datetime.date, optional
        Visit and birth date; by default a day in 2016 and the age's.
    transfer_syntax : str, optional
        A key of TRANSFER_SYNTAXES; by default implicit or explicit by chance.
    """
    seed = str(int(rng.integers(2**62)))
    day = day or date(2016, 1, 4) + timedelta(days=int(rng.integers(0, 360)))
    birth = birth or date(day.year - int(traits.age), 1, 1)
    letters = "".join(rng.choice(list("ABCDEFGHJKLMNPQRSTUVWXYZ23456789"), 12))
    syntax = ("implicit", "explicit")[int(rng.integers(2))]
    start = int(rng.integers(8 * 3600, 18 * 3600))
    series = []
    for station in sorted(stations, key=lambda item: item.number):
        protocol = "Dixon_BH_17s" if station.breath_hold else "Dixon_noBH"
        acquired = start + 40 * station.number
        for position, channel in enumerate(CHANNELS):
            series.append(
                Series(
                    station=station.number,
                    channel=channel,
                    description=f"{protocol}_{channel}",
                    number=4 * (station.number - 1) + position + 1,
                    time=dicom_time(acquired + position),
                    pixels=np.asarray(station.arrays[channel]),
                    positions=np.asarray(station.position_lps, dtype=float),
                    thickness=float(station.thickness_mm),
                    transfer_syntax=transfer_syntax or syntax,
                )
            )
    header = {
        "StudyInstanceUID": uid(seed, "study"),
        "FrameOfReferenceUID": uid(seed, "frame"),
        "StudyDate": f"{day:%Y%m%d}",
        "SeriesDate": f"{day:%Y%m%d}",
        "AcquisitionDate": f"{day:%Y%m%d}",
        "StudyTime": dicom_time(start),
        "PatientName": f"{letters}^Bio",
        "PatientID": f"{letters}^Bio",
        "PatientBirthDate": f"{birth:%Y%m%d}",
        "PatientSex": traits.sex[0].upper(),
        "PatientAge": f"{int(traits.age):03d}Y",
        "PatientSize": f"{traits.height_cm / 100:.2f}",
        "PatientWeight": f"{traits.weight_kg:.1f}",
    }
    manifest = ("manifest.cvs", "manifest.csv")[int(rng.integers(2))]
    return ScanDraft(series=series, header=header, seed=seed, manifest=manifest)


def dicom_time(seconds: float) -> str:
    """HHMMSS.ffffff of a number of seconds after midnight."""
    whole = int(seconds)
    micro = round((seconds - whole) * 1e6)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{micro:06d}"


def _dataset(scan: ScanDraft, series: Series) -> Dataset:
    """Everything a series' slices share."""
    rows, columns = series.pixels.shape[1:]
    derived = "DERIVED" if series.channel in ("F", "W") else "ORIGINAL"
    top = float(series.pixels.max(initial=0))
    elements = {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": [derived, "PRIMARY", "M", "NORM", "DIS2D"],
        "SOPClassUID": MRImageStorage,
        "SeriesTime": series.time,
        "AcquisitionTime": series.time,
        "ContentDate": scan.header["StudyDate"],
        "ContentTime": series.time,
        "AccessionNumber": "",
        "Modality": "MR",
        "Manufacturer": "SIEMENS",
        "ReferringPhysicianName": "",
        "StudyDescription": "UKBiobank^Abdominal",
        "SeriesDescription": series.description,
        "ManufacturerModelName": "Aera",
        "BodyPartExamined": "ABDOMEN",
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "ScanOptions": "PFP",
        "MRAcquisitionType": "3D",
        "SequenceName": "*fl3d2",
        "AngioFlag": "N",
        "SliceThickness": f"{series.thickness:g}",
        "RepetitionTime": "6.67",
        "EchoTime": f"{ECHO_TIMES.get(series.channel, 2.39):g}",
        "NumberOfAverages": "1",
        "ImagingFrequency": "63.67",
        "ImagedNucleus": "1H",
        "EchoNumbers": "1",
        "MagneticFieldStrength": "1.5",
        "EchoTrainLength": "2",
        "PixelBandwidth": "440",
        "SoftwareVersions": "syngo MR D13",
        "ProtocolName": series.description.rsplit("_", 1)[0],
        "TransmitCoilName": "Body",
        "FlipAngle": "10",
        "PatientPosition": "HFS",
        "StudyID": "1",
        "SeriesInstanceUID": uid(
            scan.seed, "series", series.description, series.number, series.time
        ),
        "SeriesNumber": str(series.number),
        "AcquisitionNumber": "1",
        "ImageOrientationPatient": [f"{value:.10g}" for value in series.orientation],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": rows,
        "Columns": columns,
        "PixelSpacing": [f"{value:.10g}" for value in series.spacing],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "WindowCenter": f"{top / 2:.0f}",
        "WindowWidth": f"{max(top, 1):.0f}",
    }
    dataset = Dataset()
    for keyword, value in (elements | scan.header | series.header).items():
        setattr(dataset, keyword, value)
    return dataset


def _element(tag: tuple[int, int], vr: str, value: str, implicit: bool) -> bytes:
    """One text element as DICOM stores it, little endian."""
    data = value.encode("ascii")
    if len(data) % 2:
        data += b"\0" if vr == "UI" else b" "
    head = tag[0].to_bytes(2, "little") + tag[1].to_bytes(2, "little")
    if implicit:
        return head + len(data).to_bytes(4, "little") + data
    return head + vr.encode() + len(data).to_bytes(2, "little") + data


def encode_dataset(dataset: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A DICOM file of `dataset`, which names its own SOP class and instance."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.ImplementationClassUID = uid("iliopsoas phantom")
    dataset.file_meta.ImplementationVersionName = "PHANTOM"
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def encode_series(scan: ScanDraft, series: Series):
    """The DICOM files of one series, as (name, bytes) pairs.

    Headers are encoded once by pydicom; a slice's own four elements are exchanged in the
    bytes, which takes a fiftieth of the time.
    """
    syntax = TRANSFER_SYNTAXES[series.transfer_syntax]
    compressed = syntax.is_compressed
    plain = ExplicitVRLittleEndian if compressed else syntax
    implicit = plain == ImplicitVRLittleEndian
    dataset = _dataset(scan, series)
    # values no other element has
    marks = {
        "SOPInstanceUID": ((0x0008, 0x0018), "UI", "2.25.2" + "7" * 38),
        "InstanceNumber": ((0x0020, 0x0013), "IS", "987654321"),
        "ImagePositionPatient": ((0x0020, 0x0032), "DS", "987.125\\987.25\\987.5"),
        "SliceLocation": ((0x0020, 0x1041), "DS", "987.0625"),
    }
    for keyword, (_, _, value) in marks.items():
        setattr(dataset, keyword, value.split("\\") if "\\" in value else value)
    dataset.PixelData = series.pixels[0].astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    whole = encode_dataset(dataset, plain)
    template = whole[: len(whole) - len(dataset.PixelData)]
    # the first mark also stands in the file's meta header, always explicit
    pieces = [(0x0002, 0x0003), *(mark[0] for mark in marks.values())]
    mark_uid = marks["SOPInstanceUID"][2]
    meta = _element((0x0002, 0x0003), "UI", mark_uid, implicit=False)
    found = [meta] + [_element(*mark, implicit=implicit) for mark in marks.values()]
    parts, rest = [], template
    for element in found:
        before, present, rest = rest.partition(element)
        assert present, "pydicom encodes an element in another way than expected"
        parts.append(before)
    parts.append(rest)

    normal = np.cross(series.orientation[:3], series.orientation[3:])
    for index, (pixels, position) in enumerate(zip(series.pixels, series.positions, strict=True)):
        name = uid(scan.seed, series.number, series.time, index)
        values = [
            name,
            name,
            str(index + 1),
            "\\".join(_decimal(value) for value in position),
            _decimal(float(normal @ position)),
        ]
        vrs = ["UI", "UI", "IS", "DS", "DS"]
        data = b"".join(
            before + _element(tag, vr, value, implicit and tag[0] != 0x0002)
            for before, tag, vr, value in zip(parts, pieces, vrs, values, strict=False)
        )
        data += parts[-1] + pixels.astype("<u2").tobytes()
        yield f"{name}.dcm", _compress(data, syntax) if compressed else data


def _decimal(value: float) -> str:
    """A DICOM decimal string: at most 16 characters."""
    return f"{value:.9g}"


def _compress(data: bytes, syntax) -> bytes:
    """The same file with its pixels in a compressed transfer syntax."""
    from pydicom import dcmread

    dataset = dcmread(io.BytesIO(data))
    dataset.compress(syntax, generate_instance_uid=False)
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def manifest_text(scan: ScanDraft, names_by_series) -> str:
    """The manifest as UK Biobank writes it.

    A misspelt column, a date whose comma is not quoted, so that every row has a column more
    than the header, and blank lines at the end.
    """
    day = date.fromisoformat(scan.header["StudyDate"])
    day_text = f"{MONTHS[day.month - 1]} {day.day}, {day.year}"
    lines = [MANIFEST_HEADER]
    for series, names in names_by_series:
        lines += [
            f"{name},MR,{scan.header['PatientID']},{day_text} 00:00:00,{series.number},"
            f"{series.description}"
            for name in names
        ]
    return "\n".join(lines) + "\n\n\n"


def write_scan(path, scan: ScanDraft, level: int = 1) -> None:
    """Write `scan` as a zip; its bytes depend on the scan alone.

    Parameters
    ----------
    path : path
        Conventionally ``<EID>_20201_<instance>_<array>.zip``; nothing inside names the EID.
    scan : ScanDraft
    level : int
        Deflate level; 0 stores.
    """
    members, listed = [], []
    for series in scan.series:
        encoded = list(encode_series(scan, series))
        listed.append((series, [name for name, _ in encoded]))
        members += encoded
    members.sort()
    if scan.manifest:
        members.append((scan.manifest, manifest_text(scan, listed).encode()))
    members += scan.members

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members:
            entry = zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, compresslevel=level)
    data = buffer.getbuffer()
    for step in scan.finish:
        data = step(bytes(data))
    files.write_bytes(path, data)
