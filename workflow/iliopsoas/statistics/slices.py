"""How well one cross-section stands for the volume: at which level, and how wrong it may lie."""

import copy
import math

import numpy as np
import pandas as pd

from iliopsoas import grid
from iliopsoas.files import KEY
from iliopsoas.masks import profile
from iliopsoas.statistics import hypotheses
from iliopsoas.statistics.cohort import SEXES, require

HEIGHTS_MM = np.arange(-50, 241, 10)  # above the femoral heads
CM = 10.0
LEAST = 10  # participants of a level, for a regression
# Gauss-Hermite: mean over a normal level error, exact for polynomials up to degree 9
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


class Profiles:
    """Profiles of many participants as arrays, both sides together.

    Parameters
    ----------
    profiles : DataFrame
        As `profile.table`: a row per participant, visit and side.
    people : DataFrame
        eid, instance, sex, total_ml. Who lacks a side or the total is left out.

    Attributes
    ----------
    sex, volume_ml : ndarray (n,)
    area : dict of side to ndarray (n, positions), cm2
    """

    def __init__(self, profiles: pd.DataFrame, people: pd.DataFrame):
        require(profiles, [*KEY, "side", "lowest_above_hip_mm", "span_mm"], "profiles.tsv")
        people = people[[*KEY, "sex", "total_ml"]].dropna().astype(dict.fromkeys(KEY, str))
        people = people.set_index(KEY)
        sides = {
            side: part.astype(dict.fromkeys(KEY, str)).set_index(KEY).drop(columns="side")
            for side, part in profiles.groupby("side")
        }
        rows = people.index
        for side in grid.SIDES:
            rows = rows.intersection(sides[side].index if side in sides else rows[:0])
        people = people.loc[rows]
        self.sex = people["sex"].to_numpy()
        self.volume_ml = people["total_ml"].to_numpy(float)
        self.area, self.lowest, self.span, self.level = {}, {}, {}, {}
        for side in grid.SIDES:
            part = sides[side].loc[rows] if side in sides else profiles.iloc[:0]
            self.area[side] = part[profile.columns("area")].to_numpy(float)
            self.lowest[side] = part["lowest_above_hip_mm"].to_numpy(float)
            self.span[side] = part["span_mm"].to_numpy(float)
            if side == "left":
                self.level = {
                    name: part[profile.level_column(name)].to_numpy(float)
                    for name in profile.LUMBAR_SHARES
                }
                self.level_error = part["level_error_mm"].to_numpy(float)
                self.level_source = part["level_source"].to_numpy(object)

    def of(self, rows) -> "Profiles":
        """Some of the participants; `rows` is an ndarray of bool (n,)."""
        part = copy.copy(self)
        for name, value in vars(self).items():
            chosen = value[rows] if isinstance(value, np.ndarray) else {
                key: array[rows] for key, array in value.items()
            }  # fmt: skip
            setattr(part, name, chosen)
        return part

    def at_height(self, height_mm) -> np.ndarray:
        """Cross-section of both muscles at a height above the hips; NaN outside a muscle."""
        return self._sum(
            {side: (height_mm - self.lowest[side]) / self.span[side] for side in grid.SIDES}
        )

    def at_position(self, position: float, shift_mm: float = 0.0) -> np.ndarray:
        """Cross-section of both muscles at a place along each, or `shift_mm` above it."""
        return self._sum({side: position + shift_mm / self.span[side] for side in grid.SIDES})

    def _sum(self, places):
        total = 0.0
        for side, place in places.items():
            area = self.area[side]
            steps = area.shape[1] - 1
            inside = (place >= 0) & (place <= 1)  # False for NaN
            at = np.where(inside, place, 0.0) * steps
            low = np.minimum(at.astype(int), steps - 1)
            index = np.arange(len(area))
            value = area[index, low] + (at - low) * (area[index, low + 1] - area[index, low])
            total = total + np.where(inside, value, np.nan)
        return total


def slices(profiles: pd.DataFrame | None, table: pd.DataFrame) -> pd.DataFrame:
    """slices.tsv: one cross-section against the volume, by sex and level.

    Parameters
    ----------
    profiles : DataFrame or None
        As results/shards/profiles.tsv.
    table : DataFrame
        One row per participant, from `cohort.main_visit`.

    Returns
    -------
    DataFrame
        axis (``lumbar``, ``mm`` above the femoral heads, ``position`` along the muscle), level,
        sex, n (who has both muscles there), mean height of the level above the hips; area mean
        and SD; Pearson's r with its interval and r squared, of area and total volume; the line
        volume = intercept + slope x area; SD of the volume around it in ml and in percent of the
        mean volume; area_change_percent_per_cm, mean change of the area upwards;
        error_percent_per_cm, the root mean square error of the predicted volume when the slice
        lies one cm too high or too low; for heights and lumbar levels r_squared_misplaced, r
        squared when the level is off by a normal error of level_error_mm; best, where r squared
        is largest on this axis; level_source, where lumbar levels come from.
    """
    names = ["axis", "level", "sex", "n", "height_mm", "area_cm2", "area_cm2_sd", "r", "r_low",
             "r_high", "r_squared", "intercept_ml", "slope_ml_per_cm2", "residual_ml",
             "residual_percent", "area_change_percent_per_cm", "error_percent_per_cm",
             "level_error_mm", "level_source", "r_squared_misplaced", "best", "note"]  # fmt: skip
    if profiles is None or profiles.empty:
        row = {"axis": "none", "n": 0, "best": False, "note": "no profiles in this run"}
        return pd.DataFrame([row]).reindex(columns=names)
    found = Profiles(profiles, table)
    rows = []
    for sex in SEXES:
        mine = found.of(found.sex == sex)
        error = mine.level_error
        sources = " and ".join(sorted(set(mine.level_source[np.isfinite(error)])))
        error = float(np.nanmean(error)) if np.isfinite(error).any() else math.nan
        volume = mine.volume_ml

        def heights(height, mine=mine):
            return lambda shift: mine.at_height(height + shift)

        def positions(place, mine=mine):
            return lambda shift: mine.at_position(place, shift)

        cases = [("lumbar", name, z, heights(z)) for name, z in mine.level.items()]
        cases += [("mm", f"{h}", np.full(len(volume), float(h)), heights(h)) for h in HEIGHTS_MM]
        cases += [
            (
                "position",
                f"{place:.3f}",
                mine.lowest["left"] + place * mine.span["left"],
                positions(place),
            )
            for place in profile.POSITIONS
        ]
        for axis, level, height, area in cases:
            row = {"axis": axis, "level": level, "sex": sex}
            if axis == "lumbar":
                row["level_source"] = sources
            row |= _level(area, volume, height, error if axis != "position" else math.nan)
            rows.append(row)
    result = pd.DataFrame(rows).reindex(columns=names)
    largest = result.groupby(["axis", "sex"])["r_squared"].transform("max")
    result["best"] = (result["r_squared"] == largest) & result["r_squared"].notna()
    return result.assign(note=result["note"].astype(object).fillna(""))


def _level(area_at, volume, height, error_mm) -> dict:
    area = area_at(0.0)
    known = np.isfinite(area)
    n = int(known.sum())
    row = {"n": n, "level_error_mm": error_mm}
    if n < LEAST or np.ptp(area[known]) == 0 or np.ptp(volume[known]) == 0:
        return row | {"note": f"fewer than {LEAST} participants have both muscles at this level"}
    a, v = area[known], volume[known]
    r = float(np.corrcoef(a, v)[0, 1])
    slope = r * v.std(ddof=1) / a.std(ddof=1)
    residual = math.sqrt((1 - r * r) * np.sum((v - v.mean()) ** 2) / (n - 2))
    above, below = area_at(CM)[known] - a, area_at(-CM)[known] - a
    shifts = np.concatenate([above, below])
    shifts = shifts[np.isfinite(shifts)]
    both = np.isfinite(above) & np.isfinite(below)
    change = 100 * np.mean(above[both] - below[both]) / 2 / a.mean() if both.any() else math.nan
    wrong = math.sqrt(np.mean(shifts**2)) if len(shifts) else math.nan
    low, high = hypotheses.fisher_interval(r, n)
    return row | {
        "height_mm": float(np.nanmean(height[known])),
        "area_cm2": a.mean(),
        "area_cm2_sd": a.std(ddof=1),
        "r": r,
        "r_low": low,
        "r_high": high,
        "r_squared": r * r,
        "intercept_ml": v.mean() - slope * a.mean(),
        "slope_ml_per_cm2": slope,
        "residual_ml": residual,
        "residual_percent": 100 * residual / v.mean(),
        "area_change_percent_per_cm": change,
        "error_percent_per_cm": 100 * abs(slope) * wrong / v.mean(),
        "r_squared_misplaced": _misplaced(area_at, v, known, error_mm),
        "note": "" if n == len(volume) else f"{len(volume) - n} without both muscles here",
    }


def _misplaced(area_at, volume, known, error_mm):
    """r squared of area and volume when the level has a normal error.

    Area and volume are pooled over the error's quadrature nodes; where a node lies outside a
    muscle, the participant's other nodes count.
    """
    if not math.isfinite(error_mm):
        return math.nan
    area = np.array([area_at(error_mm * node)[known] for node in _NODES])
    weight = np.where(np.isfinite(area), _WEIGHTS[:, None], 0.0)
    weight /= weight.sum(axis=0)
    area, v = np.nan_to_num(area), np.broadcast_to(volume, area.shape)
    total = weight.sum()
    da = area - np.sum(weight * area) / total
    dv = v - np.sum(weight * v) / total
    covariance = np.sum(weight * da * dv)
    return float(covariance**2 / (np.sum(weight * da**2) * np.sum(weight * dv**2)))
