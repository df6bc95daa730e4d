"""Body size and shape from sex, height, weight and age, and the frame it is drawn in.

Canonical millimetres: a body whose shoulders are 531 mm above the centres of its
femoral heads and whose hips are 179 mm apart. Positions, widths and depths are
the medians of 30 public UK Biobank body masks with joint landmarks (the atlas of
recoh/pipeline, MIT): hips at slice 163 (SD 13), shoulders at slice 340 (SD 6 to 9),
midline at column 113 (SD 8), hip distance 80 columns (SD 4).
"""

from dataclasses import dataclass

import numpy as np

from iliopsoas import grid

TRUNK_MM = 531.0
HIP_HALF_MM = 89.4
KNEE_MM = 400.0  # femoral head to knee landmark
MEAN_HEIGHT_CM = 169.0
MEAN_BMI = 26.5
MEDIAN_FAT_MM = 19.5  # subcutaneous fat that the median outlines include


@dataclass(frozen=True)
class Habitus:
    """Numbers that shapes depend on; lengths in canonical millimetres."""

    female: bool
    bmi: float
    subcutaneous: float
    width: float  # factor of the trunk's width against the median body
    depth: float
    limb: float
    plane: float  # thickness of the fat planes between muscles
    muscle: float  # factor of muscle thickness
    visceral: float
    knee_shift: float
    psoas_roundness: float

    @classmethod
    def draw(cls, traits, rng):
        """From a participant's traits; what is no trait is drawn."""
        bmi = float(np.clip(traits.bmi, 14, 60))
        female = traits.sex == "female"
        ratio = bmi / MEAN_BMI * (1.04 if not female else 0.97)
        lean = max(bmi - 15.0, 0.0) / 11.5
        return cls(
            female=female,
            bmi=bmi,
            subcutaneous=float(
                np.clip((25.0 if female else 16.0) * lean**1.05 * rng.lognormal(0, 0.12), 3, 95)
            ),
            width=ratio**0.58 * rng.lognormal(0, 0.025),
            depth=min(ratio**0.78, 1.6) * rng.lognormal(0, 0.03),
            limb=ratio**0.42 * rng.lognormal(0, 0.02),
            plane=float(np.clip(0.9 + 0.5 * lean + 0.02 * (traits.age - 60), 0.7, 3.0)),
            muscle=(0.92 if female else 1.06) * ratio**0.2,
            visceral=lean * (0.8 if female else 1.2),
            knee_shift=float(np.clip(rng.normal(0, 13.0), -24, 40)),
            psoas_roundness=float(rng.lognormal(0, 0.10)),
        )


@dataclass(frozen=True)
class Frame:
    """Canonical coordinates of the stitched grid.

    Attributes
    ----------
    x : ndarray (nx, nz)
        Canonical x of each column in each slice (the midline may lean and bend).
    y : ndarray (ny,)
    z : ndarray (nz,)
    sway : ndarray (nz,)
        Added to canonical y.
    scale : tuple of float
        Millimetres per canonical millimetre along x, y, z above and z below the hips.
    tilt : float
        Canonical millimetres by which the left hip stands higher than the right.
    step : int
        Voxels of the stitched grid per voxel of this frame.
    """

    shape: tuple
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    sway: np.ndarray
    scale: tuple
    tilt: float
    step: int = 1

    @classmethod
    def draw(cls, traits, habitus, rng, step=1):
        """Place a body of these traits in the field of view."""
        columns, rows, slices = (np.arange(n // step) * step + (step - 1) / 2 for n in grid.SHAPE)
        stature = traits.height_cm / MEAN_HEIGHT_CM
        trunk = stature**0.85 * rng.normal(1, 0.025)
        leg = 1.025 * stature * rng.normal(1, 0.02)
        across = stature**0.6 * rng.normal(1, 0.03) * (1.0 if traits.sex == "male" else 1.02)
        depth = stature**0.4
        shoulder = 340.5 + np.clip(rng.normal(0, 6.0), -14, 12)
        hip = float(np.clip(shoulder - trunk * TRUNK_MM / grid.SLICE_MM, 138, 194))
        mm = (slices - hip) * grid.SLICE_MM
        z = np.where(mm > 0, mm / trunk, mm / leg).astype(np.float32)
        midline = 112.5 + np.clip(rng.normal(0, 7.0), -16, 16)
        lean = rng.normal(0, 0.012)
        curve = rng.normal(0, 4.0) * np.sin(2 * np.pi * np.clip(z, 0, 450) / 450)
        middle = (midline * grid.IN_PLANE_MM) + lean * mm + curve
        x = ((columns[:, None] * grid.IN_PLANE_MM) - middle) / across
        # The back lies on the table: the hips are as high above it as flesh and fat are thick.
        seat = 118.0 + 1.05 * (habitus.subcutaneous - MEDIAN_FAT_MM)
        row = 23.5 + rng.normal(0, 1.5) + seat * depth / grid.IN_PLANE_MM
        y = (rows - row) * grid.IN_PLANE_MM / depth
        sway = rng.normal(0, 3.0) * np.sin(np.pi * np.clip(z, 0, 400) / 200)
        return cls(
            shape=(len(columns), len(rows), len(slices)),
            x=x.astype(np.float32),
            y=y.astype(np.float32),
            z=z,
            sway=sway.astype(np.float32),
            scale=(across, depth, trunk, leg),
            tilt=float(np.clip(rng.normal(0, 4.0), -9, 9)),
            step=step,
        )

    @property
    def in_plane_mm(self) -> float:
        """Voxel size along x and y."""
        return grid.IN_PLANE_MM * self.step

    @property
    def voxel_ml(self) -> float:
        """Millilitres of one voxel."""
        return grid.VOXEL_ML * self.step**3
