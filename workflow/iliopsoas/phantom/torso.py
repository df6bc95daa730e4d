"""Outline of trunk, legs and arms, body wall, and what the trunk holds."""

import numpy as np

from iliopsoas.phantom import shapes, skeleton, tissues
from iliopsoas.phantom.canvas import smooth_noise

# z, half width, front, back of the median body's skin.
SKIN = [
    (-100, 60, 40, -70),
    (-85, 130, 66, -104),
    (-50, 178, 80, -114),
    (0, 186, 87, -118),
    (63, 178, 92, -118),
    (135, 176, 103, -112),
    (207, 170, 115, -109),
    (279, 166, 121, -112),
    (351, 170, 118, -115),
    (423, 176, 110, -118),
    (468, 190, 100, -114),
    (500, 205, 86, -107),
    (528, 212, 72, -98),
    (548, 190, 64, -90),
    (566, 130, 58, -82),
    (582, 82, 58, -74),
    (604, 64, 66, -64),
    (640, 62, 84, -66),
    (700, 66, 90, -72),
]
# z, x, y, a, b of the median leg's skin.
LEG = [
    (30, 92, -14, 90, 92),
    (0, 93, -15, 92, 97),
    (-60, 95, -15, 93, 96),
    (-117, 96, -15, 93, 92),
    (-153, 96, -17, 91, 85),
    (-190, 96, -18, 87, 79),
    (-225, 96, -14, 83, 75),
    (-260, 96, -12, 79, 72),
    (-298, 97, -11, 75, 68),
    (-340, 98, -10, 68, 63),
    (-372, 99, -9, 63, 61),
    (-400, 100, -10, 62, 60),
    (-440, 100, -14, 61, 60),
    (-500, 100, -18, 60, 62),
]


def _widened(habitus):
    """Skin of this participant: belly and hips grow with body mass."""
    levels = []
    for z, half, front, back in SKIN:
        belly = np.exp(-(((z - 200) / 190) ** 2))
        neck = np.clip((z - 540) / 50, 0, 1)
        width = 1 + (habitus.width - 1) * (1 - 0.55 * neck)
        hips = 1.0
        if habitus.female:
            hips = (
                1 + 0.045 * np.exp(-(((z - 10) / 80) ** 2)) - 0.05 * np.clip((z - 120) / 100, 0, 1)
            )
        depth = 1 + (habitus.depth - 1) * (0.45 + 0.55 * belly) * (1 - 0.5 * neck)
        levels.append((z, half * width * hips, front + (front - back) * (depth - 1) * 0.95,
                       back - (front - back) * (depth - 1) * 0.05))  # fmt: skip
    return levels


def _thickness(habitus, z):
    """Subcutaneous fat at side, front and back (mm) at height z."""
    s = habitus.subcutaneous
    hip = np.exp(-(((z - 20) / 90) ** 2))
    belly = np.exp(-(((z - 150) / 130) ** 2))
    chest = np.clip((z - 330) / 120, 0, 1)
    side = s * (0.75 + (0.85 if habitus.female else 0.5) * hip - 0.35 * chest)
    front = s * (0.55 + 0.75 * belly - 0.1 * chest)
    back = s * (0.75 + 0.3 * hip - 0.25 * chest)
    return side, front, back


def legs_outline(habitus, shrink=0.0):
    """Levels of a leg's outline, `shrink` times the fat inside the skin."""
    fat = habitus.subcutaneous * (0.62 if habitus.female else 0.5)
    levels = []
    for z, x, y, a, b in LEG:
        taper = np.clip(1 + (z + 150) / 450, 0.4, 1.15)
        inset = shrink * fat * taper
        grow = habitus.limb
        shift = habitus.knee_shift * np.clip(-z / 400, 0, 1)
        outward = (grow - 1) * a * 0.85
        levels.append((z, x + outward * 0.9 + shift - inset * 0.12, y, a * grow - inset,
                       b * grow - inset))  # fmt: skip
    return levels


class Torso:
    """Distances every organ needs, computed once.

    Attributes
    ----------
    lean, cavity : (box, distance)
        Inside of the subcutaneous fat, and inside of the body wall.
    """

    def __init__(self, canvas, habitus, shoulders, rng):
        self.canvas, self.habitus, self.rng = canvas, habitus, rng
        self.skin_levels = _widened(habitus)
        self.lean_levels, self.cavity_levels = [], []
        for z, half, front, back in self.skin_levels:
            side, fore, aft = _thickness(habitus, z)
            fill = np.clip((z - 540) / 30, 0, 1)
            lean = (z, half - side * (1 - 0.5 * fill), front - fore * (1 - 0.5 * fill),
                    back + aft * (1 - 0.5 * fill))  # fmt: skip
            self.lean_levels.append(lean)
        m = habitus.muscle
        for z, half, front, back in self.lean_levels:
            if not -60 < z < 575:
                continue
            ribs = np.clip((z - 260) / 120, 0, 1)
            side = (17 + 5 * ribs) * m
            inner = min(half - side, np.interp(z, (380, 470, 540, 570), (400, 138, 92, 40)))
            if z < 110:
                inner = min(inner, np.interp(z, (-60, 0, 60, 110), (50, 62, 80, 118)))
            front_in = front - np.interp(z, (0, 100, 300, 420, 560), (12, 12, 14, 20, 24)) * m
            back_in = np.interp(z, (-60, 0, 90, 130, 220, 330, 430, 520, 570),
                                (-55, -66, -44, -52, -60, -76, -86, -74, -30))  # fmt: skip
            back_in = max(back_in, back + 22 * m)
            self.cavity_levels.append((z, inner, front_in, back_in))
        self.shoulders = shoulders

    def paint_outline(self):
        """Skin and subcutaneous fat of trunk, legs and arms, and the lean compartment."""
        canvas, habitus = self.canvas, self.habitus
        whole = [shapes.outline(canvas, self.skin_levels)]
        inner = []
        for side in (1, -1):
            whole.append(shapes.tube(canvas, side, legs_outline(habitus)))
            x, z = self.shoulders[side]
            arm = skeleton.arm_axis(habitus, x, z, 46 * habitus.limb, 46 * habitus.limb)
            arm = [
                *arm[1:],
                (z - 380, arm[-1][1] + 6, -50, 34, 34),
                (z - 500, arm[-1][1], -34, 20, 30),
            ]
            whole.append(shapes.tube(canvas, side, arm))
            trim = 0.35 * habitus.subcutaneous
            inner.append(
                shapes.tube(canvas, side, [(*r[:3], r[3] - trim - 2, r[4] - trim - 2) for r in arm])
            )
        for made in whole:
            canvas.shape_of(made, tissues.SKIN)
        for box, distance in whole:
            canvas.paint(box, distance + 2.6, tissues.FAT)
        for made in inner:
            canvas.shape_of(made, tissues.ARM)
        self.lean = shapes.outline(canvas, self.lean_levels)
        self.cavity = shapes.outline(canvas, self.cavity_levels)

    def paint_wall(self):
        """Muscle of the body wall in layers, ribs between them."""
        canvas, habitus = self.canvas, self.habitus
        box, lean = self.lean
        x, y, z = canvas.coordinates(box)
        trunk = np.clip((z - 88) / 12, 0, 1) * np.clip((600 - z) / 12, 0, 1)
        canvas.paint(box, lean, tissues.WALL, trunk)
        # Fat between the layers of the flank and between the bellies of the front.
        layers = np.minimum(np.abs(lean + 6.0), np.abs(lean + 11.5)) - 0.25 * habitus.plane
        flank = (np.abs(x) > 75) & (z < 330)
        canvas.paint(box, layers, tissues.FAT, 0.7 * flank * trunk)
        middle = np.abs(x) - 2.0 - 4.0 * np.clip((z - 200) / 150, 0, 1)
        canvas.paint(box, np.where(y > 0, middle, 50), tissues.FAT, trunk * (z < 360))
        half = np.abs(np.abs(x) - 72 * habitus.width) - 1.2
        canvas.paint(box, np.where(y > 30, half, 50), tissues.FAT, 0.7 * trunk * (z < 330))
        # Ribs slope down to the front; they cut the wall like beads.
        slope = z + 0.45 * (y + 60)
        ring = np.abs(np.mod(slope, 26.0) - 13.0) - 4.2
        rib = np.maximum(np.abs(lean + 12.0 * habitus.muscle) - 4.0, ring)
        region = (slope > 262) & (z < 520) & ((np.abs(x) > 30) | (y < 0))
        canvas.bone_where = region
        canvas.paint(box, rib, tissues.CORTEX, region)
        canvas.paint(box, rib + 2.0, tissues.ILIUM, region)

    def paint_cavity(self):
        """Visceral fat and organs."""
        canvas, habitus, rng = self.canvas, self.habitus, self.rng
        box, cavity = self.cavity
        canvas.paint(box, cavity, tissues.VISCERAL_FAT)
        x, y, z = canvas.coordinates(box)
        inside = cavity + 2.0
        width = float(np.interp(250, *np.array([(r[0], r[1]) for r in self.cavity_levels]).T))
        front = float(np.interp(250, *np.array([(r[0], r[2]) for r in self.cavity_levels]).T))
        mid_y = (front - 60) / 2
        breath = rng.normal(0, 6)
        dome_r = 428 + breath - 0.0042 * ((x + 60) ** 2 + (y - mid_y) ** 2)
        dome_l = 412 + breath - 0.0046 * ((x - 62) ** 2 + (y - mid_y) ** 2)
        dome = np.maximum(dome_r, dome_l)
        # Lungs: above the diaphragm, either side of the mediastinum.
        media = (
            26
            + 10 * np.exp(-(((z - 440) / 60) ** 2))
            + 14 * (x > 0) * np.exp(-(((z - 430) / 45) ** 2)) * (y > -40)
        )
        lung = np.maximum(np.maximum(inside + 1.5, (dome - z) * 0.85), media - np.abs(x))
        canvas.paint(box, lung, tissues.LUNG)
        self._vessels_of_lung(box, lung)
        # Diaphragm and liver beneath the right dome.
        under = (z - dome + 5.0) * 0.85
        low = 300 + rng.normal(0, 10)
        edge = low + 0.55 * np.clip(x + 60, 0, None) + 0.25 * (y - mid_y) * (x > 0)
        liver = np.maximum(np.maximum(inside + 1.0, under), (edge - z) * 0.8)
        liver = np.maximum(liver, x - 55 * width / 140)
        canvas.paint(box, liver, tissues.LIVER)
        self._bowel(box, inside, under, liver, width, front)
        canvas.paint(box, np.maximum(np.abs(under) - 1.4, inside), tissues.WALL)
        for part in (
            ((8, mid_y + 8, 437), (44, 40, 42), 25, tissues.HEART),
            ((18, mid_y + 12, 432), (22, 22, 24), 25, tissues.BLOOD),
            ((-12, mid_y + 2, 448), (16, 18, 22), 0, tissues.BLOOD),
            ((width * 0.70, -42, 372), (26, 34, 46), 12, tissues.SPLEEN),
            ((width * 0.46, mid_y + 12, 362), (32, 36, 42), -30, tissues.STOMACH),
            ((-62, -56, 262), (25, 23, 50), 10, tissues.KIDNEY),
            ((62, -58, 276), (25, 23, 50), -10, tissues.KIDNEY),
        ):
            centre, radii, degrees, tissue = part
            canvas.shape_of(
                shapes.ellipsoid(canvas, centre, radii, degrees), tissue, tissues.VISCERAL_FAT, 2.5
            )
        for side in (1, -1):
            sinus = shapes.ellipsoid(canvas, (side * 54, -50, 268), (9, 10, 24))
            canvas.shape_of(sinus, tissues.VISCERAL_FAT)
        self._pelvic_organs()
        self._great_vessels()

    def _vessels_of_lung(self, box, lung):
        """Branching brightness towards the hila."""
        x, y, z = self.canvas.coordinates(box)
        noise = smooth_noise(self.rng, x.shape, (3.5, 3.5, 3.0))
        hilum = np.exp(-(((np.abs(x) - 35) / 32) ** 2) - ((z - 455) / 55) ** 2)
        vessel = (np.clip(noise - 1.15, 0, 1) * 2 * hilum).astype(np.float32)
        self.canvas.paint(box, lung + 3, tissues.BLOOD, np.clip(vessel, 0, 1))

    def _bowel(self, box, inside, under, liver, width, front):
        """Loops of mixed content; the colon as a frame around them."""
        canvas, rng = self.canvas, self.rng
        x, y, z = canvas.coordinates(box)
        fat = float(np.clip(2.5 + 4 * self.habitus.visceral, 2, 14))
        region = np.maximum(np.maximum(inside + fat, under + 8), 6 - liver)
        region = np.maximum(region, np.maximum(92 - z, z - 372))
        region = np.maximum(region, (12 - y) - 0.5 * np.clip(np.abs(x) - 60, 0, 40))
        loops = smooth_noise(rng, x.shape, (6.5, 6.5, 5.0))
        content = smooth_noise(rng, x.shape, (4.0, 4.0, 3.0))
        fine = smooth_noise(rng, x.shape, (1.6, 1.6, 1.5))
        wall = (np.float32(0.25) - np.abs(loops)) * 14
        tube = np.maximum(region, wall)
        canvas.paint(box, tube, tissues.BOWEL)
        colon_levels = {
            -1: [(96, 78, 6, 18, 18), (140, 0.80 * width, 4, 24, 24), (220, 0.80 * width, -2, 25, 25),
                 (300, 0.76 * width, 2, 22, 24), (318, 0.7 * width, 8, 12, 14)],
            1: [(84, 62, 14, 13, 13), (130, 0.78 * width, -2, 16, 16), (220, 0.82 * width, -12, 18, 18),
                (320, 0.80 * width, -12, 20, 20), (352, 0.76 * width, -8, 14, 14)],
        }  # fmt: skip
        colon = np.full(x.shape, 1e3, np.float32)
        for side, levels in colon_levels.items():
            made = shapes.tube(canvas, side, levels)
            window = tuple(slice(max(m.start, b.start), min(m.stop, b.stop))
                           for m, b in zip(made[0], box, strict=True))  # fmt: skip
            to = tuple(slice(w.start - b.start, w.stop - b.start)
                       for w, b in zip(window, box, strict=True))  # fmt: skip
            of = tuple(slice(w.start - m.start, w.stop - m.start)
                       for w, m in zip(window, made[0], strict=True))  # fmt: skip
            np.minimum(colon[to], made[1][of], out=colon[to])
        across = np.sqrt(((y - (front - 34)) / 18) ** 2 + ((z - 262 - 0.0009 * x**2) / 20) ** 2)
        across = np.maximum((across - 1) * 18, np.abs(x) - 0.75 * width)
        colon = np.maximum(np.minimum(colon, across), np.maximum(inside + 1.5, 4 - liver))
        haustra = 3.0 * np.sin(z / 5.5)
        colon = colon - haustra * (colon > -12)
        canvas.paint(box, colon - 2.0, tissues.VISCERAL_FAT)
        canvas.paint(box, colon, tissues.BOWEL)
        gut = np.minimum(tube, colon) < 0
        gut &= canvas.labels[box] == tissues.BOWEL.label
        # Content: bright after a T1-shortening meal, dark where there is gas.
        bright = 0.55 + 0.30 * content + 0.34 * fine * (colon < 2)
        value = np.clip(bright, 0.03, 1.0)
        canvas.water[box][gut] = (0.15 + 0.85 * value[gut]) * value[gut] ** 0.4
        gas = gut & (np.where(colon < 0, fine, content) < -0.75)
        canvas.water[box][gas] = 0.05
        canvas.fat[box][gas] = 0.02

    def _pelvic_organs(self):
        canvas, rng = self.canvas, self.rng
        fill = rng.uniform(0.75, 1.15)
        bladder = shapes.ellipsoid(
            canvas, (rng.normal(0, 3), 22, 2), (36 * fill, 28 * fill, 26 * fill)
        )
        canvas.shape_of(bladder, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
        canvas.paint(bladder[0], bladder[1] + 4, tissues.BLADDER)
        if self.habitus.female:
            womb = shapes.ellipsoid(canvas, (rng.normal(0, 6), -18, 36), (26, 19, 30))
            canvas.shape_of(womb, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
        else:
            gland = shapes.ellipsoid(canvas, (0, 4, -32), (21, 16, 18))
            canvas.shape_of(gland, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
        rectum = shapes.tube(canvas, 1, [(-50, 0, -52, 11, 11), (0, 3, -56, 15, 13),
                                         (50, 8, -36, 17, 15), (84, 18, -8, 14, 14)])  # fmt: skip
        canvas.shape_of(rectum, tissues.PELVIC_ORGAN, tissues.VISCERAL_FAT, 2)
        canvas.paint(rectum[0], rectum[1] + 4, tissues.BOWEL)

    def _great_vessels(self):
        canvas = self.canvas
        aorta = [
            (142, 6, 20, 8.5, 8),
            (190, 8, 20, 9, 9),
            (260, 8, 8, 9.5, 9.5),
            (340, 10, -18, 10.5, 10.5),
            (420, 17, -34, 11.5, 11.5),
            (480, 16, -26, 12, 12),
        ]
        cava = [(136, -16, 16, 10.5, 8), (200, -18, 18, 11, 8.5), (300, -20, 6, 11.5, 9.5),
                (400, -20, 4, 12, 11), (430, -16, 8, 12, 12)]  # fmt: skip
        for levels in (aorta, cava):
            canvas.shape_of(
                shapes.tube(canvas, 1, levels), tissues.BLOOD, tissues.VISCERAL_FAT, 2.0
            )
        for centre, radii in (
            ((6, 18, 485), (30, 16, 14)),
            ((0, 18, 510), (14, 12, 24)),
            ((-14, 24, 480), (10, 10, 34)),
        ):
            canvas.shape_of(shapes.ellipsoid(canvas, centre, radii), tissues.BLOOD,
                            tissues.VISCERAL_FAT, 2)  # fmt: skip
        wind = shapes.tube(canvas, 1, [(478, 0, -14, 9, 8), (540, 0, -4, 9, 8), (640, 0, 14, 9, 8)])
        canvas.shape_of(wind, tissues.GAS, tissues.WALL, 2.0)
