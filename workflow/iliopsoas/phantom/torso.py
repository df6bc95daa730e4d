"""Outline of trunk, legs and arms, and the body wall."""

import numpy as np

from iliopsoas.phantom import shapes, skeleton, tissues
from iliopsoas.phantom.habitus import MEDIAN_FAT_MM

# z, half width, front, back of the median body's skin.
SKIN = [
    (-112, 20, 10, -40),
    (-98, 74, 44, -80),
    (-80, 130, 66, -104),
    (-50, 176, 80, -114),
    (0, 183, 87, -118),
    (63, 174, 92, -118),
    (135, 170, 103, -112),
    (207, 171, 115, -109),
    (279, 172, 121, -112),
    (351, 174, 118, -115),
    (423, 180, 110, -118),
    (468, 196, 100, -114),
    (500, 212, 86, -107),
    (531, 220, 72, -97),
    (550, 210, 64, -90),
    (566, 178, 64, -84),
    (580, 136, 68, -78),
    (596, 100, 76, -70),
    (614, 84, 88, -64),
    (640, 78, 98, -64),
    (700, 76, 104, -70),
]
# z, x, y, a, b of the median leg's skin.
LEG = [
    (30, 86, -14, 66, 80),
    (15, 90, -14, 84, 90),
    (0, 93, -15, 90, 96),
    (-60, 95, -15, 93, 96),
    (-117, 96, -15, 94, 94),
    (-153, 96, -17, 93, 88),
    (-190, 96, -18, 90, 82),
    (-225, 96, -14, 87, 77),
    (-260, 96, -12, 83, 73),
    (-298, 97, -11, 78, 68),
    (-340, 98, -10, 71, 63),
    (-372, 99, -9, 64, 61),
    (-400, 100, -10, 62, 60),
    (-440, 100, -14, 61, 60),
    (-500, 100, -20, 60, 62),
    (-560, 100, -22, 56, 58),
    (-700, 100, -18, 42, 44),
]
CAVITY_TOP_MM = 592.0


def _skin(habitus):
    """Skin of this participant: belly and hips grow with body mass."""
    levels = []
    for z, half, front, back in SKIN:
        belly = np.exp(-(((z - 190) / 190) ** 2))
        neck = np.clip((z - 540) / 50, 0, 1)
        width = 1 + (habitus.width - 1) * (1 - 0.55 * neck)
        hips = 1.0
        if habitus.female:
            hips += 0.045 * np.exp(-(((z - 10) / 80) ** 2)) - 0.05 * np.clip((z - 120) / 100, 0, 1)
        deeper = (habitus.depth - 1) * (0.45 + 0.55 * belly) * (1 - 0.5 * neck) * (front - back)
        bone = np.interp(z, (-120, -60, 0, 60, 100, 150, 190), (0, 140, 150, 152, 146, 128, 0))
        half = max(half * width * hips, bone + 1.4 * _fat(habitus, z)[0])
        rear = _fat(habitus, z)[2] * (1 - MEDIAN_FAT_MM / habitus.subcutaneous)
        levels.append((z, half, front + deeper - 0.6 * rear, back - rear))
    return levels


def _fat(habitus, z):
    """Subcutaneous fat at side, front and back (mm) at height z."""
    hip = np.exp(-(((z - 20) / 90) ** 2))
    belly = np.exp(-(((z - 150) / 130) ** 2))
    chest = np.clip((z - 330) / 120, 0, 1)
    thin = 1 - 0.5 * np.clip((z - 540) / 30, 0, 1)
    side = 0.7 + (0.75 if habitus.female else 0.35) * hip - 0.3 * chest
    front = 0.55 + 0.75 * belly - 0.1 * chest
    back = 0.75 + 0.3 * hip - 0.25 * chest
    return tuple(habitus.subcutaneous * thin * share for share in (side, front, back))


def _lean(habitus, skin):
    """Outline inside the subcutaneous fat."""
    levels = []
    for z, half, front, back in skin:
        side, fore, aft = _fat(habitus, z)
        levels.append((z, max(half - side, 0.35 * half), front - fore, back + aft))
    return levels


def _cavity(habitus, lean):
    """Inside of the body wall: abdomen, chest, and the pelvis down to its floor."""
    levels = []
    for z, half, front, back in lean:
        if not -55 < z < 575:
            continue
        wall = (17 + 6 * np.clip((z - 260) / 120, 0, 1)) * habitus.muscle
        chest = np.interp(z, (380, 420, 500, 528, 548, 566), (400, 134, 104, 84, 66, 46))
        inner = min(half - wall, chest * (1 + 0.5 * (habitus.width - 1)))
        if z < 110:  # between the iliac bones
            inner = min(inner, np.interp(z, (-50, 0, 63, 110), (50, 62, 82, 120)))
        thick = np.interp(z, (0, 100, 300, 420, 528, 566), (12, 12, 14, 22, 34, 42))
        deep = np.interp(
            z,
            (-50, 0, 63, 135, 220, 330, 430, 520, 566),
            (-55, -66, -62, -52, -60, -76, -86, -74, -52),
        )
        levels.append(
            (z, inner, front - thick * habitus.muscle, max(deep, back + 20 * habitus.muscle))
        )
    z, _, front, back = levels[-1]
    middle = (front + back) / 2
    levels.append((CAVITY_TOP_MM, 14, middle + 10, middle - 14))
    return levels


def legs_outline(habitus, shrink=0.0):
    """Levels of a leg's outline, `shrink` times the fat inside the skin."""
    fat = habitus.subcutaneous * (0.62 if habitus.female else 0.45)
    levels = []
    for z, x, y, a, b in LEG:
        # The hip is as wide as the trunk above it, the thigh below goes with the limbs.
        low = np.clip(-z / 130, 0, 1)
        grow = habitus.width * (1 - low) + habitus.limb * low
        inset = shrink * fat * np.clip(1 + (z + 150) / 450, 0.4, 1.15)
        shift = habitus.knee_shift * np.clip(-z / 400, 0, 1)
        middle = x + (grow - 1) * a * 0.77 + shift - 0.12 * inset
        levels.append((z, middle, y, a * grow - inset, b * grow - inset))
    return levels


def arm_outline(habitus, x, z):
    """Levels of an arm's skin, from the round of the shoulder to the hand."""
    r = 46 * habitus.limb
    axis = skeleton.arm_axis(habitus, x, z, r, r)
    out = axis[-1][1]
    return [
        (z + 46, x - 8, 8, 8, 8),
        (z + 36, x - 4, 8, 0.55 * r, 0.55 * r),
        (z + 16, x, 8, 0.88 * r, 0.88 * r),
        *axis[1:],
        (z - 380, out + 18, -54, 0.72 * r, 0.76 * r),
        (z - 470, out + 26, -46, 0.5 * r, 0.62 * r),
        (z - 530, out + 26, -38, 0.32 * r, 0.8 * r),
        (z - 590, out + 22, -32, 0.25 * r, 0.8 * r),
        (z - 640, out + 20, -28, 0.1 * r, 0.4 * r),
    ]


class Torso:
    """Outlines of one body.

    Attributes
    ----------
    skin_levels, lean_levels, cavity_levels : list
        Skin, inside of the subcutaneous fat, inside of the body wall; see `shapes.outline`.
    lean, cavity : (box, distance)
    """

    def __init__(self, canvas, habitus, shoulders):
        self.canvas, self.habitus, self.shoulders = canvas, habitus, shoulders
        self.skin_levels = _skin(habitus)
        self.lean_levels = _lean(habitus, self.skin_levels)
        self.cavity_levels = _cavity(habitus, self.lean_levels)
        self.lean = shapes.outline(canvas, self.lean_levels)
        self.cavity = shapes.outline(canvas, self.cavity_levels)

    def paint_outline(self):
        """Skin and subcutaneous fat of trunk, legs and arms, and the arms' muscles."""
        canvas, habitus = self.canvas, self.habitus
        outlines = [shapes.outline(canvas, self.skin_levels)]
        for side in (1, -1):
            outlines.append(shapes.tube(canvas, side, legs_outline(habitus)))
            arm = arm_outline(habitus, *self.shoulders[side])
            outlines.append(shapes.tube(canvas, side, arm))
        breasts = []
        if habitus.female:
            table = np.array(self.skin_levels)
            front = float(np.interp(425, table[:, 0], table[:, 2]))
            depth = 16 + 0.7 * habitus.subcutaneous
            breasts = [
                shapes.ellipsoid(canvas, (side * 86, front - 0.35 * depth, 420), (62, depth, 62))
                for side in (1, -1)
            ]
        outlines += breasts
        box = tuple(slice(0, n) for n in canvas.shape)
        whole = shapes.merge(box, outlines, lambda a, b: shapes.smooth_minimum(a, b, 14.0))
        canvas.paint(box, whole, tissues.SKIN)
        canvas.paint(box, whole + 2.4, tissues.FAT)
        for box, distance in breasts:
            canvas.paint(box, distance + 12, tissues.BREAST, np.float32(0.7))
        for side in (1, -1):
            self._arm_muscles(side)

    def _arm_muscles(self, side):
        canvas, habitus = self.canvas, self.habitus
        arm = arm_outline(habitus, *self.shoulders[side])
        trim = 0.3 * habitus.subcutaneous + 2
        lean = [(z, x, y, max(a - trim, 3), max(b - trim, 3)) for z, x, y, a, b in arm[1:-1]]
        shape = shapes.tube(canvas, side, lean)
        if shape is None:
            return
        seeds = [
            [(z, x + dx * a, y + dy * a, r) for z, x, y, a, _ in lean]
            for dx, dy, r in ((-0.3, 0.6, 6), (0.5, 0.15, 0), (-0.1, -0.6, 10))
        ]
        _, gap = shapes.partition(canvas, shape[0], side, seeds)
        distance = np.maximum(shape[1], 0.7 * habitus.plane - gap)
        canvas.paint(shape[0], distance, tissues.ARM)

    def paint_wall(self):
        """Muscle of the body wall in layers, ribs between them."""
        canvas, habitus = self.canvas, self.habitus
        box, lean = self.lean
        x, y, z = canvas.coordinates(box)
        # The wall ends at the iliac crest and, in front, at the groin.
        lower = 142 - 0.55 * np.clip(y + 45, 0, 85) - 3.2 * np.clip(y - 40, 0, 42)
        trunk = np.clip((z - lower) / 10, 0, 1) * np.clip((596 - z) / 12, 0, 1)
        trunk *= lean < 0
        trunk *= np.abs(x) < np.interp(
            self.canvas.z[box[2]], (-40, 20, 90, 110), (26, 62, 112, 400)
        )
        deep = np.where(z < 110, -11 * habitus.muscle - lean, -50)
        canvas.paint(box, np.maximum(lean, deep), tissues.WALL, trunk)
        # Fat between the layers of the flank and between the bellies in front.
        layers = np.minimum(np.abs(lean + 6.0), np.abs(lean + 11.5)) - 0.2 * habitus.plane
        flank = (np.abs(x) > 70) & (z < 330) & (y < 75)
        canvas.paint(box, layers, tissues.FAT, 0.6 * flank * trunk)
        middle = np.abs(x) - 2.0 - 4.0 * np.clip((z - 200) / 150, 0, 1)
        canvas.paint(box, np.where(y > 0, middle, 50), tissues.FAT, trunk * (z < 350))
        edge = np.abs(np.abs(x) - 72 * habitus.width) - 1.2
        canvas.paint(box, np.where(y > 30, edge, 50), tissues.FAT, 0.7 * trunk * (z < 330))
        # Fat under the latissimus and pectoral muscles.
        layer = np.abs(lean + 9.0 * habitus.muscle) - 0.4 * habitus.plane
        canvas.paint(box, layer, tissues.FAT, 0.8 * (z > 330) * (z < 500) * (np.abs(x) > 40))

    def paint_ribs(self):
        """Ribs, sloping down to the front, and the breastbone."""
        canvas, habitus = self.canvas, self.habitus
        box, lean = self.lean
        x, y, z = canvas.coordinates(box)
        slope = z + 0.45 * (y + 60)
        ring = np.abs(np.mod(slope, 26.0) - 13.0)
        depth = np.abs(shapes.merge(box, [self.cavity]) - 5.0)
        rib = np.sqrt((ring / 6.0) ** 2 + (depth / 4.5) ** 2) * 5.0 - 5.0
        region = (slope > 262) & (z < 520) & ((np.abs(x) > 30) | (y < 0))
        canvas.paint(box, rib, tissues.CORTEX, region)
        canvas.paint(box, rib + 2.2, tissues.ILIUM, region)
        plate = np.maximum(np.abs(lean + 9.0 * habitus.muscle) - 5.0, np.abs(x) - 17)
        plate = np.maximum(plate, np.maximum(np.abs(z - 440) - 66, -y))
        canvas.paint(box, plate, tissues.CORTEX)
        canvas.paint(box, plate + 2.0, tissues.MARROW)
