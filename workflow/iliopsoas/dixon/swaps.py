"""Fat-water swaps, found from physics and corrected.

Physics decides, without trained weights (`rim`). Under the skin lies fat: the outermost few
millimetres of the body hold more fat than what lies deeper. And where two stations
overlap they show the same tissue. Each station (each side in S3 and S4, each leg in S5 and
S6) is one unit with two states; the assignment of all units that agrees best with these
facts is found by trying every one. What is exchanged in smaller parts is found by
`exchanges`.
"""

from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise, product

import numpy as np
from scipy import ndimage

from iliopsoas.dixon.body import foreground
from iliopsoas.dixon.rim import brightness_evidence, rim_of
from iliopsoas.dixon.stitch import Target
from iliopsoas.dixon.voxels import exchange, select
from iliopsoas.status import Refused, Verdict

WEIGHT_RIM, WEIGHT_BRIGHTNESS, WEIGHT_OVERLAP = 2.0, 0.2, 1.0
WEIGHT_SIDES = 0.5
LEG_STATIONS = (5, 6)
SIDED_STATIONS = (3, 4)  # those that hold most of the muscle
BAND = 12  # columns on either side of the middle in which two sides meet
JUMPING_ROWS = 0.25  # share of rows with a jump that is full evidence


@dataclass
class Swaps:
    """What was decided.

    Attributes
    ----------
    swapped : dict
        Unit -> bool. Units are "1", "2", and "3left", "3right" ... "6right".
    confidence : dict
        Unit -> margin: how much worse the best assignment becomes with that unit the
        other way round. About 1 to 4 where the evidence is clear.
    rim, brightness, overlap : dict
        The evidence: per unit, per unit and per pair of units, within -1 to 1; positive
        speaks for the channels as labelled, and for the same tissue in the same channel.
    halves : dict
        Station -> {unit: bool (x, z)}, the columns of its units in every slice.
    masks, rims : dict
        Station -> tissue (x, y, z), and what its surface says.
    """

    swapped: dict
    confidence: dict
    rim: dict
    brightness: dict
    overlap: dict
    halves: dict = field(default_factory=dict)
    masks: dict = field(default_factory=dict)
    rims: dict = field(default_factory=dict)

    @property
    def titles(self) -> list[str]:
        """Exchanged units; a station of which both sides are exchanged is named once."""
        done = [unit for unit, swapped in self.swapped.items() if swapped]
        for number in SIDED_STATIONS:
            both = [f"{number}left", f"{number}right"]
            if all(unit in done for unit in both):
                done[done.index(both[0])] = str(number)
                done.remove(both[1])
        return done


def detect(stations, planes: dict, target: Target) -> Swaps:
    """Decide for every station and leg whether fat and water are exchanged.

    Parameters
    ----------
    stations : list of Slab
        Head to foot.
    planes : dict
        Station number -> {"in", "F", "W": float32 (nx, ny, z)} on the target's rows and
        columns.
    target : Target

    Returns
    -------
    Swaps
    """
    units: list[str] = []
    rim, brightness, overlap, halves, masks, rims = {}, {}, {}, {}, {}, {}
    for station in stations:
        number, channels = station.number, planes[station.number]
        masks[number] = mask = foreground(channels["in"])
        if number in LEG_STATIONS + SIDED_STATIONS:
            find = leg_midline if number in LEG_STATIONS else trunk_midline
            midline = find(channels["in"], mask)
            # x grows to the patient's left; in memory as the planes
            left = (np.arange(mask.shape[0]) >= midline[:, None]).T
            halves[number] = {f"{number}left": left, f"{number}right": ~left}
        else:
            halves[number] = {str(number): np.ones((mask.shape[0], mask.shape[2]), bool, "F")}
        seen = (channels, mask, halves[number], station.spacing[2])
        rims[number] = rim_of(*seen)
        rim |= {unit: rims[number].evidence(unit) for unit in halves[number]}
        brightness |= brightness_evidence(*seen)
        if number in SIDED_STATIONS:
            pair = (f"{number}left", f"{number}right")
            overlap[pair] = WEIGHT_SIDES * _sides_alike(channels, mask, midline)
        units += list(halves[number])
    for upper, lower in pairwise(stations):
        overlap |= _overlap_evidence(upper, lower, planes, masks, halves)
    own = {unit: WEIGHT_RIM * rim[unit] + WEIGHT_BRIGHTNESS * brightness[unit] for unit in units}
    between = {pair: WEIGHT_OVERLAP * value for pair, value in overlap.items()}
    swapped, confidence = solve(units, own, between)
    return Swaps(swapped, confidence, rim, brightness, overlap, halves, masks, rims)


def solve(units: list[str], own: dict, between: dict) -> tuple[dict, dict]:
    """The best of all assignments, and each unit's margin.

    Parameters
    ----------
    units : list of str
    own : dict
        Unit -> evidence for "as labelled".
    between : dict
        (unit, unit) -> evidence for "both alike".

    Returns
    -------
    swapped, confidence : dict
    """
    states = np.array(list(product((1, -1), repeat=len(units))), dtype=float)
    place = {unit: k for k, unit in enumerate(units)}
    score = np.zeros(len(states))
    for unit, value in own.items():
        score += value * states[:, place[unit]]
    for (a, b), value in between.items():
        score += value * states[:, place[a]] * states[:, place[b]]
    best = int(score.argmax())
    swapped, confidence = {}, {}
    for unit, k in place.items():
        swapped[unit] = bool(states[best, k] < 0)
        other = score[states[:, k] != states[best, k]].max()
        confidence[unit] = float(score[best] - other)
    return swapped, confidence


def require_certain(swaps: Swaps, threshold: float) -> None:
    """Refuse with ``swap_uncertain`` where a unit's margin is below `threshold`."""
    doubtful = {unit: c for unit, c in swaps.confidence.items() if c < threshold}
    if doubtful:
        text = ", ".join(f"{_title(unit)} {value:.2f}" for unit, value in doubtful.items())
        raise Refused(
            Verdict.SWAP_UNCERTAIN,
            f"fat and water cannot be told apart with certainty: margin {text},"
            f" expected at least {threshold:g}",
        )


def _title(unit: str) -> str:
    number, side = unit[0], unit[1:]
    kind = "leg" if int(number) in LEG_STATIONS else "side"
    return f"station {number}" + (f" {side} {kind}" if side else "")


def correct(planes: dict, swaps: Swaps) -> dict:
    """The planes with fat and water of the units that are exchanged put right."""
    corrected = dict(planes)
    for number, halves in swaps.halves.items():
        mine = [half for unit, half in halves.items() if swaps.swapped[unit]]
        if mine:
            corrected[number] = exchange(planes[number], reduce(np.logical_or, mine)[:, None])
    return corrected


def trunk_midline(in_phase: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """First column of the left side in every slice (z,): the middle of the tissue, one for all."""
    profile = np.where(mask, in_phase, 0).sum(axis=(1, 2), dtype=float)
    if not profile.any():
        return np.full(mask.shape[2], mask.shape[0] // 2)
    middle = np.searchsorted(np.cumsum(profile), profile.sum() / 2)
    return np.full(mask.shape[2], int(middle))


def _sides_alike(channels, mask, midline) -> float:
    """Whether two sides of a station show the same tissue in the same channel, -1 to 1.

    Tissue that goes on across the middle has the same balance; where the sides are exchanged
    it jumps to its opposite while the in-phase signal goes on.
    """
    columns = slice(max(int(midline[0]) - BAND, 0), int(midline[0]) + BAND)
    fat, water, both = (channels[name][columns] for name in ("F", "W", "in"))
    inside = mask[columns] & (both > 0)
    total = fat + water
    balance = np.divide(fat - water, total, out=np.zeros_like(total), where=inside & (total > 0))
    log_in = np.log(both, out=np.zeros_like(both), where=inside)
    jump = (balance[1:] * balance[:-1] < -0.25) & inside[1:] & inside[:-1]
    jump &= np.abs(np.diff(log_in, axis=0)) < 0.1
    rows = int(inside.all(axis=0).sum())
    if rows < 200:
        return 0.0
    return 1.0 - 2.0 * min(float(jump.any(axis=0).sum()) / (JUMPING_ROWS * rows), 1.0)


def leg_midline(in_phase: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """First column of the left leg in every slice (z,): a line through the gap between the legs.

    The gap is the emptiest column near the middle of the tissue; slices with a clear gap
    decide, the line carries it up to where the thighs touch.
    """
    profile = np.where(mask, in_phase, 0).sum(axis=1).T  # slice by slice, (z, x)
    profile = ndimage.gaussian_filter1d(profile, 1.5, axis=1)
    nz, nx = profile.shape
    columns = np.arange(nx)
    total = profile.sum(axis=1)
    centre = np.full(nz, nx / 2)
    good = total > 0
    centre[good] = (profile[good] * columns).sum(axis=1) / total[good]
    centre = np.full(nz, np.median(centre))
    gap, depth = np.zeros(nz), np.zeros(nz)
    for k in range(nz):
        first = int(max(centre[k] - 25, 0))
        part = profile[k, first : int(centre[k] + 26)]
        lowest = np.flatnonzero(part <= part.min() * 1.05 + 1e-6)
        gap[k] = first + lowest[np.abs(lowest - (centre[k] - first)).argmin()]
        if part.min() <= 1e-6:  # an empty gap: its middle, not its edge
            gap[k] = first + lowest.mean()
        sides = min(profile[k, : int(gap[k])].max(initial=0), profile[k, int(gap[k]) :].max())
        depth[k] = max(0.0, 1 - part.min() / sides) if sides > 0 else 0.0
    weight = depth**2 + 1e-6
    z = np.arange(nz)
    slope, offset = np.polyfit(z, gap, 1, w=np.sqrt(weight))
    keep = np.abs(gap - (slope * z + offset)) < 6
    if keep.sum() > nz / 3:
        slope, offset = np.polyfit(z[keep], gap[keep], 1, w=np.sqrt(weight[keep]))
    return np.rint(slope * z + offset + 0.5)


def _overlap_evidence(upper, lower, planes, masks, halves) -> dict:
    """Agreement of two neighbours' (fat - water) / (fat + water) where they overlap, -1 to 1."""
    tall = masks[upper.number].shape[2]
    low, high = upper.low, lower.high
    if high < low:
        return {}
    pairs = {}
    for k in range(tall):
        z = upper.low + k * upper.spacing[2]
        if z > high + lower.spacing[2] / 2:
            break
        j = round((z - lower.low) / lower.spacing[2])
        if 0 <= j < masks[lower.number].shape[2]:
            pairs[k] = j
    sums = {}
    for k, j in pairs.items():
        both = masks[upper.number][..., k] & masks[lower.number][..., j]
        a, wa = _balance(planes[upper.number], k, both)
        b, wb = _balance(planes[lower.number], j, both)
        weight = np.minimum(wa, wb)
        for first, half_a in halves[upper.number].items():
            for second, half_b in halves[lower.number].items():
                side = half_a[:, k] & half_b[:, j]
                if not side.any() or (
                    len(first) > 1 and len(second) > 1 and first[1:] != second[1:]
                ):
                    continue
                w, x, y = weight[side], a[side], b[side]
                part = np.array([(w * x * y).sum(), (w * x * x).sum(), (w * y * y).sum()])
                sums[first, second] = sums.get((first, second), 0) + part
    return {
        pair: float(xy / np.sqrt(xx * yy)) if xx > 0 and yy > 0 else 0.0
        for pair, (xy, xx, yy) in sums.items()
    }


def _balance(channels, k, both):
    fat, water = (ndimage.uniform_filter(channels[name][..., k].T, 3).T for name in ("F", "W"))
    total = np.where(both, fat + water, 0)
    balance = np.divide(fat - water, total, out=np.zeros_like(total), where=total > 0)
    top = np.percentile(select(total, both), 90) if both.any() else 1.0
    return balance, np.minimum(total / max(top, 1e-6), 1.0)
