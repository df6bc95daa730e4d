"""One DICOM slice: the few header fields the workflow needs, and its pixels."""

import io
import re
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from iliopsoas.status import Refused, Verdict

CHANNELS = ("in", "opp", "F", "W")
_BY_SUFFIX = {"_in": "in", "_opp": "opp", "_f": "F", "_w": "W"}
_BY_TOKEN = {
    "WATER": "W",
    "FAT": "F",
    "IN_PHASE": "in",
    "OUT_PHASE": "opp",
    "OPP_PHASE": "opp",
}

LARGEST = 1024  # rows or columns; bounds what a compressed slice can unpack to

# BodyPartExamined of scans that are certainly not neck to knee (DICOM PS3.16, annex L)
FOREIGN_PARTS = frozenset(
    ["BRAIN", "HEAD", "SKULL", "HEART", "FOOT", "HAND", "ANKLE", "WRIST", "EYE", "ORBIT", "BREAST"]
)

# moved by the pixels' decoding, or read by it
_PIXEL_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "PixelData",
]
_TAGS = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "SeriesNumber",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "InstanceNumber",
    "ImageType",
    "Modality",
    "BodyPartExamined",
    "SoftwareVersions",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "Rows",
    "Columns",
    "RescaleSlope",
    "RescaleIntercept",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    *_PIXEL_TAGS,
]


class NotAnImage(Exception):
    """A DICOM file without pixels or geometry: a report, a directory, a presentation."""


class Unreadable(Exception):
    """A file that begins like DICOM and cannot be parsed."""


@dataclass(slots=True)
class Slice:
    """One slice of one series.

    Attributes
    ----------
    channel : str or None
        "in", "opp", "F" or "W"; None where the series is not a Dixon series.
    position, orientation : ndarray (3,), (6,)
        ImagePositionPatient (LPS mm) and ImageOrientationPatient.
    spacing : tuple of float
        Millimetres between rows, and between columns.
    when : tuple
        Sorts slices by time of acquisition.
    person : dict
        The identifying fields as found. They are compared, and never leave this object.
    """

    name: str
    uid: str
    series: tuple
    description: str
    channel: str | None
    position: np.ndarray | None
    orientation: np.ndarray | None
    spacing: tuple | None
    thickness: float
    rows: int
    columns: int
    when: tuple
    software: str
    body_part: str
    person: dict
    slope: float
    intercept: float
    _pixels: np.ndarray | pydicom.Dataset | None

    @property
    def held_bytes(self) -> int:
        if isinstance(self._pixels, np.ndarray):
            return self._pixels.nbytes
        return 0 if self._pixels is None else len(self._pixels.PixelData)

    def pixels(self) -> np.ndarray:
        """Pixels (rows, columns): as stored where there is no rescaling, else float32.

        Raises
        ------
        Refused
            ``unreadable_pixels``, naming the transfer syntax that cannot be decoded.
        """
        pixels = self._pixels
        if not isinstance(pixels, np.ndarray):
            pixels = _decode(pixels, self.name)
        if self.slope != 1.0 or self.intercept != 0.0:
            pixels = pixels.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)
        return pixels


def sniff(data: bytes, name: str) -> str:
    """ "file" for DICOM with its preamble, "bare" for a .dcm file without one, else ""."""
    if data[128:132] == b"DICM":
        return "file"
    return "bare" if name.lower().endswith((".dcm", ".ima")) and len(data) > 256 else ""


def read_slice(data: bytes, name: str, forced: bool = False) -> Slice:
    """Parse one DICOM file.

    Raises
    ------
    NotAnImage, Unreadable
        The file is passed over, or counted as damaged.
    """
    try:
        header = pydicom.dcmread(io.BytesIO(data), force=forced, specific_tags=_TAGS)
    except (
        InvalidDicomError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
    ) as error:
        raise Unreadable(str(error)) from None
    except Exception as error:  # a damaged file may break the parser anywhere
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    try:
        return _slice(header, name)
    except NotAnImage:
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def _slice(header: pydicom.Dataset, name: str) -> Slice:
    if "PixelData" not in header or "Rows" not in header or "Columns" not in header:
        raise NotAnImage
    if str(header.get("Modality", "MR") or "MR") != "MR":
        raise NotAnImage
    if not (0 < int(header.Rows) <= LARGEST and 0 < int(header.Columns) <= LARGEST):
        raise Unreadable(f"{header.Rows} x {header.Columns} pixels")
    description = str(header.get("SeriesDescription", "") or "").strip()
    channel = _channel(description, [str(token) for token in header.get("ImageType", None) or []])
    geometry = all(
        header.get(tag) is not None
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    if channel is not None and (not geometry or int(header.get("NumberOfFrames", 1) or 1) > 1):
        channel = None
    return Slice(
        name=name,
        uid=str(header.get("SOPInstanceUID", "")),
        series=(
            str(header.get("SeriesInstanceUID", "")),
            str(header.get("SeriesNumber", "")),
            description.lower(),
        ),
        description=description,
        channel=channel,
        position=np.array(header.ImagePositionPatient, dtype=float) if geometry else None,
        orientation=np.array(header.ImageOrientationPatient, dtype=float) if geometry else None,
        spacing=tuple(float(value) for value in header.PixelSpacing) if geometry else None,
        thickness=float(header.get("SliceThickness", 0) or 0),
        rows=int(header.Rows),
        columns=int(header.Columns),
        when=(
            str(header.get("SeriesDate", "") or header.get("AcquisitionDate", "") or ""),
            _seconds(header.get("SeriesTime", "") or header.get("AcquisitionTime", "")),
            int(header.get("InstanceNumber", 0) or 0),
        ),
        software=_text(header.get("SoftwareVersions", "")),
        body_part=str(header.get("BodyPartExamined", "") or "").strip().upper(),
        person={
            tag: _as_compared(tag, str(header.get(tag, "") or ""))
            for tag in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
        },
        slope=float(header.get("RescaleSlope", 1) or 1),
        intercept=float(header.get("RescaleIntercept", 0) or 0),
        _pixels=_plain_pixels(header) if channel is not None else None,
    )


def _channel(description: str, image_type: list[str]) -> str | None:
    text = description.lower()
    if "dixon" not in text:
        return None
    if any(token.upper().startswith("COMP") for token in image_type):
        return None  # the scanner's own composition of all stations
    for suffix, channel in _BY_SUFFIX.items():
        if text.endswith(suffix):
            return channel
    for token in image_type:
        if token.upper() in _BY_TOKEN:
            return _BY_TOKEN[token.upper()]
    return None


def _seconds(text) -> float:
    """Seconds of the day of a DICOM time (HHMMSS.ffffff); -1 where there is none."""
    match = re.fullmatch(r"(\d{2}):?(\d{2}):?(\d{2}(?:\.\d*)?)", str(text or "").strip())
    if not match:
        return -1.0
    hours, minutes, seconds = match.groups()
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds)


def _as_compared(tag: str, value: str) -> str:
    """An identifying value as the standard compares it (DICOM PS3.5, 6.2; PS3.4, C.2.2.2).

    Of a name, spaces around a component, empty components at the end and the case of letters tell
    nobody apart: ``A^B`` is ``a ^b^^^``.
    """
    if tag != "PatientName":
        return value.strip()
    groups = [
        "^".join(part.strip() for part in group.split("^")).rstrip("^")
        for group in value.strip().split("=")
    ]
    return "=".join(groups).rstrip("=").casefold()


def _text(value) -> str:
    if isinstance(value, str):
        return value.strip()
    return " ".join(str(part).strip() for part in value or [])


def _plain_pixels(header: pydicom.Dataset) -> np.ndarray | pydicom.Dataset:
    """A view of uncompressed 16-bit pixels; the data set itself where they need decoding."""
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None) if header.file_meta else None
    plain = (
        (syntax is None or (not syntax.is_compressed and syntax.is_little_endian))
        and int(header.BitsAllocated) == 16
        and int(header.get("SamplesPerPixel", 1)) == 1
    )
    if str(header.get("PhotometricInterpretation", "MONOCHROME2")) != "MONOCHROME2":
        plain = False
    if not plain:
        return header
    dtype = "<i2" if int(header.get("PixelRepresentation", 0)) == 1 else "<u2"
    count = int(header.Rows) * int(header.Columns)
    # too few bytes raise ValueError: a damaged slice
    return np.frombuffer(header.PixelData, dtype, count).reshape(header.Rows, header.Columns)


def _decode(header: pydicom.Dataset, name: str) -> np.ndarray:
    syntax = header.file_meta.get("TransferSyntaxUID") if header.file_meta else None
    interpretation = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    if interpretation != "MONOCHROME2" or int(header.get("SamplesPerPixel", 1)) != 1:
        raise Refused(
            Verdict.UNREADABLE_PIXELS,
            f"{name}: pixels are {interpretation}, expected MONOCHROME2 with one sample",
        )
    try:
        return np.asarray(header.pixel_array)
    except Exception as error:  # each decoder has its own errors; all mean the same here
        title = UID(syntax).name if syntax else "an unnamed transfer syntax"
        reason = str(error).strip().splitlines()
        raise Refused(
            Verdict.UNREADABLE_PIXELS,
            f"{name}: pixels in {title} cannot be decoded"
            f" ({reason[0] if reason else type(error).__name__})",
        ) from None
