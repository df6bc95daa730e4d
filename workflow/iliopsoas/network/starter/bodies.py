"""A bank of synthetic bodies as label maps: what the domain randomisation deforms and paints.

A body is drawn once, in seconds, and kept on disk; thousands of samples come from each.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from iliopsoas import files, grid
from iliopsoas.phantom import anatomy, tissues
from iliopsoas.phantom.iliopsoas_muscle import BASE_ML, Form
from iliopsoas.phantom.traits import Traits

FORMAT = 1
ROWS = slice(20, 154)  # the crop's rows 39 to 134, and what a deformation may bring in
BELOW, ABOVE = 92, 162  # slices kept about the hips
LIMIT_MM, STEPS_PER_MM = 12.0, 10.0  # distances are kept to a tenth of a millimetre
MUSCLE = (tissues.ILIOPSOAS.label, tissues.ILIACUS.label)


@dataclass(frozen=True)
class Body:
    """One body of the bank.

    Attributes
    ----------
    around : ndarray (x, y, z), uint8
        Labels of `phantom.tissues`; where the iliopsoas was, fat.
    muscle : ndarray (x, y, z), int8
        Signed distance to the iliopsoas's surface in tenths of a millimetre, negative inside.
    iliacus : ndarray (x, y, z), bool
        Nearer to iliacus or tendon than to psoas.
    landmarks : dict
        As for `crops.box`, in the stitched grid's voxels.
    origin : tuple of int
        Voxel of the stitched grid that the arrays begin at.
    """

    around: np.ndarray
    muscle: np.ndarray
    iliacus: np.ndarray
    landmarks: dict
    origin: tuple


def draw_traits(number: int, seed: int) -> Traits:
    """Body `number` of a bank: sizes well beyond a cohort's, muscles wasted to bulky."""
    rng = np.random.default_rng([seed, 505, number])
    sex = ("female", "male")[number % 2]
    height = float(np.clip(rng.normal(164 if sex == "female" else 177, 9), 145, 202))
    bmi = float(np.clip(rng.lognormal(np.log(26.5), 0.2), 17, 44))
    # BASE_ML is that of a body of middle size: see iliopsoas_muscle.distance
    size = (height / 169) ** 1.85
    middle = BASE_ML * size * rng.uniform(0.62, 1.9)
    asymmetry = rng.normal(0, 0.06)
    return Traits(
        sex=sex,
        age=float(rng.integers(44, 83)),
        height_cm=height,
        weight_kg=bmi * (height / 100) ** 2,
        left_ml=middle * (1 + asymmetry),
        right_ml=middle * (1 - asymmetry),
        fat_fraction=0.0,
        seed=int(rng.integers(2**31)),
    )


def draw_body(number: int, seed: int) -> Body:
    """Draw body `number` of the bank of a seed."""
    body = anatomy.build(draw_traits(number, seed), draw_form=Form.draw_widely)
    hip = (body.landmarks["11"][2] + body.landmarks["12"][2]) // 2
    low = max(hip - BELOW, 0)
    place = np.s_[:, ROWS, low : hip + ABOVE]
    labels = body.labels[place].copy()
    inside = np.isin(labels, MUSCLE)
    distance, iliacus = _distance(inside, labels == tissues.ILIACUS.label)
    labels[inside] = tissues.FAT.label
    landmarks = {key: tuple(map(int, point)) for key, point in body.landmarks.items()}
    return Body(labels, distance, iliacus, landmarks, (0, ROWS.start, low))


def open_bank(folder, number: int, seed: int, report=None) -> list[Body]:
    """The bodies of a bank, drawn where they are missing; read from disk as they are needed.

    Parameters
    ----------
    folder : path
    number : int
        Bodies in the bank.
    seed : int
    report : callable, optional
        Called with (done, number) after each body that had to be drawn.
    """
    folder = Path(folder)
    bodies = []
    for index in range(number):
        mark = files.fingerprint("body", FORMAT, index, seed)[:16]
        path = folder / f"{seed}-{index:03d}-{mark}.npz"
        if not path.exists():
            body = draw_body(index, seed)
            folder.mkdir(parents=True, exist_ok=True)
            with files.atomic(path) as temporary, open(temporary, "wb") as file:
                points = np.array([body.landmarks[key] for key in _JOINTS])
                np.savez(
                    file,
                    around=body.around,
                    muscle=body.muscle,
                    iliacus=body.iliacus,
                    landmarks=points,
                    origin=body.origin,
                )
            if report:
                report(index + 1, number)
        with np.load(path, allow_pickle=False) as kept:
            landmarks = dict(zip(_JOINTS, map(tuple, kept["landmarks"].tolist()), strict=True))
            arrays = (kept["around"], kept["muscle"], kept["iliacus"])
            bodies.append(Body(*arrays, landmarks, tuple(kept["origin"].tolist())))
    return bodies


_JOINTS = ("1", "2", "11", "12")


def _distance(inside, iliacus):
    """Signed distance in steps, and which part of the muscle each voxel is nearest to."""
    distance = np.full(inside.shape, round(LIMIT_MM * STEPS_PER_MM), np.int8)
    near = np.zeros(inside.shape, bool)
    reach = [int(np.ceil(LIMIT_MM / mm)) + 1 for mm in grid.SPACING_MM]
    for part in ndimage.find_objects(ndimage.label(inside)[0]):
        box = tuple(
            slice(max(s.start - r, 0), s.stop + r) for s, r in zip(part, reach, strict=True)
        )
        outer, index = ndimage.distance_transform_edt(
            ~inside[box], grid.SPACING_MM, return_indices=True
        )
        inner = ndimage.distance_transform_edt(inside[box], grid.SPACING_MM)
        # half a voxel to the surface from the voxels on either side of it
        signed = np.where(inside[box], 1.1 - inner, outer - 1.1)
        signed = np.clip(signed, -LIMIT_MM, LIMIT_MM)
        steps = np.rint(signed * STEPS_PER_MM).astype(np.int8)
        np.minimum(distance[box], steps, out=distance[box])
        near[box] |= iliacus[box][tuple(index)]
    return distance, near
