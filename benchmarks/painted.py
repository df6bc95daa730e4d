"""Bodies painted from real shapes: outlines of real people, muscles and bones of real CT labels.

The phantom draws its own shapes; what is tuned on it can be wrong of people without a word. Here
the outline and the joints are those of the 30 public body masks (recoh/pipeline), the iliopsoas,
its neighbours, pelvis, femur and spine those of two manual CT annotations
(yuta-hi/pelvic-annonation), fitted to the joints. Signals are the phantom's tissues. Both data
sets are read from a folder that is not part of this project.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.landmarks import atlas
from iliopsoas.phantom import tissues
from iliopsoas.phantom.anatomy import Anatomy

PELVIS, FEMUR, SACRUM, LUMBAR, ILIACUS, PSOAS = 1, 2, 3, 4, 8, 13
BONES = (PELVIS, FEMUR, SACRUM, LUMBAR)
TRUNK_MM = 525.0  # from hips to shoulders in the CTs' scale: the median of the public bodies
SPACING = np.array(grid.SPACING_MM)


@dataclass(frozen=True)
class Labels:
    """CT labels (x, y, z) to left, anterior and head; `heads`: femoral heads, right and left."""

    array: np.ndarray
    spacing: np.ndarray
    heads: np.ndarray


def read_labels(reference) -> list[Labels]:
    """The CT annotations below `reference`/ct_labels."""
    found = []
    for path in sorted(Path(reference, "ct_labels").glob("*/label.mhd")):
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)[:, ::-1].astype(np.uint8)
        spacing = np.array(image.GetSpacing())
        # at its upper end a femur is nowhere thicker than at its head
        depth = ndimage.distance_transform_edt(array == FEMUR, sampling=spacing)
        middle, heads = array.shape[0] // 2, []
        for half in (depth[:middle], depth[middle:]):
            top = np.flatnonzero(half.any(axis=(0, 1)))[-1]
            upper = half * (np.arange(half.shape[2]) > top - 36 / spacing[2])
            heads.append(np.array(np.unravel_index(upper.argmax(), upper.shape)))
        heads[1][0] += middle
        found.append(Labels(array, spacing, np.array(heads, float)))
    return found


def fitted(labels: Labels, landmarks: dict) -> np.ndarray:
    """CT labels on the stitched grid: heads on the hips, length by the trunk, depth by the width.

    Returns
    -------
    ndarray of uint8, shape (x, y, z)
    """
    hips = np.array([landmarks["11"], landmarks["12"]], float)
    shoulder = np.mean([landmarks["1"], landmarks["2"]], axis=0)
    apart = np.linalg.norm((hips[1] - hips[0]) * SPACING)
    wide = apart / np.linalg.norm((labels.heads[1] - labels.heads[0]) * labels.spacing)
    long = (shoulder[2] - hips[:, 2].mean()) * SPACING[2] / TRUNK_MM
    scale = np.array([wide, wide, long]) * labels.spacing / SPACING  # stitched voxels per CT voxel
    # the hips' tilt is a shear along the body
    tilt = (hips[1, 2] - hips[0, 2]) / (hips[1, 0] - hips[0, 0])
    tilt_y = (hips[1, 1] - hips[0, 1]) / (hips[1, 0] - hips[0, 0])
    ct = labels.heads
    matrix = np.diag(scale)
    matrix[2, 0] = tilt * scale[0] - scale[2] * (ct[1, 2] - ct[0, 2]) / (ct[1, 0] - ct[0, 0])
    matrix[1, 0] = tilt_y * scale[0] - scale[1] * (ct[1, 1] - ct[0, 1]) / (ct[1, 0] - ct[0, 0])
    inverse = np.linalg.inv(matrix)
    offset = ct.mean(axis=0) - inverse @ hips.mean(axis=0)
    return ndimage.affine_transform(
        labels.array, inverse, offset, output_shape=grid.SHAPE, order=0, prefilter=False
    )


def _noise(rng, sigma, shape=grid.SHAPE):
    """Smooth noise of unit spread; sigma in voxels."""
    small = [max(4, int(n / (0.7 * sigma))) for n in shape]
    coarse = rng.standard_normal(small).astype(np.float32)
    zoomed = ndimage.zoom(coarse, np.divide(shape, small), order=1, mode="nearest")
    return (zoomed / zoomed.std()).astype(np.float32)


def paint(mask, landmarks: dict, labels: Labels, rng, fat_fraction=0.08) -> Anatomy:
    """Water, fat and truth of a real outline with real muscles.

    Parameters
    ----------
    mask : ndarray (224, 174, 370)
        Body mask.
    landmarks : dict
        Hips and shoulders at least.
    labels : Labels
    rng : numpy.random.Generator
    fat_fraction : float
        Of the muscles.
    """
    body = np.asarray(mask) > 0
    ct = fitted(labels, landmarks)
    from_skin = ndimage.distance_transform_edt(body, sampling=SPACING).astype(np.float32)
    thickest = ndimage.gaussian_filter1d(from_skin.max(axis=(0, 1)), 6)
    rim = np.clip(rng.uniform(0.10, 0.22) * thickest, 3, 45)
    lean = from_skin > rim * (1 + 0.25 * _noise(rng, 25))
    ct[~lean] = 0

    hip = np.mean([landmarks["11"], landmarks["12"]], axis=0)
    shoulder = np.mean([landmarks["1"], landmarks["2"]], axis=0)
    z = np.arange(grid.SHAPE[2])
    in_trunk = (z > hip[2] + 8) & (z < hip[2] + 0.62 * (shoulder[2] - hip[2]))

    water = np.where(body, np.float32(0.04), 0).astype(np.float32)
    fat = np.where(body, np.float32(0.85), 0).astype(np.float32)
    soft = lean & (ct == 0)
    # outside the annotated muscles: muscle in limbs, organs and fat between them in the trunk
    share = np.where(in_trunk, np.clip(0.5 + 0.6 * _noise(rng, 6), 0.05, 0.95), 0.92)
    water[soft] = (0.62 * share)[soft]
    fat[soft] = (0.8 * (1 - share))[soft]
    x, y, zz = np.ogrid[: grid.SHAPE[0], : grid.SHAPE[1], : grid.SHAPE[2]]
    for side in (-1, 1):
        centre = (hip[0] + side * 33, hip[1], hip[2] + 0.83 * (shoulder[2] - hip[2]))
        size = (22, 26, 0.24 * (shoulder[2] - hip[2]))
        ball = sum(((a - c) / s) ** 2 for a, c, s in zip((x, y, zz), centre, size, strict=True))
        lung = (ball < 1) & lean
        water[lung], fat[lung] = 0.06, 0.01
    muscle = (ct > 0) & ~np.isin(ct, BONES)
    streaks = np.clip(fat_fraction * np.exp(0.5 * _noise(rng, 3) - 0.12), 0, 0.6)
    water[muscle] = (0.58 * (1 - streaks))[muscle]
    fat[muscle] = (0.58 * streaks)[muscle]
    # fat lies between muscles
    seams = ndimage.maximum_filter(ct, 3) != ndimage.minimum_filter(ct, 3)
    seams &= muscle & (rng.random(grid.SHAPE) < 0.6)
    water[seams], fat[seams] = 0.3, 0.3
    bone = np.isin(ct, BONES)
    core = ndimage.binary_erosion(bone & (ct != FEMUR)) | ndimage.binary_erosion(ct == FEMUR)
    water[bone], fat[bone] = 0.06, 0.05  # cortex
    marrow = np.where(ct == FEMUR, 0.72, 0.45) * (1 + 0.12 * _noise(rng, 3))
    fat[core] = marrow[core]
    water[core] = np.where(ct == FEMUR, 0.08, 0.28)[core]
    # cartilage and fluid between head and socket
    near = ndimage.binary_dilation(ct == FEMUR, iterations=2)
    joint = near & ndimage.binary_dilation(ct == PELVIS, iterations=2) & ~bone
    water[joint], fat[joint] = 0.5, 0.05
    grain = 1 + 0.05 * _noise(rng, 2)
    water, fat = (np.clip(part * grain, 0, 1).astype(np.float32) for part in (water, fat))

    truth = np.zeros(grid.SHAPE, np.uint8)
    both = np.isin(ct, (ILIACUS, PSOAS))
    right = (x < hip[0]) & both
    truth[both] = grid.LEFT
    truth[right] = grid.RIGHT
    named = np.full(grid.SHAPE, 0, np.uint8)
    named[body] = tissues.FAT.label
    volume = {
        name: float(np.count_nonzero(truth == label) * grid.VOXEL_ML)
        for name, label in grid.SIDES.items()
    }
    return Anatomy(water, fat, named, truth, volume, dict(landmarks))


def implant(body, centre, rng, void_mm=(40.0, 50.0)):
    """A body with a hip replacement: no signal about the joint, exchanged around it.

    Water and fat are exchanged in a rim of 1 to 2 cm, as field inhomogeneity does.

    Parameters
    ----------
    body : dataclass with `water` and `fat`
    centre : tuple of float
        The joint, voxels.
    rng : numpy.random.Generator
    void_mm : tuple of float
        Least and largest radius of the void.
    """
    shape = body.water.shape
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    squares = [((a - c) * s) ** 2 for a, c, s in zip(axes, centre, SPACING, strict=True)]
    distance = np.sqrt(sum(squares)).astype(np.float32) - 6 * _noise(rng, 8, shape)
    void = rng.uniform(*void_mm)
    water, fat = body.water.copy(), body.fat.copy()
    rim = (distance < void + rng.uniform(10, 20)) & (distance >= void)
    water[rim], fat[rim] = body.fat[rim], body.water[rim]
    water[distance < void] = fat[distance < void] = 0
    return replace(body, water=water, fat=fat)


def warped(mask, landmarks, wide=1.0, long=1.0, deep=1.0):
    """A body and its landmarks stretched about the table's middle; cut where the image ends."""
    factor = np.array([wide, deep, long])
    centre = np.array([(n - 1) / 2 for n in grid.SHAPE])
    centre[2] = grid.SHAPE[2] * 0.45
    inverse = np.diag(1 / factor)
    moved = ndimage.affine_transform(
        (np.asarray(mask) > 0).astype(np.uint8), inverse, centre - inverse @ centre, order=0
    )
    points = {key: tuple((np.array(p) - centre) * factor + centre) for key, p in landmarks.items()}
    inside = {
        key: point
        for key, point in points.items()
        if all(0 <= v <= n - 1 for v, n in zip(point, grid.SHAPE, strict=True))
    }
    return moved, inside


def bodies(reference) -> list[atlas.AtlasBody]:
    """The public body masks with landmarks below `reference`/atlas."""
    return atlas.read_folder(Path(reference, "atlas"))
