"""What goes wrong in real zips, one small function each.

Every fault is a function ``fault(scan, rng, *arguments)`` that changes a
`iliopsoas.phantom.draft.ScanDraft` in place, so that they combine in any order. They are
what public parsers of real zips met. Fat-water swaps are physics: they are made in
`iliopsoas.phantom.acquisition`.
"""

import io
import zipfile

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from iliopsoas.phantom.draft import (
    TRANSFER_SYNTAXES,
    ScanDraft,
    Series,
    dicom_time,
    encode_dataset,
    uid,
)
from iliopsoas.status import InputError

FAULTS = {}
ACQUISITION_FAULTS = (  # planted before there is an archive
    "swapped", "exchanged", "noisy", "dim", "ghost", "masked", "moved", "metal",
)  # fmt: skip


def _fault(function):
    FAULTS[function.__name__] = function
    return function


def plant(scan: ScanDraft, faults, rng: np.random.Generator) -> None:
    """Apply faults in order.

    Parameters
    ----------
    scan : ScanDraft
    faults : sequence of str or callable
        ``name``, ``name:argument:argument``, or a function of (scan, rng).
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        An unknown name, or arguments it does not take.
    """
    for fault in faults:
        if callable(fault):
            fault(scan, rng)
            continue
        name, *arguments = fault.split(":")
        if name in ACQUISITION_FAULTS:
            continue
        if name not in FAULTS:
            raise InputError(
                f"phantom: unknown fault {fault!r}; known: {', '.join(sorted(FAULTS))}"
            )
        try:
            FAULTS[name](scan, rng, *arguments)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"phantom: fault {fault!r} cannot be planted: {error}") from error


def _change(scan: ScanDraft, change, station=None, channel=None) -> None:
    """Replace the series of a station and channel (all where not named) by ``change(series)``."""
    station = None if station in (None, "") else int(station)
    hits = 0
    for index, series in enumerate(scan.series):
        if station not in (None, series.station) or channel not in (None, "", series.channel):
            continue
        scan.series[index] = change(series)
        hits += 1
    if not hits:
        raise ValueError(f"no series of station {station}, channel {channel}")


# stations, channels and slices


@_fault
def missing(scan, rng, station):
    """A station is not there at all."""
    _change(scan, lambda series: series, station)
    scan.series = [series for series in scan.series if series.station != int(station)]


@_fault
def missing_channel(scan, rng, station, channel):
    """One channel of a station is not there."""
    _change(scan, lambda series: series, station, channel)
    scan.series = [
        series
        for series in scan.series
        if (series.station, series.channel) != (int(station), channel)
    ]


@_fault
def drop_slice(scan, rng, station, channel, index=None):
    """One slice is missing in one channel (43 of 44); an inner one unless `index` says which."""

    def change(series):
        count = len(series.pixels)
        gone = int(index) if index is not None else int(rng.integers(count // 4, 3 * count // 4))
        return series.changed(
            pixels=np.delete(series.pixels, gone, axis=0),
            positions=np.delete(series.positions, gone, axis=0),
        )

    _change(scan, change, station, channel)


@_fault
def repeated(scan, rng, station):
    """A station acquired twice: the first attempt, darker and blurred, is still in the zip."""
    station = int(station)
    last = max(series.number for series in scan.series)
    again = [series for series in scan.series if series.station == station]
    if not again:
        raise ValueError(f"no series of station {station}")
    for offset, series in enumerate(again):
        seconds = sum(
            int(series.time[2 * part : 2 * part + 2]) * 60 ** (2 - part) for part in range(3)
        )
        old = series.pixels.astype(np.float32) * 0.5
        old = (old + np.roll(old, 4, axis=1)) / 2  # a ghost of movement
        index = scan.series.index(series)
        scan.series[index] = series.changed(pixels=old.astype(np.uint16))
        scan.series.append(
            series.changed(number=last + 1 + offset, time=dicom_time(seconds + 600 + offset))
        )


@_fault
def empty(scan, rng, station, channel):
    """A channel of zeros."""
    _change(scan, lambda item: item.changed(pixels=np.zeros_like(item.pixels)), station, channel)


@_fault
def constant(scan, rng, station, channel, value="100"):
    """A channel with the same value everywhere."""
    level = int(value)
    _change(
        scan, lambda item: item.changed(pixels=np.full_like(item.pixels, level)), station, channel
    )


@_fault
def gap(scan, rng, station, millimetres="300"):
    """From `station` down everything lies lower: a hole between two stations."""
    shift = np.array([0.0, 0.0, -float(millimetres)])

    def change(item):
        low = item.station >= int(station)
        return item.changed(positions=item.positions + shift) if low else item

    _change(scan, change)


@_fault
def unequal(scan, rng, station, channel="F", rows="2", columns="2"):
    """A channel is `rows` and `columns` smaller on each side than the station's others."""
    top, left = int(rows), int(columns)

    def change(item):
        height, width = item.pixels.shape[1:]
        along, down = np.array(item.orientation[:3]), np.array(item.orientation[3:])
        return item.changed(
            pixels=item.pixels[:, top : height - top, left : width - left],
            positions=item.positions
            + along * item.spacing[1] * left
            + down * item.spacing[0] * top,
        )

    _change(scan, change, station, channel)


# geometry


@_fault
def flipped(scan, rng, axes="x"):
    """The same anatomy stored with columns (x), rows (y) or slices (z) in the other direction."""

    def change(item):
        pixels, positions = item.pixels, item.positions
        along, down = np.array(item.orientation[:3]), np.array(item.orientation[3:])
        if "x" in axes:
            positions = positions + along * item.spacing[1] * (pixels.shape[2] - 1)
            pixels, along = pixels[:, :, ::-1], -along
        if "y" in axes:
            positions = positions + down * item.spacing[0] * (pixels.shape[1] - 1)
            pixels, down = pixels[:, ::-1], -down
        if "z" in axes:
            pixels, positions = pixels[::-1], positions[::-1]
        # + 0.0 turns -0.0 into 0.0
        orientation = tuple(float(value) + 0.0 for value in (*along, *down))
        return item.changed(pixels=pixels, positions=positions, orientation=orientation)

    _change(scan, change)


@_fault
def rotated(scan, rng):
    """The same anatomy stored with rows and columns exchanged."""

    def change(item):
        return item.changed(
            pixels=item.pixels.transpose(0, 2, 1),
            orientation=item.orientation[3:] + item.orientation[:3],
            spacing=item.spacing[::-1],
        )

    _change(scan, change)


@_fault
def coronal(scan, rng):
    """The same anatomy stored as coronal slices."""

    def change(item):
        order = np.argsort(item.positions[:, 2])[::-1]  # rows run from head to foot
        volume, first = item.pixels[order], item.positions[order[0]]
        down = np.array(item.orientation[3:]) * item.spacing[0]
        return item.changed(
            pixels=volume.transpose(1, 0, 2),
            positions=first + np.arange(volume.shape[1])[:, None] * down,
            orientation=(*item.orientation[:3], 0.0, 0.0, -1.0),
            spacing=(item.thickness, item.spacing[1]),
            thickness=item.spacing[0],
        )

    _change(scan, change)


@_fault
def oblique(scan, rng, degrees="10"):
    """The slices are turned about the left-right axis."""
    angle = np.deg2rad(float(degrees))
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )

    def change(item):
        along, down = np.array(item.orientation[:3]), np.array(item.orientation[3:])
        return item.changed(
            positions=item.positions @ turn.T,
            orientation=tuple(float(value) for value in (*(turn @ along), *(turn @ down))),
        )

    _change(scan, change)


# headers


@_fault
def shuffled_numbers(scan, rng):
    """Series numbers in no order."""
    numbers = rng.permutation([series.number for series in scan.series])
    scan.series = [
        series.changed(number=int(number))
        for series, number in zip(scan.series, numbers, strict=True)
    ]


@_fault
def letter_case(scan, rng):
    """Series descriptions in capitals or small letters."""
    scan.series = [
        item.changed(
            description=item.description.upper() if item.station % 2 else item.description.lower()
        )
        for item in scan.series
    ]


@_fault
def rescale(scan, rng, slope="2", intercept="0"):
    """Stored values need RescaleSlope and RescaleIntercept to become the true ones."""
    header = {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}

    def change(item):
        stored = (item.pixels.astype(np.float64) - float(intercept)) / float(slope)
        stored = np.clip(np.rint(stored), 0, 65535).astype(np.uint16)
        return item.changed(pixels=stored, header=header)

    _change(scan, change)


@_fault
def newer_software(scan, rng):
    """ImageType names the channel, as newer Siemens software writes it."""
    tokens = {"in": "IN_PHASE", "opp": "OUT_PHASE", "F": "FAT", "W": "WATER"}

    def change(item):
        kind = ["DERIVED", "PRIMARY", "M", "DIXON", tokens[item.channel], "DIS2D"]
        return item.changed(header={"ImageType": kind, "SoftwareVersions": "syngo MR XA30"})

    _change(scan, change)


@_fault
def transfer_syntax(scan, rng, name):
    """Write all series in another transfer syntax: implicit, explicit, rle, jpeg2000."""
    if name not in TRANSFER_SYNTAXES:
        raise ValueError(f"known: {', '.join(TRANSFER_SYNTAXES)}")
    _change(scan, lambda item: item.changed(transfer_syntax=name))


@_fault
def two_people(scan, rng, from_station="4"):
    """From a station down, the series are somebody else's."""
    other = {
        "PatientName": "OTHERPERSON0^Bio",
        "PatientID": "OTHERPERSON0^Bio",
        "PatientBirthDate": "19500101",
        "StudyInstanceUID": uid(scan.seed, "other study"),
        "FrameOfReferenceUID": uid(scan.seed, "other frame"),
    }

    def change(item):
        return item.changed(header=other) if item.station >= int(from_station) else item

    _change(scan, change)


@_fault
def no_dixon(scan, rng):
    """Nothing but scouts."""
    scan.series = []
    scouts(scan, rng)


@_fault
def wrong_body_part(scan, rng):
    """A head examination: one Dixon station of the head and nothing else."""
    scan.series = [
        item.changed(
            description=f"Dixon_head_{item.channel}",
            positions=item.positions + np.array([0.0, 0.0, 450.0]),
            header={"BodyPartExamined": "HEAD", "StudyDescription": "UKBiobank^Brain"},
        )
        for item in scan.series
        if item.station == 1
    ]


@_fault
def body_part(scan, rng, part="HEART"):
    """BodyPartExamined of another body part in every image of a complete scan."""
    _change(scan, lambda item: item.changed(header={"BodyPartExamined": part}))


@_fault
def two_reconstructions(scan, rng):
    """Every series twice, of one acquisition: distortion corrected, and as acquired (ND)."""
    last = max(item.number for item in scan.series)
    plain = [
        item.changed(
            number=last + item.number,
            pixels=np.roll(item.pixels, 2, axis=2),
            header={"ImageType": ["DERIVED", "PRIMARY", "M", "NORM", "ND"]},
        )
        for item in scan.series
    ]
    scan.series = plain + scan.series


# surplus members


@_fault
def scouts(scan, rng):
    """Localizers in three planes before the Dixon series."""
    planes = {
        "tra": (1, 0, 0, 0, 1, 0),
        "cor": (1, 0, 0, 0, 0, -1),
        "sag": (0, 1, 0, 0, 0, -1),
    }
    start = dicom_time(7 * 3600 + 1800)
    for number, (plane, orientation) in enumerate(planes.items()):
        normal = np.cross(orientation[:3], orientation[3:])
        scan.series.append(
            Series(
                station=0,
                channel="",
                description=f"Localizer_{plane}",
                number=90 + number,
                time=start,
                pixels=rng.integers(0, 400, (5, 128, 128)).astype(np.uint16),
                positions=np.array([-200.0, -200.0, 0.0]) + np.arange(5)[:, None] * 20.0 * normal,
                thickness=8.0,
                orientation=tuple(float(value) for value in orientation),
                spacing=(3.125, 3.125),
            )
        )


@_fault
def report(scan, rng):
    """A structured report: DICOM without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = uid(scan.seed, "report")
    for keyword, value in scan.header.items():
        setattr(dataset, keyword, value)
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = uid(scan.seed, "report series")
    dataset.SeriesDescription = "PhoenixZIPReport"
    dataset.SeriesNumber = 99
    scan.members.append((f"{dataset.SOPInstanceUID}.dcm", encode_dataset(dataset)))


@_fault
def junk(scan, rng):
    """Members that are no DICOM, and folders no one asked for."""
    scan.members += [
        ("Thumbs.db", bytes(512)),
        ("readme.txt", b"not an image\n"),
        ("broken.dcm", rng.bytes(2000)),
        ("empty.dcm", b""),
        ("__MACOSX/._manifest.cvs", b"\0\5\26\7" + bytes(100)),
        ("junk folder/", b""),
        ("junk folder/deeper/notes.doc", b"\xd0\xcf\x11\xe0" + bytes(64)),
    ]


@_fault
def surplus(scan, rng):
    """Scouts, a report and junk together."""
    for fault in (scouts, report, junk):
        fault(scan, rng)


@_fault
def manifest(scan, rng, name="manifest.csv"):
    """The manifest under another name; ``none`` leaves it out."""
    scan.manifest = None if name == "none" else name


# hostile or broken files


@_fault
def traversal(scan, rng):
    """Members whose names leave the folder."""
    scan.members += [("../../outside.dcm", b"x"), ("/tmp/outside.dcm", b"x")]


@_fault
def thousands(scan, rng, count="50000"):
    """Thousands of empty members."""
    scan.members += [(f"filler/{number:06d}.dcm", b"") for number in range(int(count))]


@_fault
def bomb(scan, rng, megabytes="2000"):
    """One small member that grows enormously when read."""

    def step(data: bytes) -> bytes:
        file = io.BytesIO(data)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
            entry = zipfile.ZipInfo("2.25.666.dcm", date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                for _ in range(int(megabytes)):
                    member.write(bytes(1 << 20))
        return file.getvalue()

    scan.finish.append(step)


@_fault
def truncated(scan, rng, share="0.6"):
    """The file ends early, as after a broken download."""
    scan.finish.append(lambda data: data[: int(len(data) * float(share))])


@_fault
def not_a_zip(scan, rng):
    """Something else under the zip's name."""
    scan.finish.append(lambda data: b"<html><body>404 Not Found</body></html>\n")


@_fault
def flipped_bytes(scan, rng):
    """A stretch in the middle of the file is damaged; the directory at its end is whole."""

    def step(data: bytes) -> bytes:
        middle = len(data) // 2
        damaged = bytes(byte ^ 0xFF for byte in data[middle : middle + 4096])
        return data[:middle] + damaged + data[middle + 4096 :]

    scan.finish.append(step)
