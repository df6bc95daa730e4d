"""Slices to stations: six slabs, neck to knee, each with in-phase, fat and water volumes.

Arrays of a station are (x, y, z) in voxel order LAS: x to the patient's left, y to anterior,
z to the head; positions are RAS millimetres. They are views of slices stacked as they came,
and so lie in memory as in a NIfTI file (`voxels`).
"""

from dataclasses import dataclass, field

import numpy as np

from iliopsoas.dixon.stations import NEEDED, REQUIRED, number_stations
from iliopsoas.dixon.stitch import place_in_plane
from iliopsoas.status import Refused, Verdict
from iliopsoas.ukb.dicom import Slice, foreign_part

SAME_TIME_S = 10.0  # channels of one acquisition are written within seconds of each other
NAMES = {"in": "in-phase", "opp": "opposed-phase", "F": "fat", "W": "water"}


@dataclass
class ChannelVolume:
    """One channel of one acquisition, as a volume in voxel order LAS."""

    channel: str
    array: np.ndarray  # (x, y, z)
    origin: np.ndarray  # RAS mm of voxel [0, 0, 0]: (x, y, z)
    spacing: np.ndarray  # mm along x, y, z
    present: np.ndarray  # bool (z,): False where a slice is missing
    when: tuple
    acquired: float
    number: int
    reconstruction: tuple
    description: str
    software: str

    @property
    def shape(self) -> tuple:
        return self.array.shape

    @property
    def low(self) -> float:
        return float(self.origin[2])

    @property
    def high(self) -> float:
        return float(self.origin[2] + (self.shape[2] - 1) * self.spacing[2])


@dataclass
class Slab:
    """One slab. Arrays float32 (x, y, z); `origin` and `spacing` are (x, y, z).

    `slices` stays when the arrays are let go.
    """

    number: int
    channels: dict  # "in", "F", "W": float32 (x, y, z)
    origin: np.ndarray
    spacing: np.ndarray
    rows: int
    description: str
    software: str
    notes: dict = field(default_factory=dict)
    slices: int = 0

    def __post_init__(self):
        if self.channels:
            self.slices = self.channels["W"].shape[2]

    @property
    def low(self) -> float:
        return float(self.origin[2])

    @property
    def high(self) -> float:
        return float(self.origin[2] + (self.slices - 1) * self.spacing[2])


def build_stations(slices: list[Slice], oblique_tolerance: float = 0.005) -> list[Slab]:
    """Sort slices into stations by header and geometry.

    Parameters
    ----------
    slices : list of Slice
        The Dixon slices of one scan, in any order.
    oblique_tolerance : float
        Largest component of a unit direction across its axis; 0.005 moves the edge
        of the field of view by 1.25 mm, about half a voxel. The published code warns
        beyond 1e-3 mm per voxel and goes on.

    Returns
    -------
    list of Slab
        From head to foot. `notes` holds what had to be decided.

    Raises
    ------
    Refused
        ``oblique``, ``wrong_body_part``, ``channel_missing``, ``channel_empty``,
        ``slices_missing``, ``station_missing`` or ``unreadable_pixels``.
    """
    try:
        return _numbered(slices, oblique_tolerance)
    except Refused as error:
        part = foreign_part(slices)
        if part and error.verdict in (Verdict.STATION_MISSING, Verdict.CHANNEL_MISSING):
            raise Refused(
                Verdict.WRONG_BODY_PART,
                f"scan: BodyPartExamined is {part}, and {error.message.removeprefix('scan: ')}",
            ) from None
        raise


def _numbered(slices, oblique_tolerance) -> list[Slab]:
    groups: dict[tuple, list[Slice]] = {}
    for item in slices:
        groups.setdefault((item.channel, *item.series, item.rows, item.columns), []).append(item)
    series = [
        made
        for items in groups.values()
        if (made := build_series(items, oblique_tolerance)) is not None
    ]
    if not series:
        raise Refused(
            Verdict.NO_DIXON_SERIES,
            f"scan: {len(slices)} Dixon slices, none of them part of a volume",
        )
    _check_field_of_view(series)
    places = _places(series)
    stations = []
    for number, members in number_stations(places):
        stations.append(_station(number, members))
    found = [station.number for station in stations]
    missing = sorted(set(REQUIRED) - set(found))
    if missing:
        raise Refused(
            Verdict.STATION_MISSING,
            f"scan: station {', '.join(map(str, missing))} is missing (found"
            f" {', '.join(map(str, found))}); only 1 and 6 can be done without",
        )
    return stations


def build_series(items: list[Slice], oblique_tolerance: float) -> ChannelVolume | None:
    """Stack the slices of one series; None where they are not a volume (a scout)."""
    first = items[0]
    axis_row, axis_column = first.orientation[:3], first.orientation[3:]
    normal = np.cross(axis_row, axis_column)
    for item in items:
        if np.abs(item.orientation - first.orientation).max() > 1e-3:
            return None  # a scout with several planes
    heights = np.array([item.position @ normal for item in items])
    order = sorted(range(len(items)), key=lambda i: (heights[i], items[i].when))
    kept: list[int] = []
    for i in order:  # of two slices at one place the newer one stays
        if kept and abs(heights[i] - heights[kept[-1]]) < 0.1:
            kept[-1] = i
        else:
            kept.append(i)
    if len(kept) < 3:
        return None
    heights = heights[kept]
    items = [items[i] for i in kept]
    step = float(np.median(np.diff(heights)))
    index = np.rint((heights - heights[0]) / step).astype(int)
    if np.abs(heights - heights[0] - index * step).max() > 0.2 * step:
        raise Refused(
            Verdict.SLICES_MISSING,
            f"{first.description}: slices are not evenly spaced about {step:.2f} mm apart",
        )
    if index[-1] + 1 > 2 * len(items):
        raise Refused(
            Verdict.SLICES_MISSING,
            f"{first.description}: {len(items)} of {index[-1] + 1} slices are there",
        )
    step = (heights[-1] - heights[0]) / index[-1]
    shift = items[-1].position - items[0].position
    _check_oblique(
        first, np.stack([axis_row, axis_column, shift / np.linalg.norm(shift)]), oblique_tolerance
    )

    planes = [item.pixels() for item in items]
    dtype = np.float32 if any(p.dtype.kind == "f" for p in planes) else np.int32
    if all(p.dtype == np.uint16 for p in planes):
        dtype = np.uint16
    array = np.zeros((index[-1] + 1, *planes[0].shape), dtype)
    for k, plane in zip(index, planes, strict=True):
        array[k] = plane
    present = np.zeros(len(array), bool)
    present[index] = True
    # directions in LPS of the array's axes (slice, row, column)
    directions = np.stack(
        [normal * step, axis_column * first.spacing[0], axis_row * first.spacing[1]]
    )
    array, origin, spacing, flipped = _to_las(array, items[0].position, directions)
    if flipped is not None:
        present = present[::-1] if flipped else present
    elif not present.all():
        raise Refused(
            Verdict.SLICES_MISSING,
            f"{first.description}: {int((~present).sum())} slices of a series that is not axial"
            " are missing",
        )
    else:
        present = np.ones(array.shape[2], bool)
    return ChannelVolume(
        channel=first.channel,
        array=array,
        origin=origin,
        spacing=spacing,
        present=present,
        when=max(item.when[:2] for item in items),
        acquired=first.acquired,
        number=int(first.series[1]) if first.series[1].isdigit() else 0,
        reconstruction=first.reconstruction,
        description=first.description,
        software=first.software,
    )


def _check_oblique(first: Slice, directions: np.ndarray, tolerance: float) -> None:
    sizes = np.sort(np.abs(directions), axis=1)
    worst = float(sizes[:, 1].max())
    if worst > tolerance:
        turned, most = (np.degrees(np.arcsin(min(v, 1))) for v in (worst, tolerance))
        raise Refused(
            Verdict.OBLIQUE,
            f"{first.description}: axes are turned by up to {turned:.2f} degrees, expected at most"
            f" {most:.2f}",
        )


def _to_las(array, position, directions):
    """Bring (slice, row, column) to (x, y, z) of LAS, a view.

    Returns array, RAS origin (x, y, z), spacing (x, y, z), and whether the slice axis
    was flipped (None where slices do not run along z).
    """
    order = np.argsort(np.abs(directions).argmax(axis=1))  # the array's axes along x, y, z
    array, steps = array.transpose(order), directions[order]
    spacing = np.abs(np.diag(steps))
    flipped = np.sign(np.diag(steps)) != (1, -1, 1)  # LAS in LPS terms: +x, -y, +z
    origin_lps = np.array(position, dtype=float)
    for axis in (2, 1, 0):
        if flipped[axis]:
            origin_lps += steps[axis] * (array.shape[axis] - 1)
    array = array[tuple(slice(None, None, -1 if turned else 1) for turned in flipped)]
    return array, origin_lps * [-1, -1, 1], spacing, bool(flipped[2]) if order[2] == 0 else None


def _check_field_of_view(series: list[ChannelVolume]) -> None:
    """Neck-to-knee slabs are 500 mm wide; a head, a heart or one knee is not."""
    widths = [item.shape[0] * item.spacing[0] for item in series]
    widest = max(widths)
    if widest < 350:
        raise Refused(
            Verdict.WRONG_BODY_PART,
            f"scan: its Dixon series are at most {widest:.0f} mm wide, a body needs about 500 mm",
        )


def _places(series: list[ChannelVolume]) -> list[list[ChannelVolume]]:
    """Series at one position, head to foot. A series that is no slab is passed over."""
    places: list[list[ChannelVolume]] = []
    for item in sorted(series, key=lambda s: (-(s.high + s.low), s.channel)):
        for place in places:
            if _same_place(place[0], item):
                place.append(item)
                break
        else:
            places.append([item])
    return places


def _same_place(a: ChannelVolume, b: ChannelVolume) -> bool:
    """Whether two slabs share most of their length; neighbouring stations share a quarter.

    A station acquired again after the table moved a little is still the same station.
    """
    shared = min(a.high, b.high) - max(a.low, b.low)
    return shared > 0.6 * max(a.high - a.low, b.high - b.low)


# -- one station -----------------------------------------------------------------------


def _station(number: int, members: list[ChannelVolume]) -> Slab:
    chosen, notes = _newest(number, members)
    for channel in NEEDED:
        if channel in chosen:
            _check_empty(number, chosen[channel])
    if "in" not in chosen:
        notes["in_phase_made"] = True
    reference = chosen.get("in") or chosen["W"]
    present = [channel for channel in NEEDED if channel in chosen]
    low = max(chosen[channel].low for channel in present)
    high = min(chosen[channel].high for channel in present)
    step = float(np.median([chosen[channel].spacing[2] for channel in present]))
    count = round((high - low) / step) + 1
    longest = max(chosen[channel].shape[2] for channel in present)
    if longest - count > 2:
        raise Refused(
            Verdict.SLICES_MISSING,
            f"station {number}: its channels share {count} of {longest} slices; at most two"
            " outer ones may be missing",
        )
    if longest > count:
        notes["slices_trimmed"] = longest - count
    origin = np.array([reference.origin[0], reference.origin[1], low])
    channels = {}
    for channel in present:
        item = chosen[channel]
        first = round((low - item.low) / step)
        if abs(item.low + first * step - low) > 0.25 * step:
            raise Refused(
                Verdict.SLICES_MISSING,
                f"station {number}: slices of the {NAMES[channel]} series lie between those of"
                " the others",
            )
        array = item.array[..., first : first + count]
        kept = item.present[first : first + count]
        array, filled = _fill(array, kept, f"station {number}, {NAMES[channel]}")
        if filled:
            notes.setdefault("slices_interpolated", []).append(f"{number}:{channel}:{filled}")
        channels[channel] = _match_plane(np.asarray(array, np.float32), item, reference, notes)
    if "in" not in channels:
        channels["in"] = channels["F"] + channels["W"]
    return Slab(
        number=number,
        channels={channel: channels[channel] for channel in NEEDED},
        origin=origin,
        spacing=np.array([reference.spacing[0], reference.spacing[1], step]),
        rows=reference.shape[1],
        description=reference.description,
        software=reference.software,
        notes=notes,
    )


def _newest(number: int, members: list[ChannelVolume]) -> tuple[dict, dict]:
    """The channels of one reconstruction of the newest complete acquisition at this place."""
    by_channel: dict[str, list[ChannelVolume]] = {}
    for item in sorted(members, key=lambda item: (item.when, item.number)):
        by_channel.setdefault(item.channel, []).append(item)
    for channel in ("W", "F"):
        if channel not in by_channel:
            found = ", ".join(NAMES[c] for c in sorted(by_channel))
            raise Refused(
                Verdict.CHANNEL_MISSING,
                f"station {number}: no {NAMES[channel]} series (found {found})",
            )
    notes: dict = {}
    if all(len(items) == 1 for items in by_channel.values()):
        return {channel: items[0] for channel, items in by_channel.items()}, notes
    notes["acquisitions"] = max(len(items) for items in by_channel.values())
    choices = [_partners(anchor, rank, by_channel) for rank, anchor in enumerate(by_channel["W"])]

    def complete(picked):
        needed = [picked[channel] for channel in NEEDED if channel in picked]
        alike = {item.reconstruction for item in needed}
        apart = max(_apart(picked["W"], item) for item in needed)
        return len(alike) == 1, apart <= SAME_TIME_S, -apart if apart > SAME_TIME_S else 0.0

    best = max(complete(picked) for picked in choices)
    choices = [picked for picked in choices if complete(picked) == best]
    newest = max((picked["W"].when[0], picked["W"].acquired) for picked in choices)
    choices = [
        picked
        for picked in choices
        if picked["W"].when[0] == newest[0] and newest[1] - picked["W"].acquired <= SAME_TIME_S
    ]
    corrected = [any(t.startswith("DIS") for t in picked["W"].reconstruction) for picked in choices]
    last = max(range(len(choices)), key=lambda k: (corrected[k], choices[k]["W"].when, k))
    return choices[last], notes


def _partners(anchor, rank: int, by_channel: dict) -> dict:
    """Of every channel the series that belongs to a water series.

    The same reconstruction first, then the nearest in time, then the one as many places
    along: two reconstructions of one acquisition may differ in nothing but their numbers.
    """

    def unlike(channel):
        items = by_channel[channel]
        return lambda k: (
            items[k].reconstruction != anchor.reconstruction,
            _apart(items[k], anchor) > SAME_TIME_S,
            abs(k - rank) if len(items) == len(by_channel["W"]) else 0,
            _apart(items[k], anchor),
        )

    picked = {
        channel: items[min(range(len(items)), key=unlike(channel))]
        for channel, items in by_channel.items()
    }
    picked["W"] = anchor
    return picked


def _apart(a: ChannelVolume, b: ChannelVolume) -> float:
    """Seconds between two series; a day where the dates differ."""
    return abs(a.when[1] - b.when[1]) + (86_400.0 if a.when[0] != b.when[0] else 0.0)


def _check_empty(number: int, item: ChannelVolume) -> None:
    sample = item.array[..., item.present]
    if sample.min() == sample.max():
        raise Refused(
            Verdict.CHANNEL_EMPTY,
            f"station {number}: every pixel of the {NAMES[item.channel]} series is"
            f" {sample.flat[0]:g}",
        )


def _fill(array: np.ndarray, present: np.ndarray, what: str) -> tuple[np.ndarray, int]:
    """Interpolate one missing inner slice; returns the array and the slice, 1 the lowest.

    Cubic through the two slices on each side where they exist, else their mean.
    """
    missing, count = np.flatnonzero(~present), array.shape[2]
    if not len(missing):
        return array, 0
    if len(missing) > 1 or missing[0] in (0, count - 1):
        raise Refused(
            Verdict.SLICES_MISSING,
            f"{what}: {len(missing)} of {count} slices are missing, one inner slice at most"
            " can be interpolated",
        )
    k = int(missing[0])
    array = array.astype(np.float32)
    below, above = array[..., k - 1], array[..., k + 1]
    near = 0.5 * (below + above)
    if 2 <= k < count - 2:
        near = (9 * near - 0.5 * (array[..., k - 2] + array[..., k + 2])) / 8
        # between its neighbours' extremes: no overshoot at the skin
        near = np.clip(near, np.minimum(below, above), np.maximum(below, above))
    array[..., k] = near
    return array, k + 1


def _match_plane(
    array: np.ndarray, item: ChannelVolume, reference: ChannelVolume, notes: dict
) -> np.ndarray:
    """Bring a channel of another matrix size onto the reference's rows and columns."""
    same = array.shape[:2] == reference.shape[:2] and np.allclose(
        item.origin[:2], reference.origin[:2], atol=0.05
    )
    if same and np.allclose(item.spacing[:2], reference.spacing[:2], rtol=1e-3):
        return array
    notes.setdefault("channels_refitted", []).append(item.channel)
    return place_in_plane(array, item, reference)
