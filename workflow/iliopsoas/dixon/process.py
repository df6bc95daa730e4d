"""One scan to one water and one fat volume: the stages of published_method.md, section 1."""

import time
from dataclasses import dataclass, field, replace
from itertools import pairwise

import nibabel as nib
import numpy as np

from iliopsoas import grid, machine
from iliopsoas.dixon import bias, body, exchanges, quality, slab_ends, stitch, swaps
from iliopsoas.dixon.series import Slab, build_stations
from iliopsoas.dixon.voxels import select
from iliopsoas.ukb.archive import LIMITS, Limits, open_scan

IN, FAT, WATER = "in", "F", "W"


@dataclass
class DixonResult:
    """What became of a scan.

    Attributes
    ----------
    water, fat : nibabel.Nifti1Image
        int16, voxel order LAS, scanner units (times `record["intensity_scale"]`),
        corrected for bias.
    body : nibabel.Nifti1Image
        uint8, the same grid.
    record : dict
        Flat; goes into the ledger. Nothing in it identifies the participant.
    contrasts : dict of str to nibabel.Nifti1Image
        Those that were asked for, int16 on the same grid: ``in_phase`` as water and fat,
        ``fat_fraction`` in whole percent, 0 outside the body.
    seconds : dict
        CPU seconds by step.
    """

    water: nib.Nifti1Image
    fat: nib.Nifti1Image
    body: nib.Nifti1Image
    record: dict
    contrasts: dict = field(default_factory=dict)
    seconds: dict = field(default_factory=dict)


@machine.one_thread()
def process_scan(
    path,
    *,
    bias_shrink: int = 2,
    swap_margin: float = 0.25,
    oblique_tolerance: float = 0.005,
    contrasts=(),
    limits: Limits = LIMITS,
) -> DixonResult:
    """Read, correct and stitch one scan.

    Parameters
    ----------
    path : path
        UK Biobank's zip of field 20201, or a folder of its DICOM files.
    bias_shrink : int
        In-plane block size, in voxels, of the image N4 is fitted on; slices are grouped
        to about the same length. 1 is full resolution.
    swap_margin : float
        Smallest margin with which every station and leg must be told apart from its
        fat-water exchange.
    oblique_tolerance : float
        Largest deviation of an axis' unit direction from the patient's axes.
    contrasts : collection of {"in_phase", "fat_fraction"}
        Further images to make; they change none of the others.
    limits : Limits
        Bounds on the archive.

    Returns
    -------
    DixonResult

    Raises
    ------
    status.Refused
        With a verdict of the reading or Dixon block, and what was found.
    """
    watch = _Watch()
    scan = open_scan(path, limits)
    watch("read")
    acquired = build_stations(scan.slices, oblique_tolerance)
    target = stitch.choose_target(acquired)
    weights = stitch.station_weights(acquired, target)
    reading = _record(scan, acquired, target)
    planes = take_planes(acquired, target)
    stations = [replace(station, channels={}) for station in acquired]
    del scan, acquired  # a whole scan in memory each
    watch("stations")

    planes, decided, corrected, regions = undo_exchanges(stations, planes, target)
    swaps.require_certain(decided, swap_margin)
    decisions = {"swaps_corrected": corrected} | exchanges.record(regions) | _swap_record(decided)
    watch("swaps")

    outline = _outline_record(decided.masks, stations, target)
    planes, shading = _correct_stations(stations, planes, bias_shrink)
    watch("bias of stations")

    gains, seams = _match_gains(stations, planes, weights, target)
    scaled = [w * g for w, g in zip(weights, gains, strict=True)]
    volumes = {
        c: stitch.stack([planes[s.number][c] for s in stations], stations, scaled, target)
        for c in (IN, FAT, WATER)
    }
    del planes
    watch("resample and blend")

    covered = np.sum(weights, axis=0) > 0
    foreground = body.foreground(volumes[IN]) & covered
    shrink = _blocks(bias_shrink, target.spacing)
    volumes = bias.estimate(volumes[IN], foreground, shrink).correct(volumes)
    watch("bias of the whole")

    mask = body.body_mask(volumes[IN], covered)
    litres = body.require_body(mask, grid.voxel_ml(target.affine))
    size = {"body_litres": round(litres, 3), "coverage": round(float(covered.mean()), 4)}
    watch("body mask")

    images, scaling = _images(volumes, mask, target)
    further = {}
    if "in_phase" in contrasts:
        further["in_phase"] = _image(volumes[IN], scaling["intensity_scale"], target)
    if "fat_fraction" in contrasts:
        further["fat_fraction"] = fat_fraction(*images)
    watch("output")
    record = reading | decisions | outline | shading | seams | size | scaling
    return DixonResult(*images, record=record, contrasts=further, seconds=watch.seconds)


def fat_fraction(water, fat, body) -> nib.Nifti1Image:
    """Fat fraction image, 100 F / (W + F) in whole percent, of magnitude images.

    Parameters
    ----------
    water, fat, body : nibabel.Nifti1Image
        On one grid. Outside the body, where there is only noise, the fraction is 0.
    """
    inside = np.asanyarray(body.dataobj) > 0
    fat_signal = np.asanyarray(fat.dataobj).astype(np.float32)  # int16 holds no hundredfold
    signal = np.asanyarray(water.dataobj) + fat_signal
    known = inside & (signal > 0)
    percent = np.zeros(signal.shape, np.int16, order="F")
    percent.T[known.T] = np.rint(100 * select(fat_signal, known) / select(signal, known))
    return grid.las_image(percent, water.affine)


class _Watch:
    """CPU seconds between calls."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.last = time.process_time()

    def __call__(self, step: str) -> None:
        now = time.process_time()
        self.seconds[step] = self.seconds.get(step, 0.0) + now - self.last
        self.last = now


def _rounded(value, digits):
    return None if value is None else round(float(value), digits)


def _blocks(shrink: int, spacing) -> tuple:
    """Block sizes (x, y, z) that are about as long in every direction."""
    return shrink, shrink, max(1, round(shrink * grid.IN_PLANE_MM / float(spacing[2])))


def take_planes(stations: list[Slab], target: stitch.Target) -> dict:
    """Every station's channels on the target's rows and columns: number -> channel -> array."""
    return {
        station.number: {
            channel: np.maximum(stitch.place_in_plane(values, station, target), 0)
            for channel, values in station.channels.items()
        }
        for station in stations
    }


def undo_exchanges(stations, planes: dict, target) -> tuple:
    """Exchange fat and water back: whole stations, sides and legs, then regions.

    Returns
    -------
    planes : dict
        As given, put right.
    decided : swaps.Swaps
        Weighed again where a region was put right: the evidence is another one then.
    corrected : list of str
        Stations, sides and legs that were exchanged.
    regions : list of exchanges.Region
    """
    decided = swaps.detect(stations, planes, target)
    corrected, regions = decided.titles, []
    planes = swaps.correct(planes, decided)
    mended = {}
    for station in stations:
        channels, mask = planes[station.number], decided.masks[station.number]
        surface = decided.rims[station.number].voxels(mask.shape, decided.swapped)
        number = str(station.number)
        in_part = any(title != number and title.startswith(number) for title in corrected)
        found = exchanges.find(channels, mask, surface, station, target, in_part)
        mended[station.number] = exchanges.mend(channels, found)
        regions += found
    if any(region.mended for region in regions):
        decided = swaps.detect(stations, mended, target)
        mended = swaps.correct(mended, decided)
        corrected = sorted(set(corrected) ^ set(decided.titles))
    return mended, decided, corrected, regions


def _swap_record(decided: swaps.Swaps) -> dict:
    """Margins of the decisions, and how much visible skin each rests on."""
    record = {"swap_confidence": round(min(decided.confidence.values()), 4)}
    for unit, value in decided.confidence.items():
        record[f"swap_confidence_{unit}"] = round(value, 4)
    for surface in decided.rims.values():
        record |= {f"swap_patches_{unit}": n for unit, n in surface.patches().items()}
    return record


def _correct_stations(stations, planes: dict, bias_shrink: int) -> tuple[dict, dict]:
    """Planes without the slab ends and shading of every station, and their record."""
    corrected, record, ratios = {}, {}, []
    for station in stations:
        channels, number = planes[station.number], station.number
        mask = body.foreground(channels[IN])
        ratio, source = quality.signal_to_noise(channels[IN], mask)
        record[f"snr_{number}"] = _rounded(ratio, 2)
        record[f"snr_from_{number}"] = source
        ratios += [] if ratio is None else [ratio]
        ends = slab_ends.end_profile(channels[IN], mask)
        level = {channel: values / ends for channel, values in channels.items()}
        record[f"slab_ends_{number}"] = [round(float(ends[0]), 3), round(float(ends[-1]), 3)]
        field_ = bias.estimate(level[IN], mask, _blocks(bias_shrink, station.spacing))
        corrected[number] = field_.correct(level)
    record["snr"] = _rounded(min(ratios), 2) if ratios else None
    return corrected, record


def _outline_record(masks: dict, stations, target) -> dict:
    """What of the outline the field of view cuts off."""
    cuts = {}
    for station in stations:
        first = round((station.origin[1] - target.origin[1]) / target.spacing[1])
        rows = slice(max(first, 0), first + station.rows)
        cuts[station.number] = quality.outline_cut(masks[station.number][:, rows])
    return {
        "outline_cut": [
            f"{number}:{side}:{percent:.0f}%"
            for number, sides in cuts.items()
            for side, percent in sides.items()
            if percent >= 1
        ],
        "outline_cut_percent": _rounded(max(sum(sides.values()) for sides in cuts.values()), 1),
    }


def _match_gains(stations, planes, weights, target) -> tuple[list[float], dict]:
    """One factor per station that makes neighbours agree where they overlap.

    The published code leaves this to the second N4, whose spline is too stiff for a step.
    Factors are relative to the station with most neighbours matched: their geometric mean
    is 1, so that the overall level stays the scanner's.
    """
    log_gain, record = [0.0], {}
    for upper, lower in pairwise(stations):
        a, b = stations.index(upper), stations.index(lower)
        seam = f"{lower.number}_{upper.number}"
        both = np.flatnonzero((weights[a] > 0) & (weights[b] > 0))
        found = agreement = middle = None
        if len(both):
            first, last = both[0], both[-1] + 1
            parts = {
                channel: [
                    stitch.resample_slices(planes[s.number][channel], s, target, first, last)
                    for s in (lower, upper)
                ]
                for channel in (IN, WATER, FAT)
            }
            weight = weights[b][first:last]
            found = quality.seam_difference(*parts[IN], weight)
            sides = zip(parts[WATER], parts[FAT], strict=True)
            agreement = quality.seam_agreement(*sides, weight)
            middle = target.z[both].mean()
        record[f"seam_slices_{seam}"] = len(both)
        record[f"seam_gain_{seam}"] = _rounded(found and np.exp(found["log_gain"]), 4)
        record[f"seam_residual_{seam}"] = _rounded(found and found["residual"], 4)
        record[f"seam_agreement_{seam}"] = _rounded(agreement, 4)
        record[f"seam_mm_{seam}"] = _rounded(middle, 1)
        # lower x g_lower = upper x g_upper
        log_gain.append(log_gain[-1] - (found["log_gain"] if found else 0.0))
    residuals = [v for k, v in record.items() if k.startswith("seam_residual_") and v is not None]
    record["seam_residual"] = max(residuals) if residuals else None
    log_gain = np.array(log_gain) - np.mean(log_gain)
    return [float(g) for g in np.exp(log_gain)], record


def _images(volumes: dict, mask: np.ndarray, target: stitch.Target) -> tuple[tuple, dict]:
    """Water, fat and body: int16 images in scanner units, and the mask.

    Scanner values fit (12 bits). Where corrected values would not, or where a rescaled
    series would lose its steps to rounding, both channels are multiplied by one power of
    two, named in the record.
    """
    top = max(float(np.percentile(volumes[c].T[::2, ::2, ::2], 99.9)) for c in (FAT, WATER))
    highest = max(float(volumes[c].max()) for c in (FAT, WATER))
    scale = 1.0
    while top * scale > 16_000:
        scale /= 2
    while 0 < top * scale < 100:
        scale *= 2
    record = {
        "intensity_scale": scale,
        "intensities_clipped": bool(highest * scale > 32_767),
    }
    water, fat = (_image(volumes[channel], scale, target) for channel in (WATER, FAT))
    return (water, fat, grid.las_image(mask, target.affine)), record


def _image(values: np.ndarray, scale: float, target: stitch.Target) -> nib.Nifti1Image:
    """A stitched volume as image."""
    values = values * scale
    np.rint(values, out=values)
    np.clip(values, 0, 32_767, out=values)
    return grid.las_image(values.astype(np.int16), target.affine)


def _record(scan, stations: list[Slab], target: stitch.Target) -> dict:
    found = [station.number for station in stations]
    return {
        "stations_found": found,
        "stations_missing": sorted(set(range(1, 7)) - set(found)),
        "stations_acquired_twice": [s.number for s in stations if "acquisitions" in s.notes],
        "slices_interpolated": [
            n for s in stations for n in s.notes.get("slices_interpolated", [])
        ],
        "slices_trimmed": [s.number for s in stations if "slices_trimmed" in s.notes],
        "in_phase_made": [s.number for s in stations if "in_phase_made" in s.notes],
        "channels_refitted": [
            f"{s.number}:{c}" for s in stations for c in s.notes.get("channels_refitted", [])
        ],
        "station_low_mm": [round(s.low, 2) for s in stations],
        "station_slices": [s.slices for s in stations],
        "software": "; ".join(sorted({s.software for s in stations if s.software})),
        "surplus_files": int(sum(scan.surplus.values())),
        "unreadable_files": len(scan.unreadable),
        "published_grid": target.published,
    }
