"""What one station says of its own channels: fat lies under the skin, and fat is bright.

From outside in, a body is skin (thin, little fat), subcutaneous fat (a voxel thick in
the leanest, endless in the largest) and then anything: muscle, organs, more fat. For
every patch of the surface the profile of (fat - water) / (fat + water) over depth is
compared with all such layerings, once as labelled and once with the channels exchanged.
A profile does not depend on shading, which fat and water of a voxel share.

The second cue is weaker and only helps where the first is faint, in the leanest and the
largest: the sequence is T1-weighted (1.5 T, TR 6.7 ms, flip angle 10 degrees), so fat
(T1 about 0.3 s) gives about twice the signal of muscle (about 1 s).
"""

import functools
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy import ndimage

from iliopsoas.dixon.voxels import select

TILE = 16  # voxels; patch by patch, so that no thick part outvotes the rest
SLICE_EVERY_MM = 9.0
DEPTHS = 12  # voxels (27 mm)
EDGE = 0.4  # the surface: first voxel this bright, relative to the brightest near it
SKIN = (0.0, 0.5, 0.8, 1.2)  # voxels (2.23 mm); real skin is 1 to 3 mm
FAT = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 20.0)
INSIDE = (-0.85, -0.6, -0.3, 0.1)  # balance of what lies under the fat
FAT_BALANCE, WATER_BALANCE = 0.88, -0.85
BRIGHTER = 0.4  # log signal of fat over water that is full evidence; log 2 is 0.69
LIMIT = 0.5  # no patch speaks louder


@dataclass
class Rim:
    """What the surface of a station says, patch by patch.

    Attributes
    ----------
    pieces : list of tuple
        (unit, slice, voxels near the surface (x, y), evidence (tiles,), weight (tiles,)): the
        evidence that the channels are labelled as they are, -0.5 to 0.5, weight 0 where
        nothing is seen.
    """

    pieces: list = field(default_factory=list)

    def evidence(self, unit: str) -> float:
        """Mean evidence per patch of a unit; 0 where no surface is seen."""
        mine = [piece for piece in self.pieces if piece[0] == unit]
        total = sum(float(weight.sum()) for *_, weight in mine)
        if total <= 0:
            return 0.0
        return sum(float((value * weight).sum()) for *_, value, weight in mine) / total

    def patches(self) -> dict[str, int]:
        """Patches of visible skin by unit: what the evidence rests on."""
        found = {}
        for unit, *_, weight in self.pieces:
            found[unit] = found.get(unit, 0) + int(np.count_nonzero(weight))
        return found

    def voxels(self, shape: tuple, swapped: dict) -> np.ndarray:
        """Evidence of voxels near the surface once `swapped` units are put right, (x, y, z)."""
        result = np.zeros(shape, np.float32, order="F")
        tile, _ = _tiles(*shape[:2])
        for unit, level, where, value, _ in self.pieces:
            sign = -1 if swapped[unit] else 1
            result[..., level] += sign * np.where(where, value[tile], 0)
        return result


def rim_of(channels: dict, mask: np.ndarray, halves: dict, spacing_z: float) -> Rim:
    """Evidence of the surface that the channels are labelled as they are.

    Parameters
    ----------
    channels : dict
        "F", "W": float32 (x, y, z), 2.23 mm in plane.
    mask : ndarray of bool (x, y, z)
    halves : dict
        Unit -> bool (x, z): its columns in every slice.
    spacing_z : float
        Millimetres between slices.
    """
    rim = Rim()
    tile, tiles = _tiles(*mask.shape[:2])
    for k in _levels(mask, spacing_z):
        # where the field of view cuts through the body is no skin
        padded = np.pad(mask[..., k], DEPTHS + 4, mode="edge")
        depth = ndimage.distance_transform_edt(padded.T).T
        depth = depth[DEPTHS + 4 : -DEPTHS - 4, DEPTHS + 4 : -DEPTHS - 4]
        layer = np.ceil(depth - 0.5).astype(int)
        near = (depth > 0) & (layer <= DEPTHS + 4)
        for unit, half in halves.items():
            where = near & half[:, k, None]
            if not where.any():
                continue
            index = select(tile, where) * (DEPTHS + 4) + select(layer, where).clip(1) - 1
            size = tiles * (DEPTHS + 4)
            shape = (tiles, DEPTHS + 4)
            fat = np.bincount(index, select(channels["F"][..., k], where), size).reshape(shape)
            water = np.bincount(index, select(channels["W"][..., k], where), size).reshape(shape)
            count = np.bincount(index, minlength=size).reshape(shape)
            rim.pieces.append((unit, k, where, *judge(fat, water, count)))
    return rim


def brightness_evidence(channels: dict, mask: np.ndarray, halves: dict, spacing_z: float) -> dict:
    """Evidence per unit that what is labelled fat is brighter than what is labelled water.

    Returns
    -------
    dict
        Unit -> median over tiles of log(in-phase signal of fat / of water), in units of
        `BRIGHTER` and held within -1 to 1; 0 where no tile shows both.

    Notes
    -----
    Fat and water of one tile (36 mm) share the shading.
    """
    tile, tiles = _tiles(*mask.shape[:2])
    found: dict = {unit: [] for unit in halves}
    for k in _levels(mask, spacing_z):
        fat, water, both = (channels[name][..., k] for name in ("F", "W", "in"))
        inside = mask[..., k]
        tissue = inside & (both > 0.3 * np.median(select(both, inside))) & (fat + water > 0)
        for unit, half in halves.items():
            side = tissue & half[:, k, None]
            parts = []
            for mine in (side & (fat > 3 * water), side & (water > 3 * fat)):
                at = select(tile, mine)
                count = np.bincount(at, minlength=tiles)
                parts.append((np.bincount(at, np.log(select(both, mine)), tiles), count))
            (log_fat, n_fat), (log_water, n_water) = parts
            usable = (n_fat >= 12) & (n_water >= 12)
            found[unit].append(
                log_fat[usable] / n_fat[usable] - log_water[usable] / n_water[usable]
            )
    result = {}
    for unit, parts in found.items():
        values = np.concatenate(parts) if parts else np.zeros(0)
        median = float(np.median(values)) if len(values) >= 10 else 0.0
        result[unit] = float(np.clip(median / BRIGHTER, -1, 1))
    return result


def judge(fat: np.ndarray, water: np.ndarray, count: np.ndarray) -> tuple:
    """Evidence (n,) and weight (n,) of patches' summed profiles (n, depths)."""
    usable = (count[:, :6] > 0).all(axis=1) & (count[:, :6].sum(axis=1) >= 24)
    evidence, weights = np.zeros(len(usable)), np.zeros(len(usable))
    if not usable.any():
        return evidence, weights
    fat, water, count = fat[usable], water[usable], count[usable]
    balance, valid = _aligned(fat, water, count)
    models = templates()
    known = valid.astype(float)
    total = known.sum(axis=1)

    def misfit(profile):
        # sum over depth of (profile - model)^2, over all models at once
        squared = (known * profile**2).sum(axis=1)[:, None]
        cross = (known * profile) @ models.T
        return (squared - 2 * cross + known @ (models**2).T).min(axis=1)

    difference = (misfit(-balance) - misfit(balance)) / total
    evidence[usable] = np.clip(difference, -LIMIT, LIMIT)
    weights[usable] = np.sqrt(count[:, :6].sum(axis=1))
    return evidence, weights


def _levels(mask: np.ndarray, spacing_z: float) -> list[int]:
    """Slices that are looked at: some that hold tissue, none at the ends of the slab."""
    nz = mask.shape[2]
    every = range(3, min(max(nz - 3, 4), nz), max(1, round(SLICE_EVERY_MM / spacing_z)))
    return [k for k in every if mask[..., k].any()]


def _tiles(nx: int, ny: int) -> tuple[np.ndarray, int]:
    """Number (nx, ny) of the tile of every pixel, and how many there are."""
    across = -(-nx // TILE)
    tile = (np.arange(ny) // TILE)[:, None] * across + np.arange(nx) // TILE
    return tile.T, across * -(-ny // TILE)


def _aligned(fat, water, count):
    """Balance (n, DEPTHS) from the surface on, and where it is known."""
    total = fat + water
    bright = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    start = (bright >= EDGE * bright[:, :7].max(axis=1, keepdims=True)).argmax(axis=1)
    columns = np.minimum(start[:, None] + np.arange(DEPTHS), total.shape[1] - 1)
    fat, water, count = (np.take_along_axis(a, columns, axis=1) for a in (fat, water, count))
    total = fat + water
    balance = np.divide(fat - water, total, out=np.zeros_like(total), where=total > 0)
    return balance, (count > 0) & (total > 0)


@functools.cache
def templates() -> np.ndarray:
    """Profiles (models, DEPTHS) of all layerings, aligned as measured ones are.

    Layers are blurred by a Gaussian of 0.6 voxels and the voxel's width. Fat without
    visible skin counts only from two voxels on: one bright voxel at the surface is as
    well the skin of exchanged channels.
    """
    fine = 20
    x = (np.arange(-6 * fine, 50 * fine) + 0.5) / fine
    kept = []
    for skin, fat, inside in product(SKIN, FAT, INSIDE):
        if skin == 0.0 and fat < 2.0:
            continue
        bright = np.where(x < 0, 0.0, np.where(x < skin, 0.5, 1.0))
        balance = np.where(x < skin, WATER_BALANCE, np.where(x < skin + fat, FAT_BALANCE, inside))
        parts = []
        for amount in (bright * (1 + balance) / 2, bright * (1 - balance) / 2):
            smooth = ndimage.gaussian_filter1d(amount, 0.6 * fine)
            parts.append(ndimage.uniform_filter1d(smooth, fine))
        for shift in (0.0, 1 / 3, 2 / 3):
            at = (np.arange(-2, DEPTHS + 2) + shift + 0.5) * fine + 6 * fine
            f, w = (part[at.astype(int)][None, :] for part in parts)
            profile, _ = _aligned(f, w, np.ones_like(f))
            kept.append(profile[0])
    return np.array(kept)
