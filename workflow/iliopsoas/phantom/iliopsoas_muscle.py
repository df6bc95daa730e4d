"""The iliopsoas of one side: psoas major, iliacus and their common tendon.

Course and cross-sections follow two public manual CT annotations
(yuta-hi/pelvic-annonation, MIT), measured every 15 mm from the centre of the
femoral head: psoas from the last thoracic vertebra, iliacus from the iliac
fossa, both joining in front of the hip joint and ending at the lesser
trochanter.
"""

import numpy as np

from iliopsoas import grid
from iliopsoas.phantom import shapes

BASE_ML = 200.0  # both annotated muscles of the table below, one side

# z, x, y, a, b, degrees
PSOAS = [
    (274, 23, -39, 2.5, 4, 0),
    (262, 26, -34, 5.0, 8, 0),
    (250, 28, -29, 7.0, 11, 0),
    (236, 30, -23, 8.5, 13, 0),
    (220, 33, -18, 10.5, 14.5, 0),
    (200, 36, -14, 12.5, 16, 0),
    (180, 38, -11, 14.0, 17, -8),
    (162, 40, -9, 15.0, 17, -12),
    (147, 43, -7, 16.0, 16.5, -15),
    (132, 47, -5, 16.0, 16, -15),
    (117, 51, -2, 15.5, 15, -10),
    (102, 55, 1, 14.5, 13.5, 0),
    (87, 58, 5, 13.0, 11.5, 0),
    (72, 62, 10, 12.0, 10.0, 0),
    (57, 66, 16, 11.0, 9.5, 0),
    (42, 70, 22, 10.5, 9.0, 0),
    (27, 75, 29, 10.0, 8.5, 0),
    (10, 80, 34, 9.0, 8.0, 0),
]
TENDON = [
    (38, 84, 36, 8.0, 8.0, 20),
    (22, 86, 38, 14.0, 9.5, 10),
    (8, 87, 37, 15.0, 8.5, 0),
    (-8, 89, 33, 14.5, 8.5, 0),
    (-22, 91, 27, 12.5, 9.5, 0),
    (-36, 94, 20, 10.5, 10.0, 0),
    (-48, 97, 13, 8.0, 8.5, 0),
    (-58, 99, 6, 5.0, 6.0, 0),
    (-64, 100, 2, 2.5, 3.0, 0),
]
# z, back point, middle point, front point, half-thickness at each
ILIACUS = [
    (24, 80, 30, 86, 35, 92, 40, 3.0, 6.0, 3.0),
    (36, 77, 20, 86, 30, 94, 42, 3.0, 7.5, 4.0),
    (48, 72, 10, 83, 24, 95, 44, 3.5, 8.0, 4.0),
    (62, 68, 0, 80, 17, 93, 43, 4.0, 8.5, 4.0),
    (76, 68, -10, 83, 5, 96, 38, 4.5, 8.5, 4.0),
    (90, 70, -17, 89, -5, 104, 32, 4.5, 8.0, 3.5),
    (105, 73, -23, 96, -11, 114, 25, 3.5, 6.5, 3.0),
    (120, 78, -29, 101, -16, 122, 15, 2.0, 4.5, 2.0),
    (134, 85, -33, 104, -24, 122, -2, 0.8, 2.6, 0.8),
    (142, 93, -34, 105, -28, 116, -14, 0.2, 1.0, 0.2),
]


def _smooth_minimum(a, b, reach):
    """Minimum of two distances with a fillet of `reach` mm where they meet."""
    h = np.clip(reach - np.abs(a - b), 0, None) / reach
    return np.minimum(a, b) - h * h * reach / 4


def distance(canvas, habitus, side, volume_ml, rise, rng):
    """Signed distance to the muscle whose voxels on the grid amount to a volume.

    Parameters
    ----------
    canvas : canvas.Canvas
        Already holds the bones: the muscle does not enter them.
    habitus : habitus.Habitus
    side : int
        +1 left, -1 right.
    volume_ml : float
    rise : float
        Canonical millimetres this side stands higher than the middle.
    rng : numpy.random.Generator

    Returns
    -------
    box : tuple of slice
    distance : ndarray
        Negative inside; exactly the voxels below 0 make up the volume, to within
        one voxel.
    """
    across, depth, trunk, _ = canvas.frame.scale
    thickness = np.sqrt(volume_ml / (BASE_ML * across * depth * trunk))
    round_ = habitus.psoas_roundness * rng.lognormal(0, 0.04)
    share = thickness * rng.lognormal(0, 0.04)  # psoas against iliacus
    bulge = rng.normal(0, 1.5, 4)  # where along its course the muscle is fullest
    origin = rng.normal(0, 7.0)

    psoas = []
    for z, x, y, a, b, degrees in PSOAS:
        wave = 1 + 0.06 * np.sin(np.radians(z * 1.6) + bulge[0])
        stretched = z + origin * np.clip((z - 120) / 154, 0, 1)
        grown_a, grown_b = a * share * round_ * wave, b * share / round_ * wave
        # A fuller psoas grows away from the spine.
        psoas.append(
            (
                stretched + rise,
                x + 0.75 * (grown_a - a),
                y + 0.4 * (grown_b - b),
                grown_a,
                grown_b,
                degrees,
            )
        )
    other = thickness**2 / share
    tendon = [
        (z + rise, x, y + 0.5 * b * (other - 1), a * other, b * other, degrees)
        for z, x, y, a, b, degrees in TENDON
    ]
    iliacus = [
        (z + rise, *points, *(h * other**1.6 for h in halves))
        for z, *rest in ILIACUS
        for points, halves in [(rest[:6], rest[6:])]
    ]
    box = canvas.box(sorted((side * 5, side * 150)), (-65, 80), (-85, 310))
    shape = tuple(s.stop - s.start for s in box)
    total = np.full(shape, 1e3, np.float32)
    for part, reach in (
        (shapes.tube(canvas, side, psoas), 3.0),
        (shapes.ribbon(canvas, side, iliacus), 3.0),
        (shapes.tube(canvas, side, tendon), 9.0),
    ):
        inner, values = part
        window = tuple(
            slice(max(i.start, o.start) - o.start, min(i.stop, o.stop) - o.start)
            for i, o in zip(inner, box, strict=True)
        )
        cut = tuple(
            slice(w.start + o.start - i.start, w.stop + o.start - i.start)
            for w, i, o in zip(window, inner, box, strict=True)
        )
        total[window] = _smooth_minimum(total[window], values[cut], reach)
    return box, total


def fit_volume(box, field, blocked, volume_ml):
    """Shift a distance so that the free voxels below 0 amount to a volume.

    Parameters
    ----------
    field : ndarray
        Distance, negative inside.
    blocked : ndarray of bool
        Voxels that cannot be muscle.
    volume_ml : float

    Returns
    -------
    ndarray
        Distance; blocked voxels are far outside.

    Raises
    ------
    ValueError
        Where the box cannot hold the volume.
    """
    wanted = round(volume_ml / grid.VOXEL_ML)
    free = np.where(blocked, np.float32(1e3), field)
    if wanted < 1 or wanted >= np.count_nonzero(free < 12.0):
        raise ValueError(
            f"iliopsoas of {volume_ml:.1f} ml does not fit the body; expected about 30 to 500 ml"
        )
    level = np.partition(free, wanted - 1, axis=None)[wanted - 1]
    return free - level - np.float32(1e-5)
