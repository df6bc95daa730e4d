"""The starter network, or other weights, on real muscle and body shapes it has never seen.

    python benchmarks/starter.py REFERENCE [--weights FILE] [--scans 20] [--cache FOLDER]

REFERENCE holds `ct_labels` (manual CT label maps, yuta-hi/pelvic-annonation) and `atlas` (UK
Biobank body masks with joints, recoh/pipeline); both are MIT and not part of this repository.
Each scan is a CT's anatomy brought into one of the atlas's bodies, left and right exchanged or
not, mildly deformed, and painted as a Dixon water image with the signals measured in a real
coronal slice. Nothing here uses code of the phantom or of the domain randomisation.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nibabel as nib
import numpy as np
import pandas as pd
import SimpleITK as sitk
from scipy import ndimage

from iliopsoas import crops, grid, starter
from iliopsoas.network import segmentation

PELVIS, FEMUR, SACRUM, SPINE, ILIACUS, PSOAS = 1, 2, 3, 4, 8, 13
BONES = (PELVIS, FEMUR, SACRUM, SPINE)
# 8-bit signals of muscle, fat and others in the real coronal slice's own scale
MUSCLE, FAT, MARROW, SPONGY, BOWEL, AIR = 124, 30, 22, 60, (60, 250), 4
FAT_LABEL, BELLY_LABEL = 60, 61


def read_ct(folder: Path):
    """Labels (x, y, z) in voxel order LAS, spacing in mm, the body, and both hips."""
    label, body = (sitk.ReadImage(str(folder / f"{name}.mhd")) for name in ("label", "mask"))
    spacing = np.array(label.GetSpacing())
    # RAI: x to the left, y to the back, z to the head
    labels, inside = (
        np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(2, 1, 0)[:, ::-1])
        for image in (label, body)
    )
    middle = np.nonzero(labels == PELVIS)[0].mean()
    hips = []
    for sign in (-1, 1):  # right, left
        femur = labels == FEMUR
        femur[(slice(int(middle), None) if sign < 0 else slice(0, int(middle)))] = False
        top = np.nonzero(femur.any((0, 1)))[0].max()
        head = np.argwhere(femur[:, :, top - 5 : top + 1]).mean(0)
        hips.append((head[0], head[1], top - 24 / spacing[2]))
    labels = labels.astype(np.uint8)
    labels[(labels == 0) & (inside > 0)] = FAT_LABEL
    box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    corner = [s.start for s in box]
    hips = [tuple(h - c for h, c in zip(hip, corner, strict=True)) for hip in hips]
    return _with_belly(labels[box].copy(), int(hips[0][2])), spacing, hips


def _with_belly(labels, hip):
    """Mark what the trunk's muscles and bones enclose above the hips."""
    hollow = np.zeros(labels.shape, bool)
    for z in range(hip, labels.shape[2]):
        plane = labels[:, :, z]
        walls = np.pad((plane > 0) & (plane < FAT_LABEL), 40)
        walls = ndimage.binary_closing(walls, iterations=25)[40:-40, 40:-40]
        hollow[:, :, z] = ndimage.binary_fill_holes(walls) & (plane == FAT_LABEL)
    hollow = ndimage.binary_opening(
        ndimage.median_filter(hollow, (1, 1, 7)), np.ones((7, 7, 3), bool)
    )
    pieces, _ = ndimage.label(hollow)
    labels[pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])] = BELLY_LABEL
    return labels


def read_body(folder: Path):
    """Body mask (x, y, z) and joints of the atlas."""
    mask = np.asanyarray(nib.load(folder / "mask.body.nii.gz").dataobj) > 0
    joints = np.asanyarray(nib.load(folder / "bone_joints.nii.gz").dataobj)
    points = {}
    for key in ("1", "2", "11", "12"):
        here = np.argwhere(joints == int(key))
        if len(here):
            points[key] = tuple(int(n) for n in np.rint(here.mean(0)))
    return mask, points


def _noise(rng, shape, sigma):
    noise = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma)
    return noise / noise.std()


def scan(ct, body, rng):
    """One scan: water (int16), muscles (1 = left, 2 = right) and landmarks.

    Both arrays are the stitched grid's; beyond the slices of the crops they are empty.
    """
    labels, spacing, hips = ct
    mask, points = body
    right, left = (np.array(points[key], float) for key in ("11", "12"))
    if rng.integers(2):
        labels = labels[::-1]
        n = labels.shape[0] - 1
        hips = [(n - hips[1][0], *hips[1][1:]), (n - hips[0][0], *hips[0][1:])]
    hips = np.array(hips)
    low = crops.box(points, "left", grid.SHAPE).z - 8
    shape = (grid.SHAPE[0], grid.SHAPE[1], 208)
    mm = np.array(grid.SPACING_MM)

    # voxels of the CT for each voxel of the grid, hips on hips
    across = (hips[1, 0] - hips[0, 0]) * spacing[0] / ((left[0] - right[0]) * mm[0])
    rise = (points["1"][2] + points["2"][2] - points["11"][2] - points["12"][2]) / 2 * mm[2]
    along = np.clip(531 / rise, 0.85, 1.2) * rng.uniform(0.95, 1.05)
    deep = np.clip(_depth(labels > 0, hips, spacing) / _depth(mask, (right, left), mm), 0.7, 1.4)
    scale = np.array([across, deep, along]) * mm / spacing
    middle_ct, middle = hips.mean(0), (right + left) / 2
    axes = list(
        np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    )
    axes[2] = axes[2] + low
    fields = [_noise(rng, [n // 4 for n in shape], 5) * rng.uniform(0.5, 2.0) for _ in range(3)]
    at = [
        (axis - middle[k] + _grown(fields[k], shape)) * scale[k] + middle_ct[k]
        for k, axis in enumerate(axes)
    ]

    water = np.zeros(shape, np.float32)
    share = np.zeros((2, *shape), np.float32)
    signal = _signals(rng)
    lines = _planes(labels, rng)
    belly = _belly(rng, shape)
    half = hips[:, 0].mean()
    inside = mask[:, :, low : low + shape[2]]
    for dx in (-0.25, 0.25):
        for dy in (-0.25, 0.25):
            offset = (dx * scale[0], dy * scale[1], 0)
            index = [
                np.clip(np.rint(a + o), 0, n - 1).astype(np.int32)
                for a, o, n in zip(at, offset, labels.shape, strict=True)
            ]
            beyond = (at[0] < 0) | (at[0] > labels.shape[0] - 1) | (at[1] < 0)
            beyond |= at[1] > labels.shape[1] - 1
            found = labels[tuple(index)]
            found[beyond | (found == 0)] = FAT_LABEL
            value = signal[found]
            value = np.where(lines[tuple(index)], FAT + 0.4 * (value - FAT), value)
            value = np.where(found == BELLY_LABEL, belly, value)
            muscle = ((found == ILIACUS) | (found == PSOAS)) & inside
            share[0] += muscle & (index[0] > half)
            share[1] += muscle & (index[0] <= half)
            water += np.where(inside, value, AIR)
    water, share = water / 4, share / 4
    water = _scanned(water, rng)
    whole, truth = np.zeros(grid.SHAPE, np.int16), np.zeros(grid.SHAPE, np.uint8)
    place = np.s_[:, :, low : low + shape[2]]
    whole[place] = np.clip(water, 0, 400)
    truth[place] = np.select([share[0] > 0.5, share[1] > 0.5], [1, 2])
    missed = {
        key: tuple(round(n + e) for n, e in zip(point, rng.normal(0, (1.5, 1, 2)), strict=True))
        for key, point in points.items()
    }
    return whole, truth, missed


def _grown(field, shape):
    return ndimage.zoom(field, [n / m for n, m in zip(shape, field.shape, strict=True)], order=1)


def _depth(inside, hips, spacing):
    """Depth of the body in mm, 45 mm above the hips."""
    z = round(np.mean([hip[2] for hip in hips]) + 45 / spacing[2])
    rows = np.flatnonzero(inside[:, :, z].any(0))
    return (rows[-1] - rows[0]) * spacing[1]


def _signals(rng):
    table = np.full(256, MUSCLE, np.float32)
    table *= rng.normal(1, 0.03, 256)
    table[list(BONES)] = np.array([MARROW, MARROW, SPONGY, SPONGY]) * rng.uniform(0.7, 1.4, 4)
    table[FAT_LABEL] = FAT * rng.uniform(0.7, 1.3)
    table[0] = AIR
    return table


def _planes(labels, rng):
    """Voxels at a muscle's border with another, most of them: a millimetre of fat."""
    lines = np.zeros(labels.shape, bool)
    muscle = (labels > SPINE) & (labels < FAT_LABEL)
    for axis in (0, 1):
        ahead = np.roll(labels, -1, axis)
        lines |= muscle & (ahead != labels) & (ahead > SPINE) & (ahead < FAT_LABEL)
    coarse = _noise(rng, [n // 8 for n in labels.shape], 1.5)
    return lines & (_grown(coarse, labels.shape) > rng.uniform(-1.5, 0.5))


def _belly(rng, shape):
    """Loops of bowel with bright and dark content in fat."""
    loops, content = (_noise(rng, shape, sigma) for sigma in ((4, 4, 3), (2.5, 2.5, 2)))
    low, high = BOWEL
    value = low + (high - low) * np.clip(0.4 + 0.3 * content, 0, 1)
    return np.where(loops > rng.uniform(-0.3, 0.6), value, FAT).astype(np.float32)


def _scanned(water, rng):
    grain = 1 + 0.05 * _noise(rng, water.shape, 0.7)
    bias = 1 + 0.05 * _grown(_noise(rng, [9, 7, 9], 1.5), water.shape)
    seam = rng.integers(60, 150)
    gain = np.where(np.arange(water.shape[2]) > seam, rng.uniform(0.92, 1.08), 1.0)
    water = ndimage.gaussian_filter(water * grain * bias * gain, (0.35, 0.35, 0.3))
    noise = [rng.normal(0, rng.uniform(2, 5), water.shape) for _ in range(2)]
    return np.hypot(water + noise[0], noise[1])


def scans(reference: Path, number: int, seed: int = 1):
    """Yield (name, crops, truths): both sides' normalised crops and masks of each scan."""
    cts = [read_ct(folder) for folder in sorted((reference / "ct_labels").glob("0*"))]
    bodies = sorted((reference / "atlas").glob("0*"))
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(bodies))
    made = 0
    for place in order:
        body = read_body(bodies[place])
        if made == number or not {"1", "2", "11", "12"} <= set(body[1]):
            continue
        water, truth, points = scan(cts[made % len(cts)], body, np.random.default_rng([seed, made]))
        cut = {side: crops.crop(water, points, side) for side in grid.SIDES}
        known = {s: crops.cut(truth, points, s) == grid.SIDES[s] for s in grid.SIDES}
        yield f"CT {made % len(cts) + 1}, body {place + 1}", cut, known
        made += 1


def kept_scans(reference, number, cache):
    """The scans, kept in a folder outside the repository."""
    if cache is None:
        yield from scans(reference, number)
        return
    path = Path(cache) / f"starter-scans-{number}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {}
        for index, (name, cut, known) in enumerate(scans(reference, number)):
            print("painted", name, flush=True)
            arrays[f"{index:03d} {name}"] = np.stack(
                [*cut.values(), *(mask.astype(np.float32) for mask in known.values())]
            ).astype(np.float16)
        np.savez_compressed(path, **arrays)
    with np.load(path, allow_pickle=False) as kept:
        for name in kept:
            array = kept[name]
            yield (
                name[4:],
                dict(zip(grid.SIDES, array[:2].astype(np.float32), strict=True)),
                dict(zip(grid.SIDES, array[2:] > 0.5, strict=True)),
            )


def judge(segmenter, found) -> pd.DataFrame:
    """Dice and volumes of every muscle."""
    rows = []
    for name, cut, known in found:
        predicted = segmenter.predict([cut[side] for side in grid.SIDES])
        for number, side in enumerate(grid.SIDES):
            members = [segmenter.finest(member[number]) for member in predicted]
            mean = np.mean(members, axis=0)
            mask = segmenter.mask(mean).mask
            true = known[side]
            rows.append(
                {
                    "scan": name,
                    "side": side,
                    "dice": segmentation.dice(mask, true),
                    "ml": mask.sum() * grid.VOXEL_ML,
                    "true_ml": true.sum() * grid.VOXEL_ML,
                    "soft_ml": mean.sum() * grid.VOXEL_ML,
                    "missed_ml": (true & ~mask).sum() * grid.VOXEL_ML,
                    "added_ml": (mask & ~true).sum() * grid.VOXEL_ML,
                }
            )
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--weights", type=Path, default=starter.WEIGHTS)
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--threshold", type=float, help="default: the weights' own")
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    segmenter = segmentation.Segmenter.load(
        [given.weights], threshold=given.threshold, flip=given.flip
    )
    rows = judge(segmenter, kept_scans(given.reference, given.scans, given.cache))
    error = 100 * (rows.ml / rows.true_ml - 1)
    print(rows.assign(error=error).round(2).to_string())
    print(
        f"{len(rows)} muscles: Dice mean {rows.dice.mean():.3f}, lowest {rows.dice.min():.3f}; "
        f"volume {100 * (rows.ml.sum() / rows.true_ml.sum() - 1):+.1f} %, "
        f"per muscle {error.mean():+.1f} % (SD {error.std():.1f}, largest {error.abs().max():.1f})"
    )


if __name__ == "__main__":
    main()
