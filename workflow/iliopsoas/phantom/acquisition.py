"""Dixon physics: six stations from one body, at UK Biobank's matrices and positions.

One tissue model gives all four channels: two echoes are formed from water and
fat signal, each with its own complex noise, and the water and fat images are
their half sum and half difference, as a scanner's reconstruction makes them. What the
reconstruction leaves of the field map turns the second echo: where it is off by half a
turn, fat and water come out exchanged; no exchange is painted.
"""

from dataclasses import dataclass

import numpy as np

from iliopsoas import grid
from iliopsoas.phantom import tissues
from iliopsoas.phantom.canvas import smooth_noise

CHANNELS = ("in", "opp", "F", "W")


@dataclass(frozen=True)
class Geometry:
    """Matrix, slices and breathing of one station (UK Biobank field 20201)."""

    rows: int
    columns: int
    slices: int
    thickness_mm: float
    breath_hold: bool


GEOMETRY = {
    1: Geometry(168, 224, 64, 3.0, False),
    2: Geometry(174, 224, 44, 4.5, True),
    3: Geometry(174, 224, 44, 4.5, True),
    4: Geometry(174, 224, 44, 4.5, True),
    5: Geometry(162, 224, 72, 3.5, False),
    6: Geometry(156, 224, 64, 4.0, False),
}
LOWEST_MM = -1041.0  # first slice of station 6
HIGHEST_MM = 66.0  # last slice of station 1
# First slice centres. Stations 6, 3 and 1 stand where UK Biobank's do; how the rest of
# the overlap is split between the other seams is not published.
FIRST_SLICE_MM = {6: -1041.0, 5: -833.0, 4: -628.5, 3: -462.75, 2: -293.25, 1: -123.0}
SCALE = 420.0  # uint16 counts of signal 1
NOISE = 0.011  # standard deviation of each echo's real and imaginary part, signal 1


@dataclass
class Station:
    """One station as acquired.

    Attributes
    ----------
    number : int
        1 (neck) to 6 (knee).
    arrays : dict
        "in", "opp", "F", "W" to uint16 arrays (slices, rows, columns), lowest slice
        first, rows from front to back, columns from the patient's right to left.
    position_lps : ndarray (slices, 3)
        Centre of the first voxel of each slice, LPS millimetres.
    thickness_mm : float
        Slice thickness, also the distance between slices.
    breath_hold : bool
    """

    number: int
    arrays: dict
    position_lps: np.ndarray
    thickness_mm: float
    breath_hold: bool


def positions_lps(number: int, first_mm: float | None = None) -> np.ndarray:
    """Position (slices, 3) of each slice's first voxel, LPS millimetres.

    Stations with fewer than 174 rows are centred about the same middle.
    """
    geometry = GEOMETRY[number]
    first_mm = FIRST_SLICE_MM[number] if first_mm is None else first_mm
    top = grid.ORIGIN_RAS_MM[1] + (grid.SHAPE[1] - 1) * grid.IN_PLANE_MM
    offset = (grid.SHAPE[1] - geometry.rows) // 2
    position = np.empty((geometry.slices, 3))
    position[:, 0] = -grid.ORIGIN_RAS_MM[0]
    position[:, 1] = -top + offset * grid.IN_PLANE_MM
    position[:, 2] = first_mm + np.arange(geometry.slices) * geometry.thickness_mm
    return position


def slice_weights(heights_mm, thickness_mm: float, shift_mm: float = 0.0):
    """Weights (slices, grid slices) that integrate the body over each slice's thickness.

    Parameters
    ----------
    heights_mm : ndarray
        Slice centres, RAS z.
    shift_mm : float
        How far the body is moved up.

    Returns
    -------
    window : slice
        The grid slices that take part.
    weights : ndarray (slices, window)
        Rows add up to 1; beyond the grid the last slice is repeated.
    """
    width = grid.SLICE_MM
    count = grid.SHAPE[2]
    edges = grid.ORIGIN_RAS_MM[2] + (np.arange(count + 1) - 0.5) * width
    edges[0], edges[-1] = -1e6, 1e6
    low = np.asarray(heights_mm)[:, None] - shift_mm - thickness_mm / 2
    overlap = np.minimum(low + thickness_mm, edges[None, 1:]) - np.maximum(low, edges[None, :-1])
    weights = np.clip(overlap, 0, None) / thickness_mm
    used = np.flatnonzero(weights.any(axis=0))
    window = slice(int(used[0]), int(used[-1]) + 1)
    return window, weights[:, window].astype(np.float32)


def acquire(
    anatomy,
    rng,
    faults=(),
    numbers=(1, 2, 3, 4, 5, 6),
    jitter_mm: float = 0.0,
    noise: float = NOISE,
) -> list[Station]:
    """Scan a body.

    Parameters
    ----------
    anatomy : iliopsoas.phantom.anatomy.Anatomy
    rng : numpy.random.Generator
        Draws shading, gains, shifts and noise.
    faults : sequence of str
        ``swapped:N`` fat and water of station N exchanged; ``swapped:N:left`` or
        ``:right`` of one side; ``exchanged:N:PART`` of a ``left-quarter``,
        ``right-quarter``, or a ball of 4.5 cm in the ``left-muscle`` or ``right-muscle``;
        ``noisy:N`` five times the noise; ``dim:N`` a coil element off, a third of the
        signal; ``ghost:N`` motion ghosts; ``masked:N`` air set to 0; ``moved:N:MM`` the
        body moved sideways; ``metal:N:left`` or ``:right`` a hip implant: a void of 4.5 cm
        and around it 8 mm of exchanged tissue. Others belong to the archive.
    numbers : sequence of int
        Stations to scan; each comes out the same whichever others are asked for.
    jitter_mm : float
        Standard deviation of stations 2, 4 and 5 about their usual height.
    noise : float
        Standard deviation of the noise of each echo, relative to signal 1.

    Returns
    -------
    list of Station
        In order of `numbers`.
    """
    seeds = rng.integers(0, 2**63, size=7)
    mobile = tissues.membership(tissues.MOBILE)
    plan = _plan(np.random.default_rng(seeds[0]), jitter_mm)
    return [
        _scan(anatomy, number, plan[number], np.random.default_rng(seeds[number]), faults,
              mobile, noise)
        for number in numbers
    ]  # fmt: skip


def _plan(rng, jitter_mm):
    """Height, breath-hold shift and gain of each station."""
    plan = {}
    for number, first in FIRST_SLICE_MM.items():
        moved = number in (2, 4, 5)
        plan[number] = {
            "first": first + (round(rng.normal(0, jitter_mm), 2) if moved and jitter_mm else 0.0),
            "organs": float(np.clip(rng.normal(0, 2.5), -6, 6)) if number in (1, 2, 3) else 0.0,
            "body": (rng.normal(0, 0.3), rng.normal(0, 0.3)),  # voxels along rows, columns
            "gain": float(np.clip(rng.normal(1, 0.08), 0.8, 1.2)),
        }
    return plan


def _faults_of(number, faults):
    found = {}
    for fault in faults:
        kind, _, rest = fault.partition(":")
        station, _, detail = rest.partition(":")
        if station == str(number):
            found[kind] = detail
    return found


def _scan(anatomy, number, plan, rng, faults, mobile, noise):
    geometry = GEOMETRY[number]
    faults = _faults_of(number, faults)
    position = positions_lps(number, plan["first"])
    heights = position[:, 2]
    water, fat = _slab(anatomy, heights, geometry, plan["organs"], mobile)
    moved = plan["body"]
    if "moved" in faults:
        moved = (moved[0], moved[1] + float(faults["moved"]) / grid.IN_PLANE_MM)
    if "metal" in faults:
        void, rim = _implant(anatomy, heights, water.shape, geometry, faults["metal"])
        water[void], fat[void] = 0, 0
    water, fat = (_shifted(volume, *moved) for volume in (water, fat))
    shading = plan["gain"] * _shading(rng, water.shape, number)
    _profile(water, fat)
    water *= shading
    fat *= shading
    if "dim" in faults:
        water *= 0.33
        fat *= 0.33
    if "noisy" in faults:
        noise = noise * 5
    if "ghost" in faults:
        shift = geometry.rows // 4
        water = 0.7 * water + 0.3 * np.roll(water, shift, axis=1)
        fat = 0.7 * fat + 0.3 * np.roll(fat, shift, axis=1)
    turned = np.zeros(water.shape, bool)
    for fault in ("swapped", "exchanged"):
        if fault in faults:
            turned ^= _part(anatomy, heights, water.shape, geometry, faults[fault])
    if "metal" in faults:
        turned ^= rim
    channels = _echoes(water, fat, rng, noise, turned)
    if "masked" in faults:
        air = channels["in"] < 6 * noise
        for channel in channels.values():
            channel[air] = 0
    arrays = {
        name: np.clip(np.rint(channels[name] * SCALE), 0, 4095).astype(np.uint16)
        for name in CHANNELS
    }
    return Station(number, arrays, position, geometry.thickness_mm, geometry.breath_hold)


def _slab(anatomy, heights, geometry, organs_mm, mobile):
    """Water and fat (slices, rows, columns) of a station, organs moved by `organs_mm`."""
    window, weights = slice_weights(heights, geometry.thickness_mm)
    offset = (grid.SHAPE[1] - geometry.rows) // 2
    rows = slice(offset, offset + geometry.rows)

    def cut(volume, matrix, zs):
        part = volume[:, rows, zs]
        slab = np.matmul(part, matrix.T)  # (x, y, slices)
        return np.ascontiguousarray(slab.transpose(2, 1, 0)[:, ::-1])

    slabs = [cut(volume, weights, window) for volume in (anatomy.water, anatomy.fat)]
    if abs(organs_mm) > 0.05:
        moved_window, moved = slice_weights(heights, geometry.thickness_mm, organs_mm)
        share = mobile[anatomy.labels[:, rows, window]].astype(np.float32)
        share = _cut_share(share, weights)
        for i, volume in enumerate((anatomy.water, anatomy.fat)):
            other = cut(volume, moved, moved_window)
            slabs[i] += share * (other - slabs[i])
    return slabs


def _cut_share(share, weights):
    """Share of each voxel that moves with breath, in a station's own order."""
    slab = np.matmul(share, weights.T)
    return np.ascontiguousarray(slab.transpose(2, 1, 0)[:, ::-1])


def _shading(rng, shape, number):
    """Smooth receive sensitivity, about 1, brighter towards the coils at front and sides."""
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    noise = smooth_noise(rng, shape, [n / 2.0 for n in shape]) * np.float32(0.06)
    tilt = rng.normal(0, 0.06, 3).astype(np.float32)
    field = 1 + tilt[0] * z[:, None, None] + tilt[1] * y[None, :, None] + tilt[2] * x
    bowl = 0.10 * (x**2)[None, None] + 0.08 * (y**2)[None, :, None] - 0.06
    bowl = bowl - 0.05 * (z**2)[:, None, None]
    # The gradients' edge: bright in the free-breathing neck station, dark below it.
    edge = np.clip((np.abs(x) - 0.89) / 0.08, 0, 1) ** 2
    edge = 1 + (1.2 if number == 1 else -0.85) * edge
    return (field + noise + bowl) * edge


def _profile(water, fat):
    """Outermost slices: dim, with signal of the far end folded in."""
    for volume in (water, fat):
        ends = volume[[-1, -2, 1, 0]].copy()
        for i, gain in enumerate((0.45, 0.72, 0.90)):
            volume[i] *= gain
            volume[-1 - i] *= gain
        for i in range(2):
            volume[i] += (0.14, 0.06)[i] * ends[i]
            volume[-1 - i] += (0.14, 0.06)[i] * ends[3 - i]


def _shifted(volume, down: float, along: float):
    """A volume (slices, rows, columns) moved in plane by parts of a voxel."""
    for axis, by in ((1, down), (2, along)):
        whole, part = divmod(by, 1.0)
        volume = np.roll(volume, int(whole), axis)
        volume = (1 - np.float32(part)) * volume + np.float32(part) * np.roll(volume, 1, axis)
    return volume


def _echoes(water, fat, rng, noise, turned):
    """In- and opposed-phase magnitude, and the water and fat made from the echoes.

    `turned`: where the reconstruction takes the field's phase for half a turn more or less.
    """
    shape = water.shape
    left = np.float32(0.12) * smooth_noise(rng, shape, [n / 3.0 for n in shape])  # radians
    out_of_phase = (water - fat) * np.float32(1.01) * np.cos(left)
    in_phase = (water + fat) * np.float32(0.99)  # the later echo has decayed a little more
    # parallel imaging makes the noise largest in the middle
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[1:])
    uneven = np.float32(noise) * (0.85 + 0.4 * np.exp(-2 * (y[:, None] ** 2 + x**2)))
    real = [rng.standard_normal(shape, dtype=np.float32) * uneven for _ in range(2)]
    imaginary = [rng.standard_normal(shape, dtype=np.float32) * uneven for _ in range(2)]
    in_phase += real[0]
    out_of_phase += real[1]
    for part in (out_of_phase, imaginary[1]):
        part[turned] *= -1
    return {
        "in": np.hypot(in_phase, imaginary[0]),
        "opp": np.hypot(out_of_phase, imaginary[1]),
        "W": np.hypot(in_phase + out_of_phase, imaginary[0] + imaginary[1]) / 2,
        "F": np.hypot(in_phase - out_of_phase, imaginary[0] - imaginary[1]) / 2,
    }


def _places(heights, shape, geometry):
    """Indices (x, y, z) on the stitched grid of a station's voxels; they broadcast."""
    offset = (grid.SHAPE[1] - geometry.rows) // 2
    z = (heights - grid.ORIGIN_RAS_MM[2]) / grid.SLICE_MM
    y = offset + geometry.rows - 1 - np.arange(shape[1])
    return np.arange(shape[2]), y[:, None], z[:, None, None]


def _ball(centre, heights, shape, geometry, radius_mm: float):
    """Voxels (slices, rows, columns) nearer to a point of the stitched grid than a radius."""
    x, y, z = _places(heights, shape, geometry)
    plane = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * grid.IN_PLANE_MM**2
    return plane + ((z - centre[2]) * grid.SLICE_MM) ** 2 < radius_mm**2


def _part(anatomy, heights, shape, geometry, which):
    """What of a station is exchanged: everything, a side, a quarter, or a ball in a muscle."""
    side, _, kind = which.partition("-")
    if not side:
        return np.ones(shape, bool)
    middle = round(sum(anatomy.landmarks[key][0] for key in ("11", "12")) / 2)
    where = np.zeros(shape, bool)
    where[..., slice(middle, None) if side == "left" else slice(None, middle)] = True
    if kind == "quarter":
        where[: shape[0] // 2] = False
    if kind == "muscle":
        levels = (heights - grid.ORIGIN_RAS_MM[2]) / grid.SLICE_MM
        low, high = max(int(levels[6]), 0), int(levels[-7])
        here = np.argwhere(anatomy.iliopsoas[:, :, low:high] == grid.SIDES[side])
        if not len(here):
            raise ValueError(f"no {side} muscle in this station")
        centre = here[len(here) // 2] + [0, 0, low]
        where = _ball(centre, heights, shape, geometry, 22.5)
    return where


def _implant(anatomy, heights, shape, geometry, side):
    """Void of a hip implant, and the rim around it in which the field is off."""
    head = anatomy.landmarks[{"right": "11", "left": "12"}[side]]
    void = _ball(head, heights, shape, geometry, 22.5)
    return void, _ball(head, heights, shape, geometry, 30.5) & ~void
