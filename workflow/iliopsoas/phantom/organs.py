"""What the trunk holds: lungs, heart, liver, bowel and the rest, and the great vessels."""

import numpy as np

from iliopsoas.phantom import shapes, tissues


def paint(canvas, habitus, body, rng):
    """Fill the cavity of the trunk.

    Parameters
    ----------
    canvas : canvas.Canvas
    habitus : habitus.Habitus
    body : torso.Torso
    rng : numpy.random.Generator
    """
    box, cavity = body.cavity
    canvas.paint(box, cavity, tissues.VISCERAL_FAT)
    columns = np.array(body.cavity_levels)
    width = float(np.interp(250, columns[:, 0], columns[:, 1]))
    front = float(np.interp(250, columns[:, 0], columns[:, 2]))
    middle = (front - 60) / 2
    x, y, z = canvas.coordinates(box)
    inside = cavity + 2.0
    breath = rng.normal(0, 7)
    bend = (y - middle) ** 2
    dome = np.maximum(
        428 + breath - 0.0085 * (x + 55) ** 2 - 0.0045 * bend,
        412 + breath - 0.0095 * (x - 60) ** 2 - 0.0045 * bend,
    )
    under = (z - dome + 5.0) * np.float32(0.85)
    _lungs(canvas, rng, box, inside, dome)
    liver = _liver(canvas, rng, box, inside, under, middle, width)
    _bowel(canvas, habitus, rng, box, inside, under, liver, width, front)
    canvas.paint(box, np.maximum(np.abs(under) - 1.4, inside), tissues.WALL)
    for centre, radii, degrees, tissue in (
        ((10, middle + 4, 437), (47, 46, 43), 25, tissues.HEART),
        ((18, middle + 12, 432), (22, 22, 24), 25, tissues.BLOOD),
        ((-12, middle + 2, 448), (16, 18, 22), 0, tissues.BLOOD),
        ((width * 0.70, -42, 372), (26, 34, 46), 12, tissues.SPLEEN),
        ((width * 0.46, middle + 6, 362), (32, 36, 42), -30, tissues.STOMACH),
        ((-64, -54, 258 + rng.normal(0, 6)), (25, 22, 50), 10, tissues.KIDNEY),
        ((64, -56, 272 + rng.normal(0, 6)), (25, 22, 50), -10, tissues.KIDNEY),
    ):
        organ = shapes.ellipsoid(canvas, centre, radii, degrees)
        canvas.shape_of(organ, tissue, tissues.VISCERAL_FAT, 2.5)
    for side in (1, -1):
        sinus = shapes.ellipsoid(canvas, (side * 56, -48, 265), (9, 10, 24))
        canvas.shape_of(sinus, tissues.VISCERAL_FAT)
    _pelvic_organs(canvas, habitus, rng)
    _great_vessels(canvas, rng)


def _lungs(canvas, rng, box, inside, dome):
    """Lungs above the diaphragm, either side of the mediastinum, with their vessels."""
    x, y, z = canvas.coordinates(box)
    heart = 14 * (x > 0) * np.exp(-(((z - 430) / 45) ** 2)) * (y > -40)
    middle = 24 + 10 * np.exp(-(((z - 440) / 60) ** 2)) + heart
    lung = np.maximum(np.maximum(inside + 1.5, (dome - z) * 0.85), middle - np.abs(x))
    canvas.paint(box, lung, tissues.LUNG)
    branches = canvas.noise(rng, x.shape, (3.2, 3.2, 2.6))
    hilum = np.exp(-(((np.abs(x) - 35) / 38) ** 2) - ((z - 455) / 55) ** 2)
    share = np.clip((branches - 1.1) * 2 * hilum, 0, 1)
    canvas.paint(box, lung + 3, tissues.BLOOD, share)


def _liver(canvas, rng, box, inside, under, middle, width):
    """Liver beneath the right dome; returns its distance."""
    x, y, z = canvas.coordinates(box)
    low = 298 + rng.normal(0, 12)
    edge = low + 0.0045 * np.clip(x + 95, 0, None) ** 2 + 0.25 * (y - middle) * (x > 0)
    liver = np.maximum(np.maximum(inside + 1.0, under), (edge - z) * np.float32(0.8))
    lobe = 0.8 * x - 0.6 * (y - middle) - np.float32(0.18 * width)
    liver = np.maximum(liver, np.maximum(lobe, x - np.float32(0.5 * width)))
    canvas.paint(box, liver, tissues.LIVER)
    vessels = canvas.noise(rng, x.shape, (4.0, 4.0, 4.0))
    canvas.paint(
        box, np.maximum(liver + 8, 1.5 - 18 * (vessels - 1.6)), tissues.BLOOD, np.float32(0.6)
    )
    return liver


def _bowel(canvas, habitus, rng, box, inside, under, liver, width, front):
    """Loops of mixed content, and the colon as a frame around them."""
    x, y, z = canvas.coordinates(box)
    loops = canvas.noise(rng, x.shape, (6.8, 6.8, 5.2))
    content = canvas.noise(rng, x.shape, (3.6, 3.6, 2.8))
    fine = canvas.noise(rng, x.shape, (1.7, 1.7, 1.4))
    fat = float(np.clip(1.5 + 6 * habitus.visceral, 1.5, 20))
    back = np.where(z > 100, -14 - 0.65 * np.clip(np.abs(x) - 46, 0, 60), -34)
    region = np.maximum(np.maximum(inside + fat, under + 8), 6 - liver)
    region = np.maximum(region, np.maximum(back - y, 36 - z))
    region = region + 4 * loops
    region = np.maximum(region, 6 * (canvas.noise(rng, x.shape, (11, 11, 8)) - 0.9))
    wall = (np.float32(0.25 + 0.14 * min(habitus.visceral, 2.5)) - np.abs(loops)) * 14
    tube = np.maximum(region, wall)
    canvas.paint(box, tube, tissues.BOWEL)
    frame = {
        -1: [(92, 74, 8, 15, 15), (130, 0.78 * width, 2, 23, 22), (220, 0.80 * width, -4, 24, 24),
             (300, 0.76 * width, 0, 22, 24), (320, 0.7 * width, 6, 12, 14)],
        1: [(70, 60, 16, 13, 13), (126, 0.78 * width, -4, 16, 16),
            (220, 0.82 * width, -12, 18, 18), (320, 0.80 * width, -12, 20, 20),
            (352, 0.76 * width, -8, 14, 14)],
    }  # fmt: skip
    colon = shapes.merge(box, [shapes.tube(canvas, *item) for item in frame.items()])
    across = np.hypot((y - (front - 34)) / 18, (z - 262 - 0.0009 * x**2) / 20)
    across = np.maximum((across - 1) * 18, np.abs(x) - 0.75 * width)
    colon = np.maximum(np.minimum(colon, across), np.maximum(inside + 1.5, 4 - liver))
    colon = colon - 3.0 * np.sin(z / 5.5 + 0.05 * x) * (colon > -12)
    canvas.paint(box, colon - 2.0, tissues.VISCERAL_FAT)
    canvas.paint(box, colon, tissues.BOWEL)
    gut = (np.minimum(tube, colon) < 0) & (canvas.labels[box] == tissues.BOWEL.label)
    # Content is bright or dark from loop to loop, mottled in the colon.
    stool = colon[gut] < 2
    value = np.where(stool, 0.5 + 0.36 * fine[gut], 0.52 + 0.10 * fine[gut])
    value = np.clip(value + 0.17 * content[gut], 0.03, 1.0)
    canvas.water[box][gut] = (0.15 + 0.85 * value) * value**0.4
    gas = gut.copy()
    gas[gut] = np.where(stool, fine[gut], content[gut]) < np.where(stool, -0.8, -1.7)
    canvas.water[box][gas] = tissues.GAS.water
    canvas.fat[box][gas] = tissues.GAS.fat
    canvas.labels[box][gas] = tissues.GAS.label


def _pelvic_organs(canvas, habitus, rng):
    fill = rng.uniform(0.75, 1.15)
    radii = (38 * fill, 30 * fill, 29 * fill)
    bladder = shapes.ellipsoid(canvas, (rng.normal(0, 3), 14, 8), radii)
    canvas.shape_of(bladder, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
    canvas.paint(bladder[0], bladder[1] + 4, tissues.BLADDER)
    if habitus.female:
        organ = shapes.ellipsoid(canvas, (rng.normal(0, 6), -18, 36), (27, 20, 30), 10)
    else:
        organ = shapes.ellipsoid(canvas, (0, 2, -30), (22, 18, 18))
    canvas.shape_of(organ, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
    rectum = [(-50, 0, -52, 11, 11), (0, 3, -56, 15, 13), (50, 8, -36, 17, 15),
              (84, 18, -8, 14, 14)]  # fmt: skip
    rectum = shapes.tube(canvas, 1, rectum)
    canvas.shape_of(rectum, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
    canvas.paint(rectum[0], rectum[1] + 4, tissues.BOWEL)
    floor = shapes.ellipsoid(canvas, (0, -30, -62), (44, 34, 12))
    canvas.shape_of(floor, tissues.PELVIC_MUSCLE, tissues.FAT, 2)


def _great_vessels(canvas, rng):
    sway = rng.normal(0, 3)
    aorta = [(142, 6, 20, 8.5, 8), (190, 8, 20, 9, 9), (260, 8, 8, 9.5, 9.5),
             (340, 10, -18, 10.5, 10.5), (420, 17, -34, 11.5, 11.5),
             (480, 16, -26, 12, 12)]  # fmt: skip
    cava = [(136, -16, 16, 10.5, 8), (200, -18, 18, 11, 8.5), (300, -20, 6, 11.5, 9.5),
            (400, -20, 4, 12, 11), (430, -16, 8, 12, 12)]  # fmt: skip
    for levels in (aorta, cava):
        vessel = shapes.tube(canvas, 1, [(z, x + sway, *rest) for z, x, *rest in levels])
        canvas.shape_of(vessel, tissues.BLOOD, tissues.VISCERAL_FAT, 2.0)
    # Crura of the diaphragm beside the aorta.
    for side in (1, -1):
        crus = [(215, 13, -2, 3, 5), (260, 15, -8, 4.5, 8), (320, 18, -20, 5, 10),
                (380, 16, -34, 3, 8)]  # fmt: skip
        canvas.shape_of(shapes.tube(canvas, side, crus), tissues.WALL, tissues.VISCERAL_FAT, 1.2)
    for centre, radii in (
        ((6, 18, 485), (30, 16, 14)),
        ((0, 18, 510), (14, 12, 24)),
        ((-14, 24, 480), (10, 10, 34)),
    ):
        vessel = shapes.ellipsoid(canvas, centre, radii)
        canvas.shape_of(vessel, tissues.BLOOD, tissues.VISCERAL_FAT, 2)
    windpipe = [(478, 0, -14, 9, 8), (540, 0, -4, 9, 8), (640, 0, 14, 9, 8)]
    canvas.shape_of(shapes.tube(canvas, 1, windpipe), tissues.GAS, tissues.WALL, 2.0)
