"""Checks of what the stages before reported: swaps, stations, noise, joints, the network."""

import pandas as pd

from iliopsoas.grid import SIDES
from iliopsoas.qc.evidence import count_of
from iliopsoas.qc.registry import OURS, check, numbers


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
    "min_swap_confidence", "low", "review", "margin", ("dixon.swap_confidence",),
    "fat and water are told apart by a margin of {value:.2f} only; limit {limit:g}",
    "Basty et al. 2020, arXiv:2007.01251",
)  # fmt: skip
def swap_uncertain(cohort):
    """Margin of the least certain station's fat-water decision (see `dixon.swaps`)."""
    return numbers(cohort, "dixon.swap_confidence")


@check(
    "max_stations_missing", "high", "note", "stations", ("dixon.stations_missing",),
    "{value:.0f} station(s) of the scan are missing",
    "recoh/pipeline: series_missing",
)  # fmt: skip
def stations_missing(cohort):
    """Stations that the scan lacks and the pipeline tolerated."""
    return _listed(cohort, "dixon.stations_missing")


@check(
    "max_slices_interpolated", "high", "note", "gaps", ("dixon.slices_interpolated",),
    "missing slices were interpolated in {value:.0f} place(s)", OURS,
)  # fmt: skip
def slices_interpolated(cohort):
    """Channels of stations in which inner slices were missing and were interpolated."""
    return _listed(cohort, "dixon.slices_interpolated")


@check(
    "max_seam_residual", "high", "review", "log ratio",
    ("dixon.seam_residual_4_3|dixon.seam_residual_5_4",),
    "neighbouring stations differ by {value:.2f} (log ratio) where the muscle crosses their seam; "
    "limit {limit:g}",
    OURS,
)  # fmt: skip
def stations_differ(cohort):
    """Median |log ratio| of stations in their overlap, after gain, at the muscle's two seams."""
    names = ["dixon.seam_residual_4_3", "dixon.seam_residual_5_4"]
    return pd.concat([numbers(cohort, name) for name in names if name in cohort], axis=1).max(
        axis=1
    )


@check(
    "min_snr", "low", "review", "ratio", ("dixon.snr",),
    "signal-to-noise is {value:.1f}; below {limit:g} outlines are unreliable", OURS,
)  # fmt: skip
def low_signal_to_noise(cohort):
    """Signal-to-noise ratio of the noisiest station: median tissue over the noise of air."""
    return numbers(cohort, "dixon.snr")


@check(
    "min_landmark_confidence", "low", "review", "evenness", ("landmarks.hip_confidence",),
    "the femoral heads are doubtful: evenness {value:.2f}, limit {limit:g}", OURS,
)  # fmt: skip
def hips_doubtful(cohort):
    """Evenness of the less certain femoral head; 0 where the images showed none."""
    return numbers(cohort, "landmarks.hip_confidence")


@check(
    "max_landmark_spread", "high", "review", "slices",
    ("landmarks.hip_spread|landmarks.shoulder_spread",),
    "the atlas bodies disagree about the joints by {value:.1f} slices; limit {limit:g}", OURS,
)  # fmt: skip
def landmarks_spread(cohort):
    """Median absolute deviation of the joints' level over the atlas; the published route only."""
    names = [f"landmarks.{joint}_spread" for joint in ("hip", "shoulder")]
    return pd.concat([numbers(cohort, name) for name in names if name in cohort], axis=1).max(
        axis=1
    )


@check(
    "max_spread_percent", "high", "review", "%", ("segment.sd_ml_left|segment.sd_ml_right",),
    "the fold models disagree by {value:.1f} % (SD) of the muscle's volume; limit {limit:g} %",
    OURS,
)  # fmt: skip
def models_disagree(cohort):
    """SD of the volume between fold models or flips, in percent of it, the worse side."""
    shares = [
        100.0 * numbers(cohort, f"segment.sd_ml_{side}") / cohort[f"{side}_ml"]
        for side in SIDES
        if f"segment.sd_ml_{side}" in cohort
    ]
    return pd.concat(shares, axis=1).max(axis=1)


@check(
    "min_probability", "low", "review", "probability", ("segment.mean_probability",),
    "the network is unsure: mean probability {value:.2f} in the masks, limit {limit:g}", OURS,
)  # fmt: skip
def network_unsure(cohort):
    """Mean predicted probability inside the masks, the worse side where given by side."""
    return numbers(cohort, "segment.mean_probability")


@check(
    "min_predicted_dice", "low", "serious", "Dice", ("quality.predicted_dice",),
    "predicted Dice is {value:.2f}; below {limit:g} a segmentation counts as failed", OURS,
)  # fmt: skip
def predicted_quality(cohort):
    """Dice that the quality model of the cross-validation predicts, the worse side."""
    return numbers(cohort, "quality.predicted_dice")
