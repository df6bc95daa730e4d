"""Bones, discs and spinal canal."""

import numpy as np

from iliopsoas.phantom import shapes, tissues

HEAD_RADIUS_MM = 24.0
SHOULDER_Y_MM = 11.0

# Centre line of the spine: z, y.
SPINE = np.array(
    [
        (60, -50), (80, -34), (100, -22), (140, -10), (180, -10), (220, -17), (260, -28),
        (300, -40), (350, -54), (400, -62), (450, -62), (500, -52), (560, -30), (620, -8),
        (660, 4),
    ],
    dtype=float,
)  # fmt: skip
DISCS = (95, 139, 184, 223, 262, 297, 330, 360, 388, 415, 441, 466, 490, 513, 535, 555, 573, 591,
         608, 626)  # fmt: skip

ILIUM = [
    (30, 66, -34, 86, -12, 100, 20, 7, 8, 9),
    (46, 64, -46, 86, -20, 103, 30, 7, 7, 8),
    (60, 60, -60, 86, -20, 106, 38, 8, 5.5, 7),
    (75, 56, -70, 88, -24, 110, 46, 8, 4.5, 6),
    (90, 52, -78, 93, -28, 118, 46, 8, 4.0, 6),
    (105, 52, -82, 98, -32, 130, 38, 8, 3.6, 5.5),
    (120, 56, -76, 102, -36, 136, 24, 7, 3.6, 5.5),
    (135, 66, -66, 105, -42, 132, 2, 6, 4.2, 5.5),
    (148, 82, -54, 104, -46, 118, -22, 4, 4.5, 4.5),
]


def hip_axis(habitus):
    """Canonical x of hips and knees."""
    return 89.4, 100.0 + habitus.knee_shift


def pelvis(canvas, habitus, side, rise):
    """Iliac wing, acetabulum, ischium and pubis of one side."""
    hip, _ = hip_axis(habitus)
    ilium = [(z + rise, *rest) for z, *rest in ILIUM]
    canvas.bone(shapes.ribbon(canvas, side, ilium), tissues.ILIUM, 2.0)
    for start, end, r0, r1 in (
        ((70, -20, 34), (64, -30, -10), 13, 12),
        ((64, -30, -10), (58, -38, -58), 12, 14),
        ((74, 14, 8), (12, 22, -38), 10, 9),
        ((9, 18, -34), (9, 12, -62), 8, 7),
        ((12, 10, -64), (50, -32, -68), 6, 8),
    ):
        rod = shapes.capsule(canvas, side, _raise(start, rise), _raise(end, rise), r0, r1)
        canvas.bone(rod, tissues.ILIUM, 2.2)
    # The socket: a thick shell around the head, open below and to the side.
    box = canvas.box(
        sorted((side * (hip - 40), side * (hip + 36))), (-40, 40), (rise - 30, rise + 40)
    )
    x, y, z = canvas.coordinates(box)
    dx, dy, dz = side * x - hip, y, z - rise
    radius = np.sqrt(dx * dx + dy * dy + dz * dz)
    shell = np.abs(radius - HEAD_RADIUS_MM - 8.5) - 5.5
    opening = (0.75 * dx + 0.35 * dy - 0.45 * dz) - 4.0
    canvas.bone((box, np.maximum(shell, opening)), tissues.ILIUM, 2.2)


def femur(canvas, habitus, side, rise):
    """Femur, kneecap, tibia and fibula of one side."""
    hip, knee = hip_axis(habitus)
    centre = (hip, 0.0, rise)
    ball = shapes.ellipsoid(canvas, (side * hip, 0, rise), (HEAD_RADIUS_MM + 3.2,) * 3)
    canvas.paint(*ball, tissues.CARTILAGE)
    shaft = [
        (rise - 34, 119, -4, 15, 14),
        (rise - 58, 117, 0, 16, 15),
        (-90, 116, 5, 14.5, 14),
        (-150, 115 + 0.1 * (knee - 100), 11, 13.5, 13),
        (-230, 111 + 0.4 * (knee - 100), 11, 13.5, 13),
        (-300, 106 + 0.7 * (knee - 100), 4, 15, 14),
        (-345, 102 + knee - 100, -1, 21, 17),
        (-372, knee, 0, 33, 20),
        (-392, knee, 4, 26, 15),
        (-398, knee, 6, 16, 9),
    ]
    canvas.bone(shapes.tube(canvas, side, shaft), cortex_mm=4.5)
    trochanter = shapes.ellipsoid(canvas, (side * 124, -8, rise - 26), (15, 17, 24), 0)
    canvas.bone(trochanter, cortex_mm=2.0)
    lesser = shapes.capsule(canvas, side, (112, -4, rise - 62), (103, -6, rise - 56), 9, 6)
    canvas.bone(lesser, cortex_mm=2.5)
    neck = shapes.capsule(canvas, side, centre, (118, -5, rise - 30), 16, 17)
    canvas.bone(neck, cortex_mm=2.6)
    head = shapes.ellipsoid(canvas, (side * hip, 0, rise), (HEAD_RADIUS_MM,) * 3)
    canvas.bone(head, tissues.FEMORAL_HEAD, 2.0)
    for offset, radius in ((-20, 21), (20, 20)):
        centre = (side * (knee + offset), -10, -386)
        rim = shapes.ellipsoid(canvas, centre, (radius + 2.5, 32.5, 23.5))
        canvas.shape_of(rim, tissues.CARTILAGE, tissues.FAT, 2.5)
        canvas.bone(shapes.ellipsoid(canvas, centre, (radius, 30, 21)), cortex_mm=1.8)
        plate = shapes.ellipsoid(canvas, (side * (knee + offset), -10, -411), (18, 22, 4))
        canvas.shape_of(plate, tissues.CARTILAGE)
    canvas.bone(
        shapes.tube(
            canvas,
            side,
            [(-412, knee, -10, 37, 25), (-428, knee, -10, 33, 23), (-455, knee - 1, -4, 19, 18),
             (-520, knee - 2, 0, 13, 13), (-700, knee - 3, -2, 12, 12)],
        ),
        cortex_mm=3.0,
    )  # fmt: skip
    canvas.bone(shapes.capsule(canvas, side, (knee + 30, -22, -428), (knee + 26, -24, -700), 7))
    canvas.bone(shapes.ellipsoid(canvas, (side * knee, 30, -375), (20, 10, 22)), cortex_mm=2.5)


def spine(canvas, rng):
    """Vertebrae with discs, canal, processes and sacrum."""
    z = canvas.z
    y_spine = np.interp(z, SPINE[:, 0], SPINE[:, 1])
    slope = np.gradient(y_spine, z)
    size = np.interp(z, (60, 140, 260, 400, 560, 650), (25, 25.5, 21.5, 16.5, 12.5, 10))
    levels = [
        (float(h), 0.0, float(np.interp(h, *SPINE.T)), float(np.interp(h, z, size)),
         float(np.interp(h, z, size)) * 0.72)
        for h in np.arange(84, 656, 12)
    ]  # fmt: skip
    canvas.bone(
        shapes.tube(canvas, 1, [
            (94, 0, -30, 30, 17), (80, 0, -42, 52, 20), (55, 0, -60, 50, 18), (28, 0, -75, 36, 13),
            (5, 0, -82, 20, 8), (-14, 0, -78, 9, 6), (-26, 0, -70, 5, 4),
        ]),
        tissues.VERTEBRA, 1.6,
    )  # fmt: skip
    box, body = shapes.tube(canvas, 1, levels)
    canvas.paint(box, body, tissues.CORTEX)
    x, y, zz = canvas.coordinates(box)
    zs = box[2]
    tilted = zz + (y - y_spine[zs]) * slope[zs]
    gap = np.full(tilted.shape, 1e3, np.float32)
    for number, height in enumerate(DISCS):
        half = np.interp(number, (0, 4, 16), (5.6, 4.6, 2.2)) * rng.lognormal(0, 0.08)
        lens = half * (1 - 0.25 * (x / 25) ** 2)
        np.minimum(gap, np.abs(tilted - height) - lens, out=gap)
    canvas.paint(box, np.maximum(body + 1.8, -gap + 1.2), tissues.VERTEBRA)
    canvas.paint(box, np.maximum(body + 0.3, gap + 0.6), tissues.DISC)
    back = y_spine - size * 0.72
    period = np.interp(z, (60, 140, 300, 640), (42, 41, 30, 18))
    phase = np.cumsum(np.gradient(z) / period) * 2 * np.pi
    # Pedicles, transverse and spinous processes: thin bone that comes and goes with the level.
    for reach, offset, depth in ((26, -12, 5), (0, -30, 16)):
        half = 5.0 if reach == 0 else 12 + reach
        rod = [
            (float(h), 0.0, float(np.interp(h, z, back)) + offset,
             half, depth) for h in np.arange(104, 640, 20)
        ]  # fmt: skip
        made = shapes.tube(canvas, 1, rod)
        rhythm = 7.0 * np.cos(phase[made[0][2]]).astype(np.float32)
        canvas.bone((made[0], made[1] + 4.0 - rhythm), tissues.VERTEBRA, 2.0)
    canal = [(float(h), 0.0, float(np.interp(h, z, back)) - 8.5, 9.0, 7.0)
             for h in np.arange(70, 650, 20)]  # fmt: skip
    made = shapes.tube(canvas, 1, canal)
    canvas.shape_of(made, tissues.CANAL, tissues.FAT, 1.5)


def shoulder(canvas, habitus, side, x, z):
    """Humerus, shoulder blade and collar bone of one side."""
    canvas.bone(shapes.tube(canvas, side, arm_axis(habitus, x, z, 11, 11)), cortex_mm=4.0)
    canvas.bone(shapes.ellipsoid(canvas, (side * x, SHOULDER_Y_MM, z), (23, 23, 24)), cortex_mm=2.0)
    blade = shapes.ribbon(canvas, side, [
        (z + 22, 70, -74, 100, -62, x - 22, -34, 1.5, 2, 3),
        (z - 20, 66, -82, 96, -74, x - 30, -32, 1.8, 2, 5),
        (z - 80, 74, -92, 92, -88, 118, -70, 1.8, 2, 4),
        (z - 130, 88, -94, 92, -92, 98, -90, 1.5, 2, 2),
    ])  # fmt: skip
    canvas.bone(blade, tissues.ILIUM, 2.4)
    socket = (x - 25, SHOULDER_Y_MM - 6, z - 4)
    neck = shapes.capsule(canvas, side, (x - 58, -38, z - 14), socket, 6, 13)
    canvas.bone(neck, tissues.ILIUM, 2.2)
    spine = shapes.capsule(canvas, side, (80, -78, z + 2), (x - 8, -24, z + 30), 4, 8)
    canvas.bone(spine, tissues.ILIUM, 2.2)
    collar = shapes.capsule(canvas, side, (14, 38, z - 4), (x - 26, 6, z + 30), 6.5)
    canvas.bone(collar, tissues.MARROW, 2.4)


def arm_axis(habitus, x, z, a, b):
    """Levels of the upper arm's bone or outline about its axis."""
    out = max(0.0, (habitus.width - 1.0) * 130)
    return [
        (z + 10, x, SHOULDER_Y_MM - 1, a, b),
        (z - 40, x + 5 + 0.15 * out, 6, a, b),
        (z - 110, x + 18 + 0.4 * out, -14, a * 0.95, b * 0.95),
        (z - 200, x + 40 + 0.7 * out, -44, a * 0.92, b * 0.92),
        (z - 290, x + 58 + 0.8 * out, -58, a * 0.9, b * 0.9),
    ]


def _raise(point, rise):
    return point[0], point[1], point[2] + rise
