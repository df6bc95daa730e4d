"""Checks of the volumes: plausible, symmetric, expected for this body, repeated."""

import numpy as np
import pandas as pd

from iliopsoas.qc import robust
from iliopsoas.qc.registry import OURS, PAPER, check, numbers, scored


@check(
    "max_missing_sides", "high", "serious", "sides", ("status",),
    "{value:.0f} of the two muscles has no volume", OURS,
)  # fmt: skip
def side_missing(cohort):
    """Muscles without a volume although every stage said ok."""
    sides = cohort[["left_ml", "right_ml"]].isna().sum(axis=1).astype(float)
    return sides.where(cohort["status"] == "ok")


@check(
    "min_volume_ml", "low", "serious", "ml", ("left_ml|right_ml",),
    "the smaller muscle has {value:.0f} ml; below {limit:.0f} ml is implausible",
    PAPER + "; Table 2: smallest of 10,000 muscles 134.5 ml",
)  # fmt: skip
def volume_low(cohort):
    """Volume of the smaller muscle."""
    return cohort[["left_ml", "right_ml"]].min(axis=1)


@check(
    "max_volume_ml", "high", "serious", "ml", ("left_ml|right_ml",),
    "the larger muscle has {value:.0f} ml; above {limit:.0f} ml is implausible",
    PAPER + "; Table 2: largest of 10,000 muscles 675.1 ml",
)  # fmt: skip
def volume_high(cohort):
    """Volume of the larger muscle."""
    return cohort[["left_ml", "right_ml"]].max(axis=1)


def relative_asymmetry(cohort) -> pd.Series:
    """100 (left - right) / mean volume, in percent."""
    return 100.0 * cohort["difference_ml"] / cohort["mean_ml"]


@check(
    "max_asymmetry_percent", "both", "review", "%", ("difference_ml",),
    "left and right differ by {value:+.0f} % of their mean; the limit is {limit:.0f} %", PAPER,
)  # fmt: skip
def asymmetry_large(cohort):
    """Difference left - right in percent of the mean volume, whatever the cohort's is."""
    return relative_asymmetry(cohort)


@check(
    "max_asymmetry_z", "both", "review", "robust SD", ("difference_ml", "sex"),
    "asymmetry lies {value:+.1f} robust SD from the median of the same sex; limit {limit:g}",
    PAPER + "; limit 3.5: Iglewicz and Hoaglin 1993",
)  # fmt: skip
def asymmetry_outlier(cohort):
    """Relative asymmetry (left - right) / mean as a robust z within sex."""
    return scored(robust.grouped_z(relative_asymmetry(cohort), cohort["sex"]))


def _given_body(cohort, column) -> pd.Series:
    covariates = pd.DataFrame(
        {
            "height": numbers(cohort, "height_cm"),
            "age": numbers(cohort, "age"),
            "age squared": (numbers(cohort, "age") - 60.0) ** 2,
            "bmi": numbers(cohort, "bmi"),
        }
    )
    values = numbers(cohort, column)
    return scored(robust.regression_z(np.log(values.where(values > 0)), covariates, cohort["sex"]))


_BODY = ("sex", "height_cm", "age", "bmi")


@check(
    "max_outlier_z", "both", "review", "robust SD", ("total_ml", *_BODY),
    "total volume lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    PAPER,
)  # fmt: skip
def volume_outlier(cohort):
    """Residual of log total volume in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "total_ml")


@check(
    "max_outlier_z", "both", "review", "robust SD", ("imi_ml_m2", *_BODY),
    "the muscle index lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    PAPER,
)  # fmt: skip
def index_outlier(cohort):
    """Residual of log IMI in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "imi_ml_m2")


@check(
    "max_visit_change_percent", "both", "review", "%", ("total_ml",),
    "total volume changes by {value:+.0f} % between the two visits; limit {limit:g} %", OURS,
)  # fmt: skip
def visits_disagree(cohort):
    """Repeat minus first visit's total volume, in percent of their mean; both rows carry it.

    Not evaluated for who has one measured visit.
    """
    first, repeat = (
        cohort[cohort["instance"] == visit].set_index("eid")["total_ml"] for visit in ("2", "3")
    )
    return cohort["eid"].map(200.0 * (repeat - first) / (repeat + first))
