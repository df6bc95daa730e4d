"""The flags, one small function each: what is looked at, in which direction, and who says so.

A check takes the cohort table of `evidence.cohort` and returns a value per participant;
not-a-number means that it could not be evaluated. Limits are the configuration's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas.grid import SIDES
from iliopsoas.qc import robust
from iliopsoas.qc.evidence import count_of

SEVERITIES = {"serious": 100.0, "review": 10.0, "note": 1.0}


@dataclass(frozen=True)
class Check:
    """A flag's definition.

    Parameters
    ----------
    name : str
        The flag, as in flags.tsv.
    value : callable
        Cohort table to a Series of values; ``attrs["method"]`` may say how they were computed.
    limit : str
        The configuration key (section qc) that holds the limit.
    direction : {"high", "low", "both"}
        Raised above the limit, below it, or where the absolute value is above it.
    severity : {"serious", "review", "note"}
        serious: probably wrong; review: look at it; note: good to know.
    unit : str
    needs : tuple of str
        Columns without which it cannot be evaluated; ``a|b`` = one of both.
    reading : str
        The sentence for people; {value} and {limit} are filled in.
    source : str
        Who proposes the check.
    """

    name: str
    value: Callable[[pd.DataFrame], pd.Series]
    limit: str
    direction: str
    severity: str
    unit: str
    needs: tuple[str, ...]
    reading: str
    source: str

    @property
    def definition(self) -> str:
        """The docstring's first paragraph."""
        return " ".join((self.value.__doc__ or "").split("\n\n")[0].split())

    def is_raised(self, values: pd.Series, limit: float) -> pd.Series:
        """Whether each value lies beyond the limit; never where it is missing."""
        if self.direction == "low":
            return values < limit
        return (values.abs() if self.direction == "both" else values) > limit

    def distance(self, values: pd.Series, limit: float) -> pd.Series:
        """How far beyond the limit, 0 at it; to order participants of one severity."""
        values = values.abs() if self.direction == "both" else values
        beyond = limit - values if self.direction == "low" else values - limit
        return beyond / max(abs(limit), 1e-9) if limit else beyond


CHECKS: dict[str, Check] = {}


def check(limit, direction, severity, unit, needs, reading, source):
    """Register a function as the check of its own name."""

    def register(function):
        name = function.__name__
        CHECKS[name] = Check(
            name, function, limit, direction, severity, unit, tuple(needs), reading, source
        )
        return function

    return register


def _sides(name: str, stage: str = "volumes") -> tuple[str, ...]:
    """One of both sides' columns is enough: a missing side has a flag of its own."""
    return (f"{stage}.left_{name}|{stage}.right_{name}",)


def _worst(cohort, name, stage: str = "volumes", lowest: bool = False) -> pd.Series:
    """The worse side's value, of the sides that have one."""
    columns = [f"{stage}.{side}_{name}" for side in SIDES]
    values = cohort[[column for column in columns if column in cohort]].apply(pd.to_numeric)
    return values.min(axis=1) if lowest else values.max(axis=1)


def _numbers(cohort, column) -> pd.Series:
    return pd.to_numeric(cohort[column], errors="coerce").astype(float)


def _scored(scores: robust.Scores) -> pd.Series:
    scores.z.attrs["method"] = scores.method
    return scores.z


# --- the volumes ---------------------------------------------------------------------------------

_PAPER = "the paper, Discussion: minima and maxima, asymmetric values, outliers, overall behaviour"
_OURS = "this project"


@check(
    "max_missing_sides", "high", "serious", "sides", ("status",),
    "{value:.0f} of the two muscles has no volume", _OURS,
)  # fmt: skip
def side_missing(cohort):
    """Muscles without a volume although every stage said ok."""
    sides = cohort[["left_ml", "right_ml"]].isna().sum(axis=1).astype(float)
    return sides.where(cohort["status"] == "ok")


@check(
    "min_volume_ml", "low", "serious", "ml", ("left_ml|right_ml",),
    "the smaller muscle has {value:.0f} ml; below {limit:.0f} ml is implausible",
    _PAPER + "; Table 2: smallest of 10,000 muscles 134.5 ml",
)  # fmt: skip
def volume_low(cohort):
    """Volume of the smaller muscle."""
    return cohort[["left_ml", "right_ml"]].min(axis=1)


@check(
    "max_volume_ml", "high", "serious", "ml", ("left_ml|right_ml",),
    "the larger muscle has {value:.0f} ml; above {limit:.0f} ml is implausible",
    _PAPER + "; Table 2: largest of 10,000 muscles 675.1 ml",
)  # fmt: skip
def volume_high(cohort):
    """Volume of the larger muscle."""
    return cohort[["left_ml", "right_ml"]].max(axis=1)


def relative_asymmetry(cohort) -> pd.Series:
    """100 (left - right) / mean volume, in percent."""
    return 100.0 * cohort["difference_ml"] / cohort["mean_ml"]


@check(
    "max_asymmetry_percent", "both", "review", "%", ("difference_ml",),
    "left and right differ by {value:+.0f} % of their mean; the limit is {limit:.0f} %", _PAPER,
)  # fmt: skip
def asymmetry_large(cohort):
    """Difference left - right in percent of the mean volume, whatever the cohort's is."""
    return relative_asymmetry(cohort)


@check(
    "max_asymmetry_z", "both", "review", "robust SD", ("difference_ml", "sex"),
    "asymmetry lies {value:+.1f} robust SD from the median of the same sex; limit {limit:g}",
    _PAPER + "; limit 3.5: Iglewicz and Hoaglin 1993",
)  # fmt: skip
def asymmetry_outlier(cohort):
    """Relative asymmetry (left - right) / mean as a robust z within sex."""
    return _scored(robust.grouped_z(relative_asymmetry(cohort), cohort["sex"]))


def _given_body(cohort, column) -> pd.Series:
    covariates = pd.DataFrame(
        {
            "height": _numbers(cohort, "height_cm"),
            "age": _numbers(cohort, "age"),
            "age squared": (_numbers(cohort, "age") - 60.0) ** 2,
            "bmi": _numbers(cohort, "bmi"),
        }
    )
    values = _numbers(cohort, column)
    return _scored(robust.regression_z(np.log(values.where(values > 0)), covariates, cohort["sex"]))


_BODY = ("sex", "height_cm", "age", "bmi")


@check(
    "max_outlier_z", "both", "review", "robust SD", ("total_ml", *_BODY),
    "total volume lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    _PAPER,
)  # fmt: skip
def volume_outlier(cohort):
    """Residual of log total volume in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "total_ml")


@check(
    "max_outlier_z", "both", "review", "robust SD", ("imi_ml_m2", *_BODY),
    "the muscle index lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    _PAPER,
)  # fmt: skip
def index_outlier(cohort):
    """Residual of log IMI in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "imi_ml_m2")


@check(
    "max_visit_change_percent", "both", "review", "%", ("total_ml",),
    "total volume changes by {value:+.0f} % between the two visits; limit {limit:g} %", _OURS,
)  # fmt: skip
def visits_disagree(cohort):
    """Repeat minus first visit's total volume, in percent of their mean; both rows carry it.

    Not evaluated for who has one measured visit.
    """
    first, repeat = (
        cohort[cohort["instance"] == visit].set_index("eid")["total_ml"] for visit in ("2", "3")
    )
    return cohort["eid"].map(200.0 * (repeat - first) / (repeat + first))


# --- the masks -----------------------------------------------------------------------------------


@check(
    "max_crop_border_cm2", "high", "serious", "cm2", _sides("crop_border_cm2"),
    "{value:.1f} cm2 of the mask lies on the crop's faces: it may be cut off", _OURS,
)  # fmt: skip
def touches_crop(cohort):
    """Mask area on the faces of the network's crop, the worse side."""
    return _worst(cohort, "crop_border_cm2")


@check(
    "max_image_border_voxels", "high", "serious", "voxels", _sides("image_border_voxels"),
    "{value:.0f} mask voxels lie in the image's outermost layer", _OURS,
)  # fmt: skip
def touches_image(cohort):
    """Mask voxels in the image's outermost layer, the worse side."""
    return _worst(cohort, "image_border_voxels")


@check(
    "max_removed_percent", "high", "review", "%", _sides("removed_percent", "segment"),
    "pieces of {value:.1f} % of the mask were removed as not connected; limit {limit:g} %",
    "recoh/iliopsoas_muscle keeps the largest component; the size of the rest is ours",
)  # fmt: skip
def pieces_removed(cohort):
    """Voxels outside the largest component, in percent of it, the worse side."""
    return _worst(cohort, "removed_percent", "segment")


@check(
    "max_filled_percent", "high", "review", "%", _sides("filled_percent", "segment"),
    "holes of {value:.1f} % of the mask were filled; limit {limit:g} %",
    "recoh/iliopsoas_muscle fills holes; their size is ours",
)  # fmt: skip
def holes_filled(cohort):
    """Voxels filled as holes, in percent of the mask, the worse side."""
    return _worst(cohort, "filled_percent", "segment")


@check(
    "max_components", "high", "serious", "pieces", _sides("components"),
    "a muscle's mask is in {value:.0f} pieces", _OURS,
)  # fmt: skip
def in_pieces(cohort):
    """Connected components (26 neighbours) of a side's final mask, the worse side."""
    return _worst(cohort, "components")


@check(
    "max_outside_body_percent", "high", "serious", "%", _sides("outside_body_percent"),
    "{value:.1f} % of a muscle's mask lies outside the body; limit {limit:g} %", _OURS,
)  # fmt: skip
def outside_body(cohort):
    """Mask voxels outside the body mask, in percent, the worse side."""
    return _worst(cohort, "outside_body_percent")


@check(
    "max_across_midline_percent", "high", "serious", "%", _sides("across_midline_percent"),
    "{value:.1f} % of a muscle's mask lies across the midline; limit {limit:g} %", _OURS,
)  # fmt: skip
def across_midline(cohort):
    """Mask voxels on the other side of the hips' midline, in percent, the worse side."""
    return _worst(cohort, "across_midline_percent")


@check(
    "max_end_area_percent", "high", "review", "%", _sides("end_area_percent"),
    "a muscle ends flat, with {value:.0f} % of its largest cross-section; limit {limit:g} %",
    "anatomy: the psoas tapers at its origin, the iliopsoas at the lesser trochanter",
)  # fmt: skip
def ends_flat(cohort):
    """Cross-section of the mask's first or last level, in percent of the largest."""
    return _worst(cohort, "end_area_percent")


@check(
    "max_area_step_percent", "high", "review", "%", _sides("area_step_percent"),
    "the cross-section jumps by {value:.0f} % of the largest between levels; limit {limit:g} %",
    _OURS,
)  # fmt: skip
def area_jumps(cohort):
    """Largest change of cross-section between neighbouring levels, the worse side."""
    return _worst(cohort, "area_step_percent")


@check(
    "max_length_z", "both", "review", "robust SD", ("left_length_mm", "height_cm", "sex"),
    "the muscles' length lies {value:+.1f} robust SD from what the height predicts; "
    "limit {limit:g}",
    _OURS,
)  # fmt: skip
def length_outlier(cohort):
    """Residual of the mean head-foot extent in a robust regression on height and sex."""
    length = cohort[["left_length_mm", "right_length_mm"]].mean(axis=1, skipna=False)
    height = _numbers(cohort, "height_cm").to_frame("height")
    return _scored(robust.regression_z(length, height, cohort["sex"]))


# --- the signal ----------------------------------------------------------------------------------


@check(
    "max_fat_fraction_percent", "high", "review", "%",
    ("left_fat_fraction_median_percent|right_fat_fraction_median_percent",),
    "the muscle's fat fraction is {value:.0f} %; muscle is seldom above {limit:g} %",
    "fat in place of muscle: a swap left in, or a mask beside the muscle",
)  # fmt: skip
def unlike_muscle_fat(cohort):
    """Median fat fraction in the eroded mask, the worse side."""
    names = [f"{side}_fat_fraction_median_percent" for side in SIDES]
    return cohort[names].max(axis=1)


@check(
    "max_signal_z", "both", "review", "robust SD", ("volumes.left_water_ratio", "sex"),
    "water signal in the mask lies {value:+.1f} robust SD from the cohort's; limit {limit:g}",
    _OURS,
)  # fmt: skip
def unlike_muscle_signal(cohort):
    """Robust z within sex of the masks' water signal relative to the body's; the worse side."""
    scores = [
        robust.grouped_z(_numbers(cohort, f"volumes.{side}_water_ratio"), cohort["sex"]).z
        for side in SIDES
        if f"volumes.{side}_water_ratio" in cohort
    ]
    both = pd.concat(scores, axis=1)
    rows = both.abs().fillna(-1.0).to_numpy().argmax(axis=1)
    return pd.Series(both.to_numpy()[np.arange(len(both)), rows], index=cohort.index)


@check(
    "max_water_step_percent", "high", "review", "%", _sides("water_step_percent"),
    "water signal in a muscle jumps by {value:.0f} % between levels; limit {limit:g} %: "
    "a station seam or a swap",
    _OURS,
)  # fmt: skip
def seam_in_muscle(cohort):
    """Largest change of the mask's median water signal between neighbouring levels."""
    return _worst(cohort, "water_step_percent")


# --- the stages before ---------------------------------------------------------------------------


def _listed(cohort, key) -> pd.Series:
    stage = key.split(".")[0]
    verdict = cohort.get(f"{stage}.verdict", pd.Series("", index=cohort.index))
    return count_of(cohort[key], verdict == "ok")


@check(
    "max_swaps_corrected", "high", "note", "stations", ("dixon.swaps_corrected",),
    "fat and water were exchanged in {value:.0f} station(s) or leg(s) and put right",
    "Basty et al. 2020, arXiv:2007.01251",
)  # fmt: skip
def swaps_corrected(cohort):
    """Stations, or legs of one, whose fat and water were exchanged back."""
    return _listed(cohort, "dixon.swaps_corrected")


@check(
    "min_swap_confidence", "low", "review", "probability", ("dixon.swap_confidence",),
    "the fat-water decision is uncertain: {value:.2f}, limit {limit:g}",
    "Basty et al. 2020, arXiv:2007.01251",
)  # fmt: skip
def swap_uncertain(cohort):
    """Confidence of the least certain station's fat-water decision."""
    return _numbers(cohort, "dixon.swap_confidence")


@check(
    "max_stations_missing", "high", "note", "stations", ("dixon.stations_missing",),
    "{value:.0f} station(s) of the scan are missing",
    "recoh/pipeline: series_missing",
)  # fmt: skip
def stations_missing(cohort):
    """Stations that the scan lacks and the pipeline tolerated."""
    return _listed(cohort, "dixon.stations_missing")


@check(
    "min_snr", "low", "review", "ratio", ("dixon.snr",),
    "signal-to-noise is {value:.1f}; below {limit:g} outlines are unreliable", _OURS,
)  # fmt: skip
def low_signal_to_noise(cohort):
    """Signal-to-noise ratio of the stitched volume, as the dixon stage measures it."""
    return _numbers(cohort, "dixon.snr")


@check(
    "min_landmark_confidence", "low", "review", "share", ("landmarks.confidence",),
    "the joints' positions are doubtful: confidence {value:.2f}, limit {limit:g}", _OURS,
)  # fmt: skip
def landmarks_doubtful(cohort):
    """Confidence of the least certain of hips and shoulders."""
    return _numbers(cohort, "landmarks.confidence")


@check(
    "max_spread_percent", "high", "review", "%", ("segment.sd_ml_left|segment.sd_ml_right",),
    "the fold models disagree by {value:.1f} % (SD) of the muscle's volume; limit {limit:g} %",
    _OURS,
)  # fmt: skip
def models_disagree(cohort):
    """SD of the volume between fold models or flips, in percent of it, the worse side."""
    shares = [
        100.0 * _numbers(cohort, f"segment.sd_ml_{side}") / cohort[f"{side}_ml"]
        for side in SIDES
        if f"segment.sd_ml_{side}" in cohort
    ]
    return pd.concat(shares, axis=1).max(axis=1)


@check(
    "min_probability", "low", "review", "probability", ("segment.mean_probability",),
    "the network is unsure: mean probability {value:.2f} in the masks, limit {limit:g}", _OURS,
)  # fmt: skip
def network_unsure(cohort):
    """Mean predicted probability inside the masks, the worse side where given by side."""
    return _numbers(cohort, "segment.mean_probability")


@check(
    "min_predicted_dice", "low", "serious", "Dice", ("quality.predicted_dice",),
    "predicted Dice is {value:.2f}; below {limit:g} a segmentation counts as failed", _OURS,
)  # fmt: skip
def predicted_quality(cohort):
    """Dice that the quality model of the cross-validation predicts, the worse side."""
    return _numbers(cohort, "quality.predicted_dice")
