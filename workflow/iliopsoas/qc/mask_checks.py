"""Checks of the masks: whole, inside, in one piece; and of the signal they lie on."""

import numpy as np
import pandas as pd

from iliopsoas.grid import SIDES
from iliopsoas.qc import robust
from iliopsoas.qc.registry import OURS, check, numbers, scored, sides, worst


@check(
    "max_crop_border_cm2", "high", "serious", "cm2", sides("crop_border_cm2"),
    "{value:.1f} cm2 of the mask lies on the crop's faces: it may be cut off", OURS,
)  # fmt: skip
def touches_crop(cohort):
    """Mask area on the faces of the network's crop, the worse side."""
    return worst(cohort, "crop_border_cm2")


@check(
    "max_image_border_voxels", "high", "serious", "voxels", sides("image_border_voxels"),
    "{value:.0f} mask voxels lie in the image's outermost layer", OURS,
)  # fmt: skip
def touches_image(cohort):
    """Mask voxels in the image's outermost layer, the worse side."""
    return worst(cohort, "image_border_voxels")


@check(
    "max_removed_percent", "high", "review", "%", sides("removed_percent", "segment"),
    "pieces of {value:.1f} % of the mask were removed as not connected; limit {limit:g} %",
    "recoh/iliopsoas_muscle keeps the largest component; the size of the rest is ours",
)  # fmt: skip
def pieces_removed(cohort):
    """Voxels outside the largest component, in percent of it, the worse side."""
    return worst(cohort, "removed_percent", "segment")


@check(
    "max_filled_percent", "high", "review", "%", sides("filled_percent", "segment"),
    "holes of {value:.1f} % of the mask were filled; limit {limit:g} %",
    "recoh/iliopsoas_muscle fills holes; their size is ours",
)  # fmt: skip
def holes_filled(cohort):
    """Voxels filled as holes, in percent of the mask, the worse side."""
    return worst(cohort, "filled_percent", "segment")


@check(
    "max_components", "high", "serious", "pieces", sides("components"),
    "a muscle's mask is in {value:.0f} pieces", OURS,
)  # fmt: skip
def in_pieces(cohort):
    """Connected components (26 neighbours) of a side's final mask, the worse side."""
    return worst(cohort, "components")


@check(
    "max_outside_body_percent", "high", "serious", "%", sides("outside_body_percent"),
    "{value:.1f} % of a muscle's mask lies outside the body; limit {limit:g} %", OURS,
)  # fmt: skip
def outside_body(cohort):
    """Mask voxels outside the body mask, in percent, the worse side."""
    return worst(cohort, "outside_body_percent")


@check(
    "max_across_midline_percent", "high", "serious", "%", sides("across_midline_percent"),
    "{value:.1f} % of a muscle's mask lies across the midline; limit {limit:g} %", OURS,
)  # fmt: skip
def across_midline(cohort):
    """Mask voxels on the other side of the hips' midline, in percent, the worse side."""
    return worst(cohort, "across_midline_percent")


@check(
    "max_end_area_percent", "high", "review", "%", sides("end_area_percent"),
    "a muscle ends flat, with {value:.0f} % of its largest cross-section; limit {limit:g} %",
    "anatomy: the psoas tapers at its origin, the iliopsoas at the lesser trochanter",
)  # fmt: skip
def ends_flat(cohort):
    """Cross-section of the mask's first or last level, in percent of the largest."""
    return worst(cohort, "end_area_percent")


@check(
    "max_area_step_percent", "high", "review", "%", sides("area_step_percent"),
    "the cross-section jumps by {value:.0f} % of the largest between levels; limit {limit:g} %",
    OURS,
)  # fmt: skip
def area_jumps(cohort):
    """Largest change of cross-section between neighbouring levels, the worse side."""
    return worst(cohort, "area_step_percent")


@check(
    "max_length_z", "both", "review", "robust SD", ("left_length_mm", "height_cm", "sex"),
    "the muscles' length lies {value:+.1f} robust SD from what the height predicts; "
    "limit {limit:g}",
    OURS,
)  # fmt: skip
def length_outlier(cohort):
    """Residual of the mean head-foot extent in a robust regression on height and sex."""
    length = cohort[["left_length_mm", "right_length_mm"]].mean(axis=1, skipna=False)
    height = numbers(cohort, "height_cm").to_frame("height")
    return scored(robust.regression_z(length, height, cohort["sex"]))


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
    OURS,
)  # fmt: skip
def unlike_muscle_signal(cohort):
    """Robust z within sex of the masks' water signal relative to the body's; the worse side."""
    scores = [
        robust.grouped_z(numbers(cohort, f"volumes.{side}_water_ratio"), cohort["sex"]).z
        for side in SIDES
        if f"volumes.{side}_water_ratio" in cohort
    ]
    both = pd.concat(scores, axis=1)
    rows = both.abs().fillna(-1.0).to_numpy().argmax(axis=1)
    return pd.Series(both.to_numpy()[np.arange(len(both)), rows], index=cohort.index)


@check(
    "max_water_step_percent", "high", "review", "%", sides("water_step_percent"),
    "water signal in a muscle jumps by {value:.0f} % between levels; limit {limit:g} %: "
    "a seam, a swap, or a mask that leaves the muscle",
    OURS,
)  # fmt: skip
def seam_in_muscle(cohort):
    """Largest change of the mask's median water signal between neighbouring levels."""
    return worst(cohort, "water_step_percent")
