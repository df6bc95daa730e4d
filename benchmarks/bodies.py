"""Scans painted on real shapes: UK Biobank body outlines, and muscles and bones of CT labels.

The outlines and joints are those of recoh/pipeline's atlas, the labels those of
yuta-hi/pelvic-annonation; neither is part of this project. Everything else (fat under the
skin, organs, bowel, lungs, septa) is drawn from a seed, with signals of a T1-weighted
gradient echo (1.5 T, TR 6.7 ms, 10 degrees) that vary from body to body. None of it comes
from `iliopsoas.phantom`.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.dixon.series import Slab
from iliopsoas.phantom.acquisition import FIRST_SLICE_MM, GEOMETRY

REFERENCE = Path(__file__).parents[1] / ".." / "shared" / "reference"
BONES = (1, 2, 3, 4)  # pelvis, femur, sacrum, spine
ILIOPSOAS = (8, 13)
COUNTS = 420.0  # scanner units of signal 1


@dataclass
class Body:
    """Signals (x, y, z) on the stitched grid; `muscle`: 1 left, 2 right iliopsoas."""

    water: np.ndarray
    fat: np.ndarray
    muscle: np.ndarray
    mask: np.ndarray
    hips: dict
    liver: np.ndarray
    arms: np.ndarray


@functools.cache
def _labels(reference: Path, name: str):
    """CT labels (x, y, z) of voxel order LAS, 1 x 1 x 3 mm, and the femoral heads (right, left)."""
    image = sitk.ReadImage(str(reference / "ct_labels" / name / "label.mhd"))
    labels = sitk.GetArrayFromImage(image).astype(np.uint8)[:, ::-1].transpose(2, 1, 0)
    femur = labels == 2
    middle = int(np.nonzero(femur)[0].mean())
    heads = []
    for side in (np.s_[:middle], np.s_[middle:]):
        x, y, z = np.nonzero(femur[side])
        top = z > z.max() - 6
        start = side.start or 0
        heads.append(np.array([x[top].mean() + start, y[top].mean(), z.max() - 7.0]))
    return labels, np.array(heads)


def outlines(reference: Path = REFERENCE) -> list[Path]:
    """Folders of the real outlines."""
    return sorted(folder for folder in (reference / "atlas").glob("0*") if folder.is_dir())


def paint(folder: Path, seed: int, wider: float = 1.0, reference: Path = REFERENCE) -> Body:
    """One body on a real outline.

    Parameters
    ----------
    folder : Path
        One of `outlines`.
    seed : int
    wider : float
        Stretches the body sideways and half as much from front to back; what leaves the
        field of view is cut, as in the scanner.
    """
    rng = np.random.default_rng(seed)
    mask = np.asarray(nib.load(folder / "mask.body.nii.gz").dataobj) > 0
    points = np.asarray(nib.load(folder / "bone_joints.nii.gz").dataobj)
    joints = {int(k): np.argwhere(points == k)[0].astype(float) for k in np.unique(points) if k}
    if wider != 1.0:
        mask, joints = _widened(mask, joints, wider)
    nx, ny, nz = mask.shape
    z = np.arange(nz)
    hip = (joints[11] + joints[12]) / 2
    shoulder = (joints[1][2] + joints[2][2]) / 2
    reach = (shoulder - hip[2]) / 100.0  # of a hundredth of the trunk

    padded = np.pad(mask, ((20, 20), (20, 20), (0, 0)), mode="edge")
    depth = np.stack([ndimage.distance_transform_edt(padded[:, :, k]) for k in z], axis=-1)
    depth = depth[20:-20, 20:-20].astype(np.float32)

    def noise(sigma):
        sigma = np.broadcast_to(sigma, 3)
        step = np.maximum(1, np.floor(sigma)).astype(int)  # drawn on every n-th voxel
        size = [n // s + 3 for n, s in zip(mask.shape, step, strict=True)]
        smooth = ndimage.gaussian_filter(rng.standard_normal(size).astype("f4"), sigma / step)
        for axis, (n, s) in enumerate(zip(mask.shape, step, strict=True)):
            if s > 1:
                at = np.arange(n) / s
                first, part = at.astype(int), (at % 1).astype("f4")
                part = part.reshape([-1 if i == axis else 1 for i in range(3)])
                low, high = (np.take(smooth, first + k, axis=axis) for k in (0, 1))
                smooth = low + part * (high - low)
            else:
                smooth = np.take(smooth, np.arange(n), axis=axis)
        return smooth / smooth.std()

    # signals of this body
    fat_level = rng.uniform(0.75, 0.95)
    muscle_level = fat_level / rng.uniform(1.45, 2.1)
    liver_level = muscle_level * rng.uniform(1.1, 1.4)
    usual = rng.choice([1.2, 2.0, 4.0, 7.0, 11.0]) * (wider if wider > 1 else 1.0)
    rim = usual * np.exp(0.3 * noise(14))
    trunk = (z > hip[2] - 10 * reach)[None, None]
    thin = np.where(trunk, 1.0, 0.8)
    rim = np.maximum(rim * thin, 0.6)
    deep = mask & (depth > rim + 1)

    # muscle with septa, visceral fat inside the trunk
    septa = np.abs(noise((2.5, 2.5, 9))) < 0.07
    kind = np.where(mask, 1, 0).astype(np.uint8)  # 1 fat
    kind[deep & ~septa] = 2  # 2 muscle
    wall = depth > rim + 7
    belly = deep & wall & (z > hip[2])[None, None] & (z < hip[2] + 62 * reach)[None, None]
    kind[belly] = 1
    bowel = noise(2.2) + 0.5 * noise(7) > rng.uniform(0.2, 0.9)
    kind[belly & bowel] = 3  # 3 bowel and its contents
    x, y = np.arange(nx)[:, None, None], np.arange(ny)[None, :, None]
    front = hip[1] + 12

    def ball(cx, cy, cz, rx, ry, rz):
        return (((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z[None, None] - cz) / rz) ** 2) < 1

    chest = deep & wall & (z >= hip[2] + 62 * reach)[None, None]
    chest &= (z < hip[2] + 96 * reach)[None, None]
    chest &= np.abs(x - hip[0]) < 0.9 * abs(joints[1][0] - joints[2][0]) / 2
    kind[chest] = 4  # 4 lung
    kind[chest & ball(hip[0] + 8, front, hip[2] + 68 * reach, 24, 20, 18 * reach)] = 5  # heart
    trunk_wide = wider * 1.0
    liver = (belly | chest) & ball(
        hip[0] - 34 * trunk_wide, front - 2, hip[2] + 56 * reach, 34 * trunk_wide, 32, 19 * reach
    )
    kind[liver] = 6
    stomach = (belly | chest) & ball(hip[0] + 32, front + 4, hip[2] + 58 * reach, 16, 14, 9 * reach)
    kind[stomach] = 7
    for side in (-1, 1):
        kind[belly & ball(hip[0] + side * 30, hip[1] - 4, hip[2] + 40 * reach, 12, 9, 13)] = 8
    # bones and muscles of a real person, brought to the hips
    labels, heads = _labels(reference, ("001", "004")[seed % 2])
    scale = np.linalg.norm(heads[0] - heads[1]) / abs(joints[11][0] - joints[12][0])
    at = [
        heads.mean(axis=0)[0] + (np.arange(nx) - hip[0]) * scale,
        heads.mean(axis=0)[1] + (np.arange(ny) - hip[1]) * scale / (wider if wider > 1 else 1.0),
        heads.mean(axis=0)[2] + (z - hip[2]) * scale * grid.SLICE_MM / grid.IN_PLANE_MM / 3,
    ]
    index = [np.rint(a).astype(int) for a in at]
    inside = [(i >= 0) & (i < n) for i, n in zip(index, labels.shape, strict=True)]
    part = np.ix_(*(np.clip(i, 0, n - 1) for i, n in zip(index, labels.shape, strict=True)))
    here = labels[part] * (
        inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None]
    )
    here = np.where(depth > rim + 1, here, 0)
    near = ndimage.binary_dilation(here > 0, iterations=1) & (here == 0) & deep
    kind[near] = 1  # fat between the muscles
    kind[(here > 0) & ~np.isin(here, BONES)] = 2
    kind[np.isin(here, BONES)] = 9
    kind[np.isin(here, BONES) & (z[None, None] > hip[2] + 30)] = 10  # spine
    shell = np.isin(kind, (9, 10)) & ~ndimage.binary_erosion(np.isin(kind, (9, 10)))
    muscle = np.zeros(mask.shape, np.uint8)
    iliopsoas = np.isin(here, ILIOPSOAS)
    muscle[iliopsoas & (x >= hip[0])] = grid.LEFT
    muscle[iliopsoas & (x < hip[0])] = grid.RIGHT

    contents = np.clip(muscle_level * np.exp(0.45 * noise(3)), 0.05, 1.3)
    water_of = [0, 0.06, muscle_level, 0, 0.03, 0.9, liver_level, 0, 0.5, 0.04, 0.27]
    fat_of = [0, fat_level, 0.03, 0.03, 0.01, 0.02, 0.04, 0.04, 0.03, 0.9 * fat_level, 0.33]
    water_of[5], water_of[8] = muscle_level * 1.2, muscle_level * rng.uniform(0.9, 1.5)
    water = np.array(water_of, np.float32)[kind]
    fat = np.array(fat_of, np.float32)[kind]
    water = np.where(kind == 3, contents, water)
    water = np.where(kind == 7, muscle_level * rng.uniform(0.8, 2.0), water)
    skin = mask & (depth <= rng.uniform(0.6, 1.2))
    water, fat = np.where(skin, 0.3, water), np.where(skin, 0.12, fat)
    water, fat = np.where(shell, 0.03, water), np.where(shell, 0.05, fat)
    streak = np.exp(0.6 * noise((1.5, 1.5, 7))) * rng.uniform(0.02, 0.15)
    share = np.where(kind == 2, np.clip(streak, 0, 0.7), 0)
    fat, water = fat + share * water, water * (1 - share)
    grain = 1 + 0.05 * noise(1.5)
    blur = rng.uniform(0.35, 0.65)  # point spread, voxels
    water = ndimage.gaussian_filter((water * grain).astype("f4"), (blur, blur, 0.4))
    fat = ndimage.gaussian_filter((fat * grain).astype("f4"), (blur, blur, 0.4))
    pieces = _arms(mask, joints, shoulder)
    return Body(water, fat, muscle, mask, joints, liver, pieces)


def _widened(mask, joints, wider):
    nx, ny, nz = mask.shape
    cx, cy = nx / 2 - 0.5, float(np.nonzero(mask.any(axis=(0, 2)))[0].mean())
    deeper = 1 + (wider - 1) / 2
    xs = np.rint(cx + (np.arange(nx) - cx) / wider).astype(int).clip(0, nx - 1)
    ys = np.rint(cy + (np.arange(ny) - cy) / deeper).astype(int).clip(0, ny - 1)
    moved = {
        k: np.array([cx + (p[0] - cx) * (1 + (wider - 1) / 4), p[1], p[2]])
        for k, p in joints.items()
    }
    return mask[np.ix_(xs, ys, np.arange(nz))], moved


def _arms(mask, joints, shoulder):
    """Pieces of a slice beside the trunk, below the shoulders and above the hips."""
    arms = np.zeros(mask.shape, np.uint8)
    middle = (joints[11][0] + joints[12][0]) / 2
    for k in range(int(joints[11][2]) + 10, int(shoulder) - 10):
        pieces, count = ndimage.label(mask[:, :, k])
        if count < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        for piece in range(1, count + 1):
            if piece != sizes.argmax() and sizes[piece] > 60:
                where = pieces == piece
                arms[:, :, k][where] = 1 if np.nonzero(where)[0].mean() > middle else 2
    return arms


def scan(body: Body, seed: int, noise: float = 0.012, numbers=(1, 2, 3, 4, 5, 6)) -> list[Slab]:
    """Stations of a body on the stitched rows and columns; rows outside a slab are 0.

    Every station has its own gain, shading and shift (up to 2 voxels in plane, breath along
    z); noise is `noise` of signal 1 in each echo's real and imaginary part.
    """
    rng = np.random.default_rng([seed, 7])
    slabs = []
    for number in numbers:
        shape = GEOMETRY[number]
        low, thick = FIRST_SLICE_MM[number], shape.thickness_mm
        heights = low + thick * np.arange(shape.slices) + rng.normal(0, 1.5)
        at = np.clip((heights - grid.ORIGIN_RAS_MM[2]) / grid.SLICE_MM, 0, body.mask.shape[2] - 1)
        first = np.floor(at).astype(int).clip(0, body.mask.shape[2] - 2)
        part = (at - first).astype("f4")
        pad = (grid.SHAPE[1] - shape.rows) // 2
        shift = np.clip(np.rint(rng.normal(0, 0.5, 2)), -2, 2).astype(int)
        axes = [np.linspace(-1, 1, n, dtype="f4") for n in (grid.SHAPE[0], shape.rows, len(at))]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        a = rng.normal(0, 0.15, 4).astype("f4")
        field = np.exp(a[0] * x + a[1] * y + a[2] * z + a[3] * x**2) * rng.uniform(0.8, 1.25)
        made = []
        for signal in (body.water, body.fat):
            moved = np.roll(signal, shift, axis=(0, 1))[:, pad : pad + shape.rows]
            made.append(field * (moved[:, :, first] * (1 - part) + moved[:, :, first + 1] * part))
        water, fat = made
        drawn = rng.standard_normal((4, *water.shape), dtype="f4") * np.float32(noise)
        both = water + fat + drawn[0]
        opposed = water - fat + drawn[1]
        channels = {
            "in": np.hypot(both, drawn[2]),
            "W": np.hypot((both + opposed) / 2, (drawn[2] + drawn[3]) / 2),
            "F": np.hypot((both - opposed) / 2, (drawn[2] - drawn[3]) / 2),
        }
        placed = {}
        for name, part in channels.items():
            placed[name] = np.zeros((*grid.SHAPE[:2], len(at)), np.float32, order="F")
            placed[name][:, pad : pad + shape.rows] = np.rint(COUNTS * part)
        slabs.append(
            Slab(
                number, placed, np.array([*grid.ORIGIN_RAS_MM[:2], low]),
                np.array([grid.IN_PLANE_MM, grid.IN_PLANE_MM, thick]), grid.SHAPE[1], "", "",
            )
        )  # fmt: skip
    return slabs
