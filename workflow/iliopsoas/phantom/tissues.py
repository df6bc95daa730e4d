"""Tissues of the synthetic body: labels, and the signal of their water and fat.

The numbers are signal in a T1-weighted gradient echo relative to the brightest
tissue, so that muscle, liver, marrow and fat stand to one another as in UK
Biobank's Dixon images; they are not tissue fractions.
"""

from typing import NamedTuple

import numpy as np


class Tissue(NamedTuple):
    """Label, water and fat signal (0 to 1), and relative strength of its texture."""

    label: int
    water: float
    fat: float
    texture: float = 0.04


AIR = Tissue(0, 0.0, 0.0, 0.0)
FAT = Tissue(1, 0.065, 0.80, 0.06)
SKIN = Tissue(2, 0.40, 0.15, 0.05)
VISCERAL_FAT = Tissue(3, 0.055, 0.76, 0.10)
MARROW = Tissue(4, 0.03, 0.74, 0.15)
CORTEX = Tissue(5, 0.03, 0.03, 0.10)
VERTEBRA = Tissue(6, 0.26, 0.38, 0.12)
DISC = Tissue(7, 0.55, 0.05, 0.08)
CANAL = Tissue(8, 0.34, 0.06, 0.10)
LUNG = Tissue(9, 0.035, 0.01, 0.40)
HEART = Tissue(10, 0.53, 0.04, 0.12)
BLOOD = Tissue(11, 0.58, 0.02, 0.15)
LIVER = Tissue(12, 0.55, 0.05, 0.045)
SPLEEN = Tissue(13, 0.60, 0.02, 0.06)
KIDNEY = Tissue(14, 0.66, 0.03, 0.06)
STOMACH = Tissue(15, 0.74, 0.05, 0.15)
BOWEL = Tissue(16, 0.60, 0.08, 0.30)
GAS = Tissue(17, 0.02, 0.01, 0.10)
BLADDER = Tissue(18, 0.33, 0.01, 0.03)
PELVIC_ORGAN = Tissue(19, 0.50, 0.04, 0.05)
CARTILAGE = Tissue(20, 0.46, 0.06, 0.05)
BREAST = Tissue(21, 0.38, 0.42, 0.15)
NERVE = Tissue(22, 0.36, 0.25, 0.10)
FEMORAL_HEAD = Tissue(23, 0.03, 0.76, 0.12)  # marrow of the head, apart so that it can be found
ILIUM = Tissue(24, 0.10, 0.60, 0.30)

# Muscles: the same signal within a few per cent, told apart by the fat between them.
ILIOPSOAS = Tissue(40, 0.500, 0.0, 0.035)
PSOAS_NEIGHBOUR = Tissue(41, 0.495, 0.0, 0.035)  # quadratus lumborum, erector spinae
WALL = Tissue(42, 0.500, 0.0, 0.035)
GLUTEAL = Tissue(43, 0.500, 0.0, 0.035)
THIGH = Tissue(44, 0.505, 0.0, 0.035)
SHOULDER = Tissue(45, 0.490, 0.0, 0.035)
ARM = Tissue(46, 0.490, 0.0, 0.035)
PELVIC_MUSCLE = Tissue(47, 0.495, 0.0, 0.035)  # obturators, piriformis, pelvic floor
ILIACUS = Tissue(48, 0.500, 0.0, 0.035)  # with the tendon; psoas: ILIOPSOAS

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Tissue))
MUSCLES = tuple(tissue for tissue in ALL if tissue.label >= 40)
BONES = (MARROW, CORTEX, VERTEBRA, FEMORAL_HEAD, ILIUM)
MOBILE = (VISCERAL_FAT, LUNG, HEART, LIVER, SPLEEN, KIDNEY, STOMACH, BOWEL, GAS)  # with breath


def lookup(field: str, tissues=ALL) -> np.ndarray:
    """Array (256,) of one field of `tissues` by label; other labels are 0."""
    table = np.zeros(256, np.float32)
    for tissue in tissues:
        table[tissue.label] = getattr(tissue, field)
    return table


def membership(tissues) -> np.ndarray:
    """Boolean array (256,): whether a label is one of `tissues`."""
    table = np.zeros(256, bool)
    table[[tissue.label for tissue in tissues]] = True
    return table
