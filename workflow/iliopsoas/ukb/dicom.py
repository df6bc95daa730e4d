"""DICOM slices: the few header fields the workflow needs, and their pixels.

A file is one slice, or an enhanced multi-frame image (DICOM PS3.3, C.7.6.16) of many: a
station's channel, a station, or more.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pydicom
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
LARGEST_BYTES = 256 << 20  # of all frames of a file

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
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
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
        Date, seconds of the day and number: sorts slices by time of their series.
    acquired : float
        Seconds of the day at which the signal was acquired: two reconstructions share it.
    reconstruction : tuple of str
        What ImageType says beside the channel, such as DIS2D (distortion corrected) or ND.
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
    acquired: float
    reconstruction: tuple
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


def read_slices(data: bytes, name: str, forced: bool = False) -> list[Slice]:
    """Parse one DICOM file: one slice, or the frames of an enhanced multi-frame image.

    Raises
    ------
    NotAnImage, Unreadable
        The file is passed over, or counted as damaged.
    Refused
        ``no_dixon_series`` where a multi-frame Dixon image does not say where its frames lie;
        ``unreadable_pixels`` where it cannot be decoded.
    """
    try:
        header = pydicom.dcmread(io.BytesIO(data), force=forced, specific_tags=_TAGS)
    except Exception as error:  # a damaged file may break the parser anywhere
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    try:
        if int(header.get("NumberOfFrames", 1) or 1) > 1:
            return _frames(header, name)
        return [_slice(header, name)]
    except (NotAnImage, Refused):
        raise
    except Exception as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def foreign_part(slices: Iterable[Slice]) -> str | None:
    """The foreign body part that most slices name; None where they do not."""
    parts = Counter(item.body_part for item in slices)
    foreign = {part: count for part, count in parts.items() if part in FOREIGN_PARTS}
    if not foreign or sum(foreign.values()) <= sum(parts.values()) / 2:
        return None
    return max(foreign, key=foreign.get)


def _frames(header: pydicom.Dataset, name: str) -> list[Slice]:
    """The frames of a multi-frame image as slices of their own."""
    first = _slice(header, name)
    count = int(header.NumberOfFrames)
    if "dixon" not in first.description.lower():
        return [first]  # counted as an image of another series
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]

    def group(frame, sequence, tag):
        for place in (frame, shared):
            items = place.get(sequence)
            if items and items[0].get(tag) is not None:
                return items[0].get(tag)
        return None

    places = [
        [
            group(frame, "PlanePositionSequence", "ImagePositionPatient"),
            group(frame, "PlaneOrientationSequence", "ImageOrientationPatient"),
            group(frame, "PixelMeasuresSequence", "PixelSpacing"),
        ]
        for frame in frames
    ]
    if len(frames) != count or any(value is None for place in places for value in place):
        raise Refused(
            Verdict.NO_DIXON_SERIES,
            f"{name}: a multi-frame image of {count} frames that does not say where each lies;"
            " expected single slices or an enhanced multi-frame image",
        )
    if count * first.rows * first.columns * 2 > LARGEST_BYTES:
        raise Refused(
            Verdict.HOSTILE_ARCHIVE,
            f"{name}: {count} frames of {first.rows} x {first.columns} pixels, expected a"
            " station's",
        )
    pixels = _decode(header, name).reshape(count, first.rows, first.columns)
    made = []
    for index, (frame, (position, orientation, spacing)) in enumerate(
        zip(frames, places, strict=True)
    ):
        kind = group(frame, "MRImageFrameTypeSequence", "FrameType") or header.get("ImageType")
        kind = [str(token) for token in kind or []]
        channel = _channel(first.description, kind)
        made.append(
            replace(
                first,
                name=f"{name}, frame {index + 1}",
                uid=f"{first.uid}.{index + 1}",
                channel=channel,
                position=np.array(position, dtype=float),
                orientation=np.array(orientation, dtype=float),
                spacing=tuple(float(value) for value in spacing),
                thickness=float(group(frame, "PixelMeasuresSequence", "SliceThickness") or 0),
                when=(*first.when[:2], index),
                reconstruction=_reconstruction(kind),
                slope=float(
                    group(frame, "PixelValueTransformationSequence", "RescaleSlope") or first.slope
                ),
                intercept=float(
                    group(frame, "PixelValueTransformationSequence", "RescaleIntercept")
                    or first.intercept
                ),
                _pixels=pixels[index] if channel is not None else None,
            )
        )
    return made


def _slice(header: pydicom.Dataset, name: str) -> Slice:
    if not len(header):  # none of the elements that are asked for: a preamble and damage
        raise Unreadable("no DICOM element can be read")
    if "PixelData" not in header or "Rows" not in header or "Columns" not in header:
        raise NotAnImage
    if str(header.get("Modality", "MR") or "MR") != "MR":
        raise NotAnImage
    if not (0 < int(header.Rows) <= LARGEST and 0 < int(header.Columns) <= LARGEST):
        raise Unreadable(f"{header.Rows} x {header.Columns} pixels")
    description = str(header.get("SeriesDescription", "") or "").strip()
    kind = [str(token) for token in header.get("ImageType", None) or []]
    channel = _channel(description, kind)
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
        acquired=_seconds(header.get("AcquisitionTime", "") or header.get("SeriesTime", "")),
        reconstruction=_reconstruction(kind),
        software=_text(header.get("SoftwareVersions", "")),
        body_part=str(header.get("BodyPartExamined", "") or "").strip().upper(),
        person={
            tag: _same(tag, str(header.get(tag, "") or ""))
            for tag in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
        },
        slope=float(header.get("RescaleSlope", 1) or 1),
        intercept=float(header.get("RescaleIntercept", 0) or 0),
        _pixels=_plain_pixels(header) if channel is not None else None,
    )


def _same(tag: str, text: str) -> str:
    """An identifying value without what the standard gives no meaning (PS3.5, 6.2).

    Blanks around it, empty components at the end of a name, its ideographic and phonetic
    spellings, letter case; dots of a date.
    """
    text = text.strip().casefold()
    if tag == "PatientName":
        text = "^".join(part.strip() for part in text.split("=")[0].split("^")).rstrip("^")
    return text.replace(".", "") if tag == "PatientBirthDate" else text


def _reconstruction(image_type: list[str]) -> tuple:
    """ImageType without channel and without whether it was derived."""
    tokens = {token.strip().upper() for token in image_type}
    return tuple(sorted(tokens - set(_BY_TOKEN) - {"ORIGINAL", "DERIVED", "F", "W", "IN", "OPP"}))


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
