"""The iliopsoas of one side: psoas major, iliacus and their common tendon.

Course and cross-sections follow two public manual CT annotations
(yuta-hi/pelvic-annonation, MIT), measured every 15 mm from the centre of the
femoral head: psoas from the last thoracic vertebra, iliacus from the iliac
fossa, both joining in front of the hip joint and ending at the lesser
trochanter.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.phantom import shapes

THINNEST, THICKEST = 0.4, 1.75  # thickness against the annotated muscles
BASE_ML = 200.0  # both annotated muscles of the table below, one side

# z, x, y, a, b, degrees
PSOAS = [
    (274, 23, -39, 2.5, 4, 0),
    (262, 26, -34, 4.5, 8, 0),
    (250, 28, -30, 6.5, 11, 0),
    (236, 29, -26, 8.5, 13, 0),
    (220, 31, -21, 10.5, 14.5, 0),
    (200, 34, -17, 12.5, 16, 0),
    (180, 37, -14, 14.5, 17.5, -8),
    (162, 40, -12, 16.0, 18, -12),
    (147, 43, -10, 17.0, 18, -15),
    (132, 47, -8, 17.5, 18, -15),
    (117, 51, -7, 17.5, 17, -10),
    (102, 56, -5, 17.0, 16, 0),
    (87, 60, -2, 15.5, 14.5, 0),
    (72, 64, 2, 14.0, 13.0, 0),
    (57, 68, 8, 12.5, 12.0, 0),
    (42, 72, 16, 11.5, 11.0, 0),
    (27, 76, 25, 10.5, 9.5, 0),
    (10, 80, 33, 9.0, 8.0, 0),
]
TENDON = [
    (38, 84, 34, 8.0, 8.0, 20),
    (22, 86, 37, 14.0, 9.5, 10),
    (8, 87, 36.5, 15.0, 9.0, 0),
    (-8, 89, 33, 14.5, 9.0, 0),
    (-22, 92, 27, 12.5, 9.5, 0),
    (-36, 95, 20, 10.5, 10.0, 0),
    (-48, 98, 13, 8.0, 8.5, 0),
    (-58, 100, 6, 5.0, 6.0, 0),
    (-64, 101, 2, 2.5, 3.0, 0),
]
# z, back point, middle point, front point, half-thickness at each
ILIACUS = [
    (24, 80, 30, 86, 35, 92, 40, 3.0, 6.0, 3.0),
    (36, 78, 18, 86, 28, 94, 41, 4.0, 8.0, 4.0),
    (48, 73, 2, 83, 18, 95, 41, 5.0, 9.0, 4.5),
    (62, 71, -8, 82, 9, 95, 41, 6.0, 9.5, 4.5),
    (76, 71, -16, 85, -1, 98, 37, 6.5, 10.0, 4.5),
    (90, 74, -21, 90, -9, 106, 32, 6.5, 9.5, 4.5),
    (105, 77, -27, 96, -15, 115, 24, 5.0, 8.5, 4.0),
    (120, 82, -32, 101, -21, 123, 13, 3.5, 6.5, 3.0),
    (134, 88, -36, 105, -28, 123, -4, 1.8, 4.2, 1.6),
    (145, 95, -38, 107, -32, 118, -17, 0.3, 1.6, 0.3),
]


@dataclass(frozen=True)
class Form:
    """How one muscle differs from the annotated ones, its volume apart.

    Lengths are canonical millimetres; factors are 1 for the annotated muscles.

    Attributes
    ----------
    roundness : float
        Psoas: width over depth.
    share : float
        Thickness of psoas against iliacus and tendon.
    bulge : tuple of float
        Amplitude and phase (radians) of the psoas's fullness along its course.
    origin : float
        How far the psoas begins higher.
    psoas_shift, iliacus_shift : tuple of float
        Outwards and to the front.
    iliacus_reach, iliacus_thickness : float
        How far the sheet reaches along the ilium, and how thick it is.
    iliacus_top, insertion : float
        How far the iliacus ends higher, and the tendon lower.
    """

    roundness: float = 1.0
    share: float = 1.0
    bulge: tuple[float, float] = (0.06, 0.0)
    origin: float = 0.0
    psoas_shift: tuple[float, float] = (0.0, 0.0)
    iliacus_shift: tuple[float, float] = (0.0, 0.0)
    iliacus_reach: float = 1.0
    iliacus_thickness: float = 1.0
    iliacus_top: float = 0.0
    insertion: float = 0.0

    @classmethod
    def draw(cls, rng):
        """A muscle of the synthetic cohort."""
        return cls(
            roundness=rng.lognormal(0, 0.04),
            share=rng.lognormal(0, 0.04),
            bulge=(0.06, rng.normal(0, 1.5, 4)[0]),
            origin=rng.normal(0, 7.0),
        )

    @classmethod
    def draw_widely(cls, rng):
        """A muscle of a domain-randomised body: shapes well beyond what is usual."""
        return cls(
            roundness=rng.lognormal(0, 0.17),
            share=rng.lognormal(0, 0.12),
            bulge=(rng.uniform(0, 0.15), rng.uniform(0, 2 * np.pi)),
            origin=rng.normal(0, 13.0),
            psoas_shift=tuple(rng.normal(0, (3.0, 4.0))),
            iliacus_shift=tuple(rng.normal(0, (1.5, 2.0))),
            iliacus_reach=rng.lognormal(0, 0.13),
            iliacus_thickness=rng.lognormal(0, 0.2),
            iliacus_top=rng.normal(0, 8.0),
            insertion=rng.normal(0, 5.0),
        )


def distance(canvas, habitus, side, volume_ml, rise, form: Form):
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
    form : Form

    Returns
    -------
    box : tuple of slice
    distance : ndarray
        Negative inside; about the volume, see `fit_volume`.
    iliacus : ndarray of bool
        Nearer to the iliacus than to the psoas.

    Raises
    ------
    ValueError
        Where the volume is out of proportion to the body.
    """
    across, depth, trunk, _ = canvas.frame.scale
    thickness = np.sqrt(max(volume_ml, 0) / (BASE_ML * across * depth * trunk))
    if not THINNEST < thickness < THICKEST:
        raise ValueError(
            f"iliopsoas of {volume_ml:.1f} ml does not fit the body; expected about "
            f"{BASE_ML * THINNEST**2:.0f} to {BASE_ML * THICKEST**2:.0f} ml per side"
        )
    round_ = habitus.psoas_roundness * form.roundness
    share = thickness * form.share
    amplitude, phase = form.bulge

    psoas = []
    for z, x, y, a, b, degrees in PSOAS:
        wave = 1 + amplitude * np.sin(np.radians(z * 1.6) + phase)
        stretched = z + form.origin * np.clip((z - 120) / 154, 0, 1)
        grown_a, grown_b = a * share * round_ * wave, b * share / round_ * wave
        # A fuller psoas grows away from the spine, and in the fossa towards the vessels.
        spread = -0.5 + 1.4 * np.clip((z - 85) / 50, 0, 1)
        psoas.append(
            (
                stretched + rise,
                x + spread * (grown_a - a) + form.psoas_shift[0],
                y + 0.3 * (grown_b - b) + form.psoas_shift[1],
                grown_a,
                grown_b,
                degrees,
            )
        )
    other = thickness**2 / share
    tendon = [
        (z + rise + form.insertion * min(z, 0) / 64, x, y + 0.5 * b * (other - 1), a * other,
         b * other, degrees)
        for z, x, y, a, b, degrees in TENDON
    ]  # fmt: skip
    iliacus = [
        (
            z + rise + form.iliacus_top * np.clip((z - 70) / 75, 0, 1),
            *_reaching(points, form),
            *(h * other**1.6 * form.iliacus_thickness for h in halves),
        )
        for z, *rest in ILIACUS
        for points, halves in [(rest[:6], rest[6:])]
    ]
    box = canvas.box(sorted((side * 5, side * 160)), (-75, 90), (-95, 330))
    psoas = shapes.merge(box, [shapes.tube(canvas, side, psoas)])
    iliacus = shapes.merge(box, [shapes.ribbon(canvas, side, iliacus)])
    tendon = shapes.merge(box, [shapes.tube(canvas, side, tendon)])
    muscle = shapes.smooth_minimum(psoas, iliacus, 6.0)
    return box, shapes.smooth_minimum(muscle, tendon, 10.0), np.minimum(iliacus, tendon) < psoas


def _reaching(points, form):
    """The three points (x, y) of a level of the iliacus, spread about the middle one."""
    x, y = points[0::2], points[1::2]
    for px, py in zip(x, y, strict=True):
        yield px + (form.iliacus_reach - 1) * (px - x[1]) + form.iliacus_shift[0]
        yield py + (form.iliacus_reach - 1) * (py - y[1]) + form.iliacus_shift[1]


def fit_volume(field, blocked, volume_ml, voxel_ml=grid.VOXEL_ML):
    """Shift a distance so that the free voxels below 0 amount to a volume.

    Parameters
    ----------
    field : ndarray
        Distance, negative inside.
    blocked : ndarray of bool
        Voxels that cannot be muscle.
    volume_ml, voxel_ml : float

    Returns
    -------
    ndarray
        Distance; blocked voxels are far outside.

    Returned voxels below 0 hang together; their number is the volume's, bar ties.
    """
    wanted = round(volume_ml / voxel_ml)
    free = np.where(blocked, np.float32(1e3), field)
    while True:
        level = np.partition(free, wanted - 1, axis=None)[wanted - 1]
        inside = free <= level
        pieces, count = ndimage.label(inside)
        if count <= 1 or level > 100:
            return free - level - np.float32(1e-5)
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        free[inside & (pieces != sizes.argmax())] = 1e3  # specks beyond bone are no muscle
