"""The synthetic body: one participant's water, fat and tissue labels on the stitched grid."""

from dataclasses import dataclass

import numpy as np

from iliopsoas import grid
from iliopsoas.phantom import iliopsoas_muscle, muscles, organs, skeleton, tissues, torso
from iliopsoas.phantom.canvas import Canvas
from iliopsoas.phantom.habitus import KNEE_MM, TRUNK_MM, Frame, Habitus


@dataclass(frozen=True)
class Anatomy:
    """One body at rest, before any scanner.

    Attributes
    ----------
    water, fat : ndarray (224, 174, 370), float32
        Signal of water and fat, 0 to 1, on the stitched grid (LAS).
    labels : ndarray (224, 174, 370), uint8
        Tissue labels, see `tissues`.
    iliopsoas : ndarray (224, 174, 370), uint8
        1 = left, 2 = right.
    volume_ml : dict
        Millilitres of "left" and "right", counted in `iliopsoas`.
    landmarks : dict
        Published keys "1", "2" shoulders, "11", "12" hips, "21", "22" knees (right,
        left) to voxel indices (x, y, z); a knee below the field of view is absent.
    """

    water: np.ndarray
    fat: np.ndarray
    labels: np.ndarray
    iliopsoas: np.ndarray
    volume_ml: dict
    landmarks: dict


def build(traits, step: int = 1, draw_form=iliopsoas_muscle.Form.draw) -> Anatomy:
    """Build the body of one participant.

    Parameters
    ----------
    traits : iliopsoas.phantom.traits.Traits
        The same traits give the same body, voxel for voxel.
    step : int
        1, or 2 for a body drawn at half resolution and enlarged: several times
        faster, for tests that need many bodies and no fine detail.
    draw_form : callable
        Draws the `iliopsoas_muscle.Form` of each muscle from a generator.

    Returns
    -------
    Anatomy

    Raises
    ------
    ValueError
        Where a muscle volume cannot be reached in a body of this size.
    """
    rng = np.random.default_rng([traits.seed, 1])
    habitus = Habitus.draw(traits, rng)
    frame = Frame.draw(traits, habitus, rng, step)
    canvas = Canvas(frame, rng)
    shoulders = {
        side: (
            171.0 * (1.03 if not habitus.female else 0.97) * rng.normal(1, 0.02),
            TRUNK_MM + rng.normal(0, 12.0),
        )
        for side in (1, -1)
    }
    rise = {side: side * frame.tilt / 2 for side in (1, -1)}
    body = torso.Torso(canvas, habitus, shoulders)
    body.paint_outline()
    for side in (1, -1):
        muscles.thigh(canvas, habitus, side)
        muscles.calf(canvas, habitus, side)
    body.paint_wall()
    for side in (1, -1):
        muscles.girdle(canvas, habitus, side, *shoulders[side], body.lean_levels)
    body.paint_ribs()
    organs.paint(canvas, habitus, body, rng)
    for side in (1, -1):
        muscles.back(canvas, habitus, side)
        muscles.buttock(canvas, habitus, side, rise[side])
    skeleton.spine(canvas, rng)
    for side in (1, -1):
        skeleton.pelvis(canvas, habitus, side, rise[side])
        skeleton.femur(canvas, habitus, side, rise[side])
        skeleton.shoulder(canvas, habitus, side, *shoulders[side])
    iliopsoas = np.zeros(canvas.shape, np.uint8)
    for side, name, volume in ((1, "left", traits.left_ml), (-1, "right", traits.right_ml)):
        _paint_iliopsoas(
            canvas, habitus, side, grid.SIDES[name], volume, rise[side], draw_form(rng), iliopsoas
        )
    canvas.finished = iliopsoas > 0
    for side in (1, -1):
        muscles.pelvic_vessels(canvas, side, rise[side])
    _texture(canvas, traits, rng)
    np.clip(canvas.water, 0, 1, out=canvas.water)
    np.clip(canvas.fat, 0, 1, out=canvas.fat)
    iliopsoas = _enlarged(iliopsoas, step)
    return Anatomy(
        water=_enlarged(canvas.water, step),
        fat=_enlarged(canvas.fat, step),
        labels=_enlarged(canvas.labels, step),
        iliopsoas=iliopsoas,
        volume_ml={
            name: float(np.count_nonzero(iliopsoas == label) * grid.VOXEL_ML)
            for name, label in grid.SIDES.items()
        },
        landmarks=_landmarks(canvas, habitus, shoulders, rise),
    )


def _paint_iliopsoas(canvas, habitus, side, label, volume_ml, rise, form, mask):
    box, field, iliacus = iliopsoas_muscle.distance(canvas, habitus, side, volume_ml, rise, form)
    bones = tissues.membership((*tissues.BONES, tissues.DISC, tissues.CARTILAGE, tissues.CANAL))
    blocked = bones[canvas.labels[box]]
    blocked |= canvas.x[box] * side < 0
    fitted = iliopsoas_muscle.fit_volume(field, blocked, volume_ml, canvas.frame.voxel_ml)
    free = ~blocked
    rim = 0.5 + 0.7 * habitus.plane
    canvas.paint(box, fitted - rim, tissues.FAT, free)
    canvas.paint(box, fitted, tissues.ILIOPSOAS)
    inside = fitted < 0
    mask[box][inside] = label
    canvas.labels[box][inside] = tissues.ILIOPSOAS.label
    canvas.labels[box][inside & iliacus] = tissues.ILIACUS.label


def _texture(canvas, traits, rng):
    """Grain of every tissue, and fat inside the muscles in streaks along them."""
    grain = canvas.noise(rng, canvas.shape, (2.0, 2.0, 1.8))
    strength = tissues.lookup("texture")[canvas.labels]
    streak = canvas.noise(rng, canvas.shape, (1.5, 1.5, 7.0))
    muscle = tissues.membership(tissues.MUSCLES)[canvas.labels]
    # The exponential keeps the mean: streaks of fat, never less than none.
    share = traits.fat_fraction * np.exp(np.float32(0.65) * streak[muscle] - np.float32(0.21))
    strand = canvas.noise(rng, canvas.shape, (1.5, 1.5, 15.0))[muscle]
    share *= 1 + 4 * np.clip(strand - np.float32(1.3), 0, 1.5)
    np.clip(share, 0, 0.8, out=share)
    canvas.fat[muscle] += canvas.water[muscle] * share
    canvas.water[muscle] *= 1 - share
    grain *= strength
    grain += 1
    canvas.water *= grain
    canvas.fat *= grain


def _enlarged(array, step):
    for axis in range(3 if step > 1 else 0):
        array = np.repeat(array, step, axis=axis)
    return array


def _landmarks(canvas, habitus, shoulders, rise):
    hip, knee = skeleton.hip_axis(habitus)
    step = canvas.frame.step
    points = {}
    for side, keys in ((-1, ("1", "11", "21")), (1, ("2", "12", "22"))):
        x, z = shoulders[side]
        for key, point in zip(
            keys,
            (
                (side * x, skeleton.SHOULDER_Y_MM, z),
                (side * hip, 0.0, rise[side]),
                (side * knee, 0.0, -KNEE_MM),
            ),
            strict=True,
        ):
            voxel = canvas.voxel(*point)
            if voxel is not None:
                points[key] = tuple(round(v * step + (step - 1) / 2) for v in voxel)
    return points
