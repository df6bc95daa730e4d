"""Muscles around the iliopsoas, of shoulder, buttock and thigh, and their vessels."""

import numpy as np

from iliopsoas.phantom import shapes, tissues, torso

# z, x, y, r: lines of the thigh's muscles.
THIGH = {
    "rectus femoris": [(0, 106, 58, 10), (-120, 104, 52, 16), (-260, 104, 46, 14), (-350, 102, 34, 4)],
    "vastus lateralis": [(-20, 140, 6, 10), (-150, 148, 16, 26), (-280, 142, 14, 22), (-370, 138, 8, 6)],
    "vastus intermedius": [(-60, 126, 26, 4), (-180, 116, 30, 14), (-300, 110, 24, 12), (-370, 104, 18, 2)],
    "vastus medialis": [(-60, 96, 22, 0), (-180, 86, 30, 12), (-300, 72, 18, 26), (-370, 66, 6, 14)],
    "sartorius": [(0, 84, 62, 6), (-120, 66, 46, 8), (-260, 50, 6, 8), (-380, 48, -22, 8)],
    "adductor longus": [(-30, 56, 26, 14), (-140, 74, 20, 16), (-220, 90, 4, 4), (-300, 92, 0, -8)],
    "adductor magnus": [(-40, 60, -12, 22), (-150, 76, -16, 28), (-260, 74, -14, 16), (-350, 70, -12, 2)],
    "gracilis": [(-40, 26, 4, 8), (-150, 30, -2, 9), (-280, 40, -18, 8), (-380, 48, -30, 6)],
    "semimembranosus": [(-60, 70, -44, 0), (-180, 62, -46, 12), (-280, 66, -44, 18), (-380, 72, -44, 8)],
    "semitendinosus": [(-60, 74, -52, 8), (-180, 82, -62, 14), (-280, 78, -62, 12), (-380, 70, -54, 5)],
    "biceps femoris": [(-60, 90, -52, 6), (-180, 112, -54, 16), (-280, 120, -50, 18), (-380, 128, -40, 8)],
}  # fmt: skip


def thigh(canvas, habitus, side):
    """Muscles of one thigh inside its fat, parted by thin fat planes."""
    levels = [r for r in torso.legs_outline(habitus, 1.0) if r[0] < 0]
    levels.insert(0, (-14.0, 100, 10, 62, 48))
    made = shapes.tube(canvas, side, [(r[0], r[1], r[2], r[3] - 2, r[4] - 2) for r in levels])
    box, lean = made
    knee = habitus.knee_shift
    seeds = [
        [(z, x + knee * np.clip(-z / 400, 0, 1) + (x - 96) * (habitus.limb - 1),
          y * habitus.limb, r) for z, x, y, r in line]
        for line in THIGH.values()
    ]  # fmt: skip
    _, gap = shapes.partition(canvas, box, side, seeds)
    z = canvas.z[box[2]]
    # Above the knee the muscles thin out between fat and tendons.
    thin = np.clip((-300 - z) / 90, 0, 1).astype(np.float32)
    plane = 0.8 * habitus.plane + 9.0 * thin**2
    canvas.paint(box, np.maximum(lean, plane - gap), tissues.THIGH)
    vessel = [(20, 74, 44, 6, 6), (-60, 74, 38, 5.5, 5.5), (-180, 66, 22, 5, 5),
              (-300, 78, -16, 5, 5), (-420, 98, -38, 5, 5)]  # fmt: skip
    canvas.shape_of(shapes.tube(canvas, side, vessel), tissues.BLOOD, tissues.FAT, 2.5)


def buttock(canvas, habitus, side, rise):
    """Gluteal muscles and the small muscles of the pelvis."""
    m = habitus.muscle
    maximus = [(98, 52, -92, 22, 8, 20), (66, 72, -86, 44, 15, 26), (30, 84, -76, 56, 21, 32),
               (-5, 92, -66, 60, 24, 34), (-40, 98, -58, 58, 23, 36), (-75, 106, -46, 46, 17, 40),
               (-110, 118, -32, 26, 9, 48)]  # fmt: skip
    medius = [
        (138, 98, -60, 118, -34, 134, 2, 2, 3, 3),
        (110, 92, -60, 122, -20, 142, 30, 6, 9, 7),
        (80, 88, -54, 120, -8, 134, 42, 9, 14, 9),
        (50, 92, -42, 122, 0, 128, 40, 9, 15, 9),
        (20, 104, -28, 130, 0, 130, 26, 7, 11, 6),
        (-12, 128, -18, 137, -8, 138, 4, 2, 4, 2),
    ]
    minimus = [(96, 92, -30, 108, -4, 118, 28, 1, 2, 1), (70, 88, -26, 105, 2, 114, 34, 3, 6, 4),
               (40, 92, -16, 110, 8, 116, 28, 4, 7, 5), (10, 112, 6, 119, 12, 122, 20, 3, 5, 3),
               (-14, 128, 8, 130, 8, 131, 8, 1, 2, 1)]  # fmt: skip
    thick = [
        [(r[0] + rise, *r[1:7], *(h * m for h in r[7:])) for r in t] for t in (medius, minimus)
    ]
    maximus = [(z + rise, x, y, a, b * m, d) for z, x, y, a, b, d in maximus]
    rim = 0.6 + 0.7 * habitus.plane
    canvas.shape_of(shapes.tube(canvas, side, maximus), tissues.GLUTEAL, tissues.FAT, rim)
    for levels in thick:
        canvas.shape_of(shapes.ribbon(canvas, side, levels), tissues.GLUTEAL, tissues.FAT, rim)
    tensor = [(88, 128, 50, 4, 8), (50, 130, 46, 8, 15), (0, 134, 40, 11, 19), (-60, 138, 30, 9, 18),
              (-120, 146, 18, 3, 10)]  # fmt: skip
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
    square = [(128, 86, -46, 16, 6, 20), (160, 74, -40, 19, 8, 20), (200, 66, -38, 18, 8.5, 15),
              (240, 58, -42, 15, 7, 10), (268, 50, -48, 10, 5, 0)]  # fmt: skip
    for levels in (erector, square):
        grown = [(z, x, y, a * m, b * m, d) for z, x, y, a, b, d in levels]
        canvas.shape_of(shapes.tube(canvas, side, grown), tissues.PSOAS_NEIGHBOUR, tissues.FAT, rim)


def girdle(canvas, habitus, side, x, z, lean):
    """Shoulder: deltoid, pectoral, back and rotator muscles parted by fat."""
    box = canvas.box(sorted((side * 35, side * (x + 75))), (-125, 125), (z - 130, z + 60))
    seeds = [
        [(z - 120, x + 34, 8, 12), (z + 40, x + 22, 8, 16)],
        [(z - 120, x + 22, -30, 8), (z + 40, x + 8, -36, 10)],
        [(z - 120, 80, 90, 22), (z, 90, 62, 20), (z + 40, 80, 50, 5)],
        [(z - 120, 105, -96, 18), (z, 92, -86, 14), (z + 50, 50, -60, 16)],
        [(z - 120, 110, -60, 8), (z, 110, -48, 14), (z + 40, 100, -40, 5)],
        [(z - 120, x + 8, 10, 6), (z, 134, 22, 8), (z + 40, 120, 10, 0)],
        [(z - 120, 60, -90, 8), (z, 56, -70, 12), (z + 50, 34, -50, 18)],
        [(z - 120, 140, -50, 10), (z, 130, -20, 8), (z + 40, 120, -20, 0)],
    ]
    _, gap = shapes.partition(canvas, box, side, seeds)
    window = tuple(
        slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, lean[0], strict=True)
    )
    inner = np.full(gap.shape, 1e3, np.float32)
    if all(w.start >= 0 for w in window):
        part = lean[1][window]
        inner[: part.shape[0], : part.shape[1], : part.shape[2]] = part
    zz = canvas.z[box[2]]
    where = np.clip((zz - (z - 120)) / 25, 0, 1)[None, None]
    plane = 1.0 * habitus.plane
    canvas.paint(box, np.minimum(inner, 50.0), tissues.FAT, where)
    canvas.paint(box, np.maximum(inner, plane - gap), tissues.SHOULDER, where)


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
    vein = [(142, 6, 8, 6.5, 6), (112, 24, 6, 6.5, 6.5), (78, 38, 10, 6.5, 6.5), (42, 48, 26, 6.5, 6),
            (12, 56, 40, 6.5, 6), (-20, 62, 42, 6, 6)]  # fmt: skip
    for levels in (artery, vein):
        raised = [(z + rise, *rest) for z, *rest in levels]
        canvas.shape_of(shapes.tube(canvas, side, raised), tissues.BLOOD, tissues.VISCERAL_FAT, 1.8)
    nerve = [(60, 76, 26, 2.5, 2.5), (20, 80, 46, 2.5, 2.5), (-20, 82, 48, 2, 2)]
    canvas.shape_of(shapes.tube(canvas, side, nerve), tissues.NERVE, tissues.FAT, 1.0)
