"""Profiles along the muscle of a synthetic cohort given as numbers only."""

import numpy as np
import pandas as pd

from iliopsoas import grid
from iliopsoas.phantom.habitus import TRUNK_MM
from iliopsoas.phantom.iliopsoas_muscle import ILIACUS, PSOAS, TENDON

POSITIONS = np.linspace(0, 1, 41)  # 0 lesser trochanter, 1 top of psoas
LOWEST_MM, HIGHEST_MM = -66.0, 276.0  # of the annotated muscles, above the femoral heads
# ASSUME: lumbar levels of the synthetic bodies, canonical millimetres above the femoral heads
LEVELS_MM = {"l45": 139.0, "l4": 161.5, "l34": 184.0, "l3": 203.5}
LEVEL_ERROR_MM = 15.0


def mean_shape() -> np.ndarray:
    """Cross-section of one annotated muscle at `POSITIONS`, cm2 (sum of its parts)."""
    z = LOWEST_MM + POSITIONS * (HIGHEST_MM - LOWEST_MM)
    area = np.zeros(len(z))
    for part in (PSOAS, TENDON):
        heights, _, _, a, b, _ = np.array(sorted(part)).T
        area += np.interp(z, heights, np.pi * a * b, left=0, right=0)
    rows = np.array(sorted(ILIACUS))
    points = rows[:, 1:7].reshape(len(rows), 3, 2)
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(axis=1)
    area += np.interp(z, rows[:, 0], length * 2 * rows[:, 7:].mean(axis=1), left=0, right=0)
    # the parts overlap where they join; at the ends a thin tip is left
    return np.maximum(area / 100, 0.2)


def paper_profiles(cohort: pd.DataFrame, spread: float = 0.08, seed: int = 2020) -> pd.DataFrame:
    """Profiles of every row of `phenotypes.paper_cohort`, as results/profiles.tsv.

    Parameters
    ----------
    cohort : DataFrame
        eid, instance, height_cm, left_ml, right_ml, fat_fraction_percent.
    spread : float
        SD of a person's own shape: smooth factors along the muscle, the same on both sides.

    Returns
    -------
    DataFrame
        A row per visit and side: eid, instance, side, lowest_above_hip_mm, span_mm, trunk_mm,
        level_source, level_error_mm, lumbar levels, area_0 to area_1000 (cm2), fat_0 to fat_1000
        (%). Areas times length are the volumes.
    """
    rng = np.random.default_rng([seed, 17])
    n = len(cohort)
    scale = cohort["height_cm"].to_numpy(float) / 170
    # four smooth waves per person
    waves = np.array([np.cos(np.pi * k * POSITIONS) for k in range(1, 5)])
    own = np.exp(spread * rng.standard_normal((n, 4)) @ waves / np.sqrt(2))
    shape = mean_shape() * own
    parts = []
    for side in grid.SIDES:
        span = (HIGHEST_MM - LOWEST_MM) * scale * np.exp(0.03 * rng.standard_normal(n))
        trapezoid = np.full(len(POSITIONS), 1.0)
        trapezoid[[0, -1]] = 0.5
        ml = shape @ trapezoid / trapezoid.sum() * span / 10
        area = shape * (cohort[f"{side}_ml"].to_numpy(float) / ml)[:, None]
        fat = cohort["fat_fraction_percent"].to_numpy(float)[:, None] * np.exp(
            0.3 * (0.5 - POSITIONS) + 0.1 * rng.standard_normal((n, len(POSITIONS)))
        )
        part = {
            "eid": cohort["eid"].to_numpy(),
            "instance": cohort["instance"].to_numpy(),
            "side": side,
            "lowest_above_hip_mm": LOWEST_MM * scale + 4 * rng.standard_normal(n),
            "span_mm": span,
            "trunk_mm": TRUNK_MM * scale,
            "level_source": "landmarks",
            "level_error_mm": LEVEL_ERROR_MM,
        }
        part |= {f"{name}_above_hip_mm": z * scale for name, z in LEVELS_MM.items()}
        places = np.rint(1000 * POSITIONS).astype(int)
        part |= {f"area_{p}": area[:, i] for i, p in enumerate(places)}
        part |= {f"fat_{p}": fat[:, i] for i, p in enumerate(places)}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)
