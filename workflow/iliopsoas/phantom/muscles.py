"""Muscles around the iliopsoas, of shoulder, buttock and thigh, and their vessels."""

import numpy as np

from iliopsoas.phantom import shapes, tissues, torso

# z, x, y, r: lines of the thigh's muscles.
THIGH = {
    "rectus femoris": [
        (0, 106, 58, 10),
        (-120, 104, 52, 16),
        (-260, 104, 46, 14),
        (-350, 102, 34, 4),
    ],
    "vastus lateralis": [
        (-20, 140, 6, 10),
        (-150, 148, 16, 26),
        (-280, 142, 14, 22),
        (-370, 138, 8, 6),
    ],
    "vastus intermedius": [
        (-60, 126, 26, 4),
        (-180, 116, 30, 14),
        (-300, 110, 24, 12),
        (-370, 104, 18, 2),
    ],
    "vastus medialis": [
        (-60, 96, 22, 0),
        (-180, 86, 30, 12),
        (-300, 72, 18, 26),
        (-370, 66, 6, 14),
    ],
    "sartorius": [(0, 84, 62, 6), (-120, 66, 46, 8), (-260, 50, 6, 8), (-380, 48, -22, 8)],
    "adductor longus": [(-30, 56, 26, 14), (-140, 74, 20, 16), (-220, 90, 4, 4), (-300, 92, 0, -8)],
    "adductor magnus": [
        (-40, 60, -12, 22),
        (-150, 76, -16, 28),
        (-260, 74, -14, 16),
        (-350, 70, -12, 2),
    ],
    "gracilis": [(-40, 26, 4, 8), (-150, 30, -2, 9), (-280, 40, -18, 8), (-380, 48, -30, 6)],
    "semimembranosus": [
        (-60, 70, -44, 0),
        (-180, 62, -46, 12),
        (-280, 66, -44, 18),
        (-380, 72, -44, 8),
    ],
    "semitendinosus": [
        (-60, 74, -52, 8),
        (-180, 82, -62, 14),
        (-280, 78, -62, 12),
        (-380, 70, -54, 5),
    ],
    "biceps femoris": [
        (-60, 90, -52, 6),
        (-180, 112, -54, 16),
        (-280, 120, -50, 18),
        (-380, 128, -40, 8),
    ],
}


def thigh(canvas, habitus, side):
    """Muscles of one thigh inside its fat, parted by thin fat planes."""
    levels = [r for r in torso.legs_outline(habitus, 1.0) if r[0] < 0]
    top = [
        (0.0, 108, 42, 12, 8),
        (-14.0, 100, 22, 34, 24),
        (-24.0, 98, 12, 50, 42),
        (-40.0, 97, 0, 67, 62),
    ]
    levels = top + [r for r in levels if r[0] < -50]
    made = shapes.tube(canvas, side, [(*r[:3], r[3] - 2, r[4] - 2) for r in levels])
    box, lean = made
    knee = habitus.knee_shift
    seeds = [
        [
            (
                z,
                x + knee * np.clip(-z / 400, 0, 1) + (x - 96) * (habitus.limb - 1),
                y * habitus.limb,
                r,
            )
            for z, x, y, r in line
        ]
        for line in THIGH.values()
    ]
    _, gap = shapes.partition(canvas, box, side, seeds)
    z = canvas.z[box[2]]
    # Above the knee the muscles thin out between fat and tendons.
    thin = np.clip((-325 - z) / 80, 0, 1).astype(np.float32)
    plane = 0.8 * habitus.plane + 9.0 * thin**2
    canvas.paint(box, np.maximum(lean, plane - gap), tissues.THIGH)
    vessel = [
        (20, 74, 44, 6, 6),
        (-60, 74, 38, 5.5, 5.5),
        (-180, 66, 22, 5, 5),
        (-300, 78, -16, 5, 5),
        (-420, 98, -38, 5, 5),
    ]
    canvas.shape_of(shapes.tube(canvas, side, vessel), tissues.BLOOD, tissues.FAT, 2.5)


def calf(canvas, habitus, side):
    """Muscles of the lower leg, as far as it is seen."""
    levels = [(-415, 99, -28, 26, 22), (-440, 99, -24, 40, 36)]
    levels += [
        (r[0], r[1], r[2], 0.96 * r[3], 0.96 * r[4])
        for r in torso.legs_outline(habitus, 1.0)
        if r[0] < -460
    ]
    shape = shapes.tube(canvas, side, levels)
    if shape is None:
        return
    knee = 100 + habitus.knee_shift
    seeds = [
        [(-400, knee + dx, dy, r), (-700, knee + 0.7 * dx, 0.7 * dy, r)]
        for dx, dy, r in ((-24, -46, 14), (24, -46, 12), (2, -28, 8), (26, 14, 8), (34, -8, 2))
    ]
    _, gap = shapes.partition(canvas, shape[0], side, seeds)
    canvas.paint(shape[0], np.maximum(shape[1], 0.8 * habitus.plane - gap), tissues.THIGH)


def buttock(canvas, habitus, side, rise):
    """Gluteal muscles and the small muscles of the pelvis."""
    m = habitus.muscle
    maximus = [
        (104, 26, -94, 54, -90, 76, -78, 3, 5, 2),
        (70, 28, -95, 74, -88, 106, -62, 8, 14, 6),
        (30, 28, -92, 84, -84, 126, -48, 10, 20, 8),
        (-5, 30, -86, 90, -78, 140, -36, 12, 23, 9),
        (-40, 36, -78, 96, -70, 146, -28, 12, 23, 9),
        (-75, 50, -72, 104, -60, 148, -24, 8, 18, 8),
        (-110, 90, -58, 118, -44, 144, -22, 3, 10, 5),
        (-132, 118, -42, 128, -36, 138, -28, 1, 3, 1),
    ]
    medius = [
        (146, 98, -58, 120, -34, 136, 0, 1.5, 3, 2),
        (120, 96, -60, 129, -20, 146, 26, 6, 10, 8),
        (90, 92, -56, 131, -8, 140, 40, 9, 16, 10),
        (60, 92, -48, 133, 0, 134, 42, 9, 18, 11),
        (30, 102, -36, 135, 4, 134, 34, 9, 17, 10),
        (5, 116, -24, 140, 2, 138, 22, 7, 12, 7),
        (-20, 130, -14, 144, -6, 144, 6, 3, 7, 3),
        (-40, 138, -10, 144, -8, 146, 0, 1, 2, 1),
    ]
    minimus = [
        (100, 94, -28, 108, -4, 120, 28, 1, 2, 1),
        (70, 90, -24, 107, 2, 115, 34, 3, 6, 4),
        (40, 94, -14, 112, 8, 117, 28, 4, 7, 5),
        (10, 112, 6, 119, 12, 122, 20, 3, 6, 3),
        (-14, 128, 8, 130, 8, 131, 8, 1, 2, 1),
    ]
    rim = 0.6 + 0.7 * habitus.plane
    for levels in (maximus, medius, minimus):
        slim = 18 * (1 - m)
        thick = [
            (
                r[0] + rise,
                r[1],
                r[2],
                r[3] - slim,
                r[4],
                r[5] - slim,
                *r[6:7],
                *(h * m for h in r[7:]),
            )
            for r in levels
        ]
        canvas.shape_of(shapes.ribbon(canvas, side, thick), tissues.GLUTEAL, tissues.FAT, rim)
    tensor = [
        (88, 128, 50, 4, 8),
        (50, 130, 46, 8, 15),
        (0, 134, 40, 11, 19),
        (-60, 138, 30, 9, 18),
        (-120, 146, 18, 3, 10),
    ]
    canvas.shape_of(shapes.tube(canvas, side, tensor), tissues.THIGH, tissues.FAT, rim)
    inner = [
        (40, 58, -20, 62, 0, 66, 16, 2, 4, 3),
        (0, 48, -34, 54, -4, 54, 20, 3, 6, 4),
        (-40, 38, -28, 44, -6, 36, 14, 4, 8, 5),
        (-60, 42, -22, 42, -8, 38, 4, 2, 5, 2),
    ]
    canvas.shape_of(shapes.ribbon(canvas, side, inner), tissues.PELVIC_MUSCLE, tissues.FAT, rim)
    outer = [
        (-20, 66, -26, 70, -4, 66, 22, 4, 9, 7),
        (-55, 60, -30, 66, -4, 58, 20, 6, 12, 8),
        (-75, 64, -20, 70, -2, 66, 12, 2, 6, 3),
    ]
    canvas.shape_of(shapes.ribbon(canvas, side, outer), tissues.THIGH, tissues.FAT, rim)


def back(canvas, habitus, side):
    """Quadratus lumborum and erector spinae."""
    m = habitus.muscle
    rim = 0.6 + 0.7 * habitus.plane
    erector = [
        (40, 24, -92, 14, 7, 0),
        (90, 30, -84, 24, 17, 8),
        (140, 36, -72, 32, 22, 10),
        (200, 38, -72, 33, 22, 8),
        (280, 38, -82, 32, 18, 0),
        (380, 36, -94, 30, 13, 0),
        (480, 30, -90, 26, 13, 0),
        (560, 24, -72, 22, 16, 0),
        (620, 20, -52, 20, 16, 0),
    ]
    square = [
        (128, 86, -46, 16, 6, 20),
        (160, 74, -40, 19, 8, 20),
        (200, 66, -38, 18, 8.5, 15),
        (240, 58, -42, 15, 7, 10),
        (268, 50, -48, 10, 5, 0),
    ]
    for levels in (erector, square):
        grown = [(z, x, y, a * m, b * m, d) for z, x, y, a, b, d in levels]
        canvas.shape_of(shapes.tube(canvas, side, grown), tissues.PSOAS_NEIGHBOUR, tissues.FAT, rim)


def girdle(canvas, habitus, side, x, z, lean_levels):
    """Shoulder and neck: deltoid, pectoral, back and rotator muscles parted by fat."""
    box = canvas.box(sorted((side * 6, side * (x + 60))), (-120, 120), (z - 150, z + 170))
    if box is None:
        return
    _, lean = shapes.outline(canvas, lean_levels, box)
    arm = torso.arm_outline(habitus, x, z)
    trim = 0.3 * habitus.subcutaneous + 2
    shoulder = [(r[0], *r[1:3], max(r[3] - trim, 2), max(r[4] - trim, 2)) for r in arm[:6]]
    lean = np.minimum(lean, shapes.merge(box, [shapes.tube(canvas, side, shoulder)]))
    seeds = [
        [(z - 150, x + 40, -6, 6), (z - 90, x + 34, 2, 12), (z + 40, x + 22, 6, 14)],  # deltoid
        [(z - 150, x + 22, -40, 8), (z + 40, x + 8, -36, 10)],  # triceps, rear deltoid
        [(z - 150, x + 10, 12, 6), (z - 60, x - 4, 14, 6), (z + 30, x - 20, 20, 0)],  # biceps
        [(z - 150, 80, 92, 22), (z - 40, 100, 70, 22), (z + 40, 80, 50, 5)],  # pectoral
        [(z - 150, 125, -80, 18), (z - 60, 120, -80, 14), (z + 10, 90, -86, 8)],  # latissimus
        [(z - 150, 90, -70, 4), (z, 112, -46, 16), (z + 30, 90, -40, 8)],  # rotators
        [(z - 150, 50, -98, 8), (z, 56, -78, 12), (z + 50, 44, -56, 18), (z + 170, 30, -50, 16)],
        [(z - 150, 140, -30, 8), (z - 40, 134, -14, 12), (z + 20, 116, -4, 6)],  # subscapular
        [(z, 44, 48, -10), (z + 60, 36, 42, 8), (z + 170, 46, 20, 8)],  # neck, front
        [(z, 34, 4, 2), (z + 60, 30, 2, 12), (z + 170, 28, -6, 10)],  # neck, side
    ]
    _, gap = shapes.partition(canvas, box, side, seeds)
    height = canvas.z[box[2]]
    where = np.clip((height - (z - 145)) / 40, 0, 1)[None, None]
    canvas.paint(box, np.maximum(lean, -60.0), tissues.FAT, where)
    canvas.paint(box, np.maximum(lean, 1.1 * habitus.plane - gap), tissues.SHOULDER, where)
    axilla = [
        (z - 172, x - 18, -8, 2, 4),
        (z - 150, x - 22, -6, 9, 16),
        (z - 110, x - 28, 0, 15, 24),
        (z - 70, x - 38, 8, 13, 20),
        (z - 35, x - 52, 16, 7, 10),
    ]
    canvas.shape_of(shapes.tube(canvas, side, axilla), tissues.FAT)
    vessel = [
        (z - 150, x - 16, 0, 3.5, 3.5),
        (z - 80, x - 36, 8, 4, 4),
        (z - 20, x - 62, 20, 4.5, 4.5),
        (z + 10, x - 110, 26, 4.5, 4.5),
    ]
    canvas.shape_of(shapes.tube(canvas, side, vessel), tissues.BLOOD, tissues.FAT, 2.0)


def pelvic_vessels(canvas, side, rise):
    """Iliac and femoral vessels along the inner edge of the psoas."""
    artery = [
        (148, 8, 20, 5.5, 5.5),
        (115, 26, 16, 5.2, 5.2),
        (80, 42, 20, 5, 5),
        (45, 54, 34, 5, 5),
        (15, 66, 46, 5, 5),
        (-20, 70, 46, 5, 5),
    ]
    vein = [
        (142, 6, 8, 6.5, 6),
        (112, 24, 6, 6.5, 6.5),
        (78, 38, 10, 6.5, 6.5),
        (42, 48, 26, 6.5, 6),
        (12, 56, 40, 6.5, 6),
        (-20, 62, 42, 6, 6),
    ]
    for levels in (artery, vein):
        raised = [(z + rise, *rest) for z, *rest in levels]
        canvas.shape_of(shapes.tube(canvas, side, raised), tissues.BLOOD, tissues.VISCERAL_FAT, 1.8)
    nerve = [(60, 76, 26, 2.5, 2.5), (20, 80, 46, 2.5, 2.5), (-20, 82, 48, 2, 2)]
    canvas.shape_of(shapes.tube(canvas, side, nerve), tissues.NERVE, tissues.FAT, 1.0)
