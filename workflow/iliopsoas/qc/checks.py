"""Every quality flag, in the order in which they are reported.

To add one: a function with a docstring under `check`, and its limit in `config.QualityControl`.
"""

import numpy as np
import pandas as pd

from iliopsoas.grid import SIDES
from iliopsoas.qc import robust
from iliopsoas.qc.registry import CHECKS, PAPER, SEVERITIES, Check, Evidence, check

__all__ = ["CHECKS", "SEVERITIES", "Check", "Evidence"]

PUBLISHED_CODE = "recoh/iliopsoas_muscle"
SWAPS = "Basty et al. 2020, arXiv:2007.01251"
ANY = "anything at all"
START = "a start, from synthetic scans; then the cohort's"
OUTLIER = "3.5: Iglewicz and Hoaglin 1993"
SEAMS = ("2_1", "3_2", "4_3", "5_4", "6_5")
_NEAR_MM = 15.0  # half of an overlap: a muscle that ends there still rests on both stations


# --- the masks: whole, inside, in one piece ------------------------------------------------------


@check(
    "max_crop_border_cm2", "serious", "cm2",
    "{value:.1f} cm2 of the mask lies on the crop's faces: it may be cut off",
    "geometry: more than ten voxels on a face",
)  # fmt: skip
def touches_crop(cohort):
    """Mask area on the faces of the network's crop, the worse side."""
    return cohort.worst("volumes.{side}_crop_border_cm2")


@check(
    None, "serious", "voxels", "{value:.0f} mask voxels lie in the image's outermost layer", ANY,
)  # fmt: skip
def touches_image(cohort):
    """Mask voxels in the image's outermost layer, the worse side."""
    return cohort.worst("volumes.{side}_image_border_voxels")


@check(
    "max_loose_percent", "review", "%",
    "{value:.1f} % of a muscle's mask is not connected to the rest; limit {limit:.2g} %",
    START, PUBLISHED_CODE + " keeps the largest component; the size of the rest is ours",
    relative=True,
)  # fmt: skip
def in_pieces(cohort):
    """Voxels outside a mask's largest component, in percent of it, the worse side; of the
    network's own masks before these pieces were removed.
    """
    names = [f"{stage}.{side}_{key}" for stage, key in _LOOSE for side in SIDES]
    return cohort.either(names).max(axis=1)


_LOOSE = (("segment", "removed_percent"), ("volumes", "loose_percent"))


@check(
    "max_filled_percent", "review", "%",
    "holes of {value:.1f} % of the mask were filled; limit {limit:.2g} %",
    START, PUBLISHED_CODE + " fills holes; their size is ours", relative=True,
)  # fmt: skip
def holes_filled(cohort):
    """Voxels filled as holes, in percent of the mask, the worse side."""
    return cohort.worst("segment.{side}_filled_percent")


@check(
    "max_outside_body_percent", "serious", "%",
    "{value:.1f} % of a muscle's mask lies outside the body; limit {limit:g} %",
    "geometry: a muscle lies under the skin",
)  # fmt: skip
def outside_body(cohort):
    """Mask voxels outside the body mask, in percent, the worse side."""
    return cohort.worst("volumes.{side}_outside_body_percent")


@check(
    "max_across_midline_percent", "serious", "%",
    "{value:.1f} % of a muscle's mask lies across the midline; limit {limit:g} %",
    "geometry: right and left lie beside the spine",
)  # fmt: skip
def across_midline(cohort):
    """Mask voxels on the other side of the hips' midline, in percent, the worse side; of masks of
    another tool only: the network's crops end there.
    """
    return cohort.worst("volumes.{side}_across_midline_percent")


@check(
    "max_end_area_percent", "review", "%",
    "a muscle ends flat, with {value:.0f} % of its largest cross-section; limit {limit:.0f} %",
    START, "anatomy: the psoas tapers at its origin, the iliopsoas at the lesser trochanter",
    relative=True,
)  # fmt: skip
def ends_flat(cohort):
    """Cross-section of the mask's first or last level, in percent of the largest."""
    return cohort.worst("volumes.{side}_end_area_percent")


@check(
    "max_area_step_percent", "review", "%",
    "the cross-section jumps by {value:.0f} % of the largest between levels; limit {limit:.0f} %",
    START, relative=True,
)  # fmt: skip
def area_jumps(cohort):
    """Largest change of cross-section between neighbouring levels, the worse side."""
    return cohort.worst("volumes.{side}_area_step_percent")


@check(
    "max_length_z", "review", "robust SD",
    "the muscles' length lies {value:+.1f} robust SD from what the height predicts; "
    "limit {limit:g}",
    OUTLIER, both=True,
)  # fmt: skip
def length_outlier(cohort):
    """Residual of the mean head-foot extent in a robust regression on height and sex."""
    length = sum(cohort.number(f"{side}_length_mm") for side in SIDES) / 2
    height = cohort.number("height_cm").to_frame("height")
    return _scored(robust.regression_z(length, height, cohort.column("sex")))


# --- the signal they lie on ----------------------------------------------------------------------


@check(
    "max_fat_fraction_percent", "review", "%",
    "the muscle's fat fraction is {value:.0f} %; muscle is seldom above {limit:.0f} %",
    START, "fat in place of muscle: a swap left in, or a mask beside the muscle", relative=True,
)  # fmt: skip
def unlike_muscle_fat(cohort):
    """Median fat fraction in the eroded mask, the worse side."""
    return cohort.worst("{side}_fat_fraction_median_percent")


@check(
    "max_signal_z", "review", "robust SD",
    "water signal in the mask lies {value:+.1f} robust SD from the cohort's; limit {limit:g}",
    OUTLIER + ", wider for the worse of two sides", both=True,
)  # fmt: skip
def unlike_muscle_signal(cohort):
    """Robust z within sex of the masks' water signal relative to the body's; the worse side."""
    ratios = cohort.either([f"volumes.{side}_water_ratio" for side in SIDES])
    sex = cohort.column("sex")
    both = ratios.apply(lambda values: robust.grouped_z(values, sex).z)
    rows = both.abs().fillna(-1.0).to_numpy().argmax(axis=1)
    return pd.Series(both.to_numpy()[np.arange(len(both)), rows], index=both.index)


@check(
    "max_water_step_percent", "review", "%",
    "water signal in a muscle jumps by {value:.0f} % between levels; limit {limit:.0f} %: "
    "a seam, a swap, or a mask that leaves the muscle",
    "a start, from bodies painted from real shapes; then the cohort's", relative=True,
)  # fmt: skip
def seam_in_muscle(cohort):
    """Largest change of the mask's median water signal from three levels to the next three."""
    return cohort.worst("volumes.{side}_water_step_percent")


# --- the scan ------------------------------------------------------------------------------------


@check(
    None, "note", "stations",
    "fat and water were exchanged in {value:.0f} station(s) or leg(s) and put right", ANY, SWAPS,
)  # fmt: skip
def swaps_corrected(cohort):
    """Stations, or legs of one, whose fat and water were exchanged back."""
    return cohort.count("dixon.swaps_corrected")


@check(
    "min_swap_confidence", "review", "margin",
    "fat and water are told apart by a margin of {value:.2f} only; limit {limit:.2f}",
    START, SWAPS, relative=True,
)  # fmt: skip
def swap_uncertain(cohort):
    """Margin of the least certain station's fat-water decision (see `dixon.swaps`)."""
    return cohort.number("dixon.swap_confidence")


@check(
    "max_exchanged_ml", "serious", "ml",
    "fat and water may be exchanged in {value:.0f} ml inside a station, left as they are",
    "physics: a jump of the fat fraction to its complement where the in-phase is smooth",
)  # fmt: skip
def exchange_doubtful(cohort):
    """Volume of regions inside stations whose fat and water may be exchanged, not put right."""
    return cohort.number("dixon.exchanges_doubtful_ml")


@check(
    "max_exchanges_mended_ml", "review", "ml",
    "fat and water were exchanged in {value:.0f} ml inside a station, and put right", ANY,
)  # fmt: skip
def exchange_mended(cohort):
    """Volume of regions inside stations whose fat and water were exchanged back."""
    return cohort.number("dixon.exchanges_mended_ml")


@check(
    "max_void_ml", "serious", "ml",
    "a signal void of {value:.0f} ml at a hip, as an implant leaves it: volumes are affected",
    "physics: an implant's void is 20 ml and more",
)  # fmt: skip
def metal_at_hip(cohort):
    """Signal void that reaches a hip joint, the worse side."""
    return cohort.number("landmarks.void_ml")


@check(
    "max_outline_cut_percent", "note", "%",
    "the field of view cuts off {value:.0f} % of the body's outline in one station",
    START,
)  # fmt: skip
def outline_cut(cohort):
    """Share of the body's outline at the field of view's edge, the worst station."""
    return cohort.number("dixon.outline_cut_percent")


@check(
    None, "note", "stations", "{value:.0f} station(s) of the scan are missing", ANY,
    "recoh/pipeline: series_missing",
)  # fmt: skip
def stations_missing(cohort):
    """Stations that the scan lacks and the pipeline tolerated."""
    return cohort.count("dixon.stations_missing")


@check(
    None, "note", "stations", "{value:.0f} station(s) were acquired more than once", ANY,
)  # fmt: skip
def stations_acquired_twice(cohort):
    """Stations of which the newest of several acquisitions was taken."""
    return cohort.count("dixon.stations_acquired_twice")


@check(
    None, "note", "gaps", "missing slices were interpolated in {value:.0f} place(s)", ANY,
)  # fmt: skip
def slices_interpolated(cohort):
    """Channels of stations in which inner slices were missing and were interpolated."""
    return cohort.count("dixon.slices_interpolated")


@check(
    None, "note", "stations",
    "outer slices of {value:.0f} station(s) are missing in a channel", ANY,
)  # fmt: skip
def slices_trimmed(cohort):
    """Stations shortened because outer slices were missing in a channel."""
    return cohort.count("dixon.slices_trimmed")


@check(
    None, "note", "channels", "{value:.0f} channel(s) had another size than their station's", ANY,
)  # fmt: skip
def channels_refitted(cohort):
    """Channels that were resampled onto their station's rows and columns."""
    return cohort.count("dixon.channels_refitted")


@check(
    None, "note", "stations",
    "in-phase images of {value:.0f} station(s) were made of water and fat", ANY,
)  # fmt: skip
def in_phase_made(cohort):
    """Stations without an in-phase series, for which fat + water stands."""
    return cohort.count("dixon.in_phase_made")


@check(
    None, "note", "files", "{value:.0f} file(s) of the scan could not be read", ANY,
)  # fmt: skip
def unreadable_files(cohort):
    """Damaged DICOM files in the zip."""
    return cohort.number("dixon.unreadable_files")


@check(
    None, "note", "yes", "the stations lie elsewhere than UK Biobank's: another grid", ANY,
)  # fmt: skip
def off_published_grid(cohort):
    """1 where the stitched grid is not the published 224 x 174 x 370."""
    return 1.0 - cohort.yes("dixon.published_grid")


@check(
    None, "note", "yes", "the brightest values did not fit the image and were clipped", ANY,
)  # fmt: skip
def intensities_clipped(cohort):
    """1 where corrected values exceeded 16 bits."""
    return cohort.yes("dixon.intensities_clipped")


@check(
    "min_seam_agreement", "review", "correlation",
    "neighbouring stations show different tissue where the muscle crosses their seam: "
    "correlation {value:.2f}, limit {limit:.2f}",
    START, relative=True,
)  # fmt: skip
def stations_differ(cohort):
    """Correlation of two stations' water share in their overlap, the lowest of the seams that the
    muscle reaches.
    """
    lowest = cohort.worst("volumes.{side}_lowest_mm", lowest=True) - _NEAR_MM
    highest = cohort.worst("volumes.{side}_highest_mm") + _NEAR_MM
    seams = [seam for seam in SEAMS if cohort.has(f"dixon.seam_agreement_{seam}")]
    found = cohort.either([f"dixon.seam_agreement_{seam}" for seam in seams or SEAMS])
    for seam in seams:
        place = cohort.number(f"dixon.seam_mm_{seam}")
        name = f"dixon.seam_agreement_{seam}"
        found[name] = found[name].where((place >= lowest) & (place <= highest))
    return found.min(axis=1)


@check(
    "min_snr", "review", "ratio",
    "signal-to-noise is {value:.1f}; below {limit:.1f} outlines are unreliable",
    START, relative=True,
)  # fmt: skip
def low_signal_to_noise(cohort):
    """Signal-to-noise ratio of the noisiest station."""
    return cohort.number("dixon.snr")


# --- the joints ----------------------------------------------------------------------------------


@check(
    "min_landmark_confidence", "review", "confidence",
    "neither femoral head is clear: confidence {value:.2f}, limit {limit:.2f}",
    "a start, from bodies painted from real shapes; then the cohort's", relative=True,
)  # fmt: skip
def hips_doubtful(cohort):
    """Confidence of the clearer femoral head; 0 where the images showed none."""
    return cohort.number("landmarks.hip_confidence")


@check(
    None, "note", "hips",
    "one femoral head is not seen; the other's mirror image stands for it", ANY,
)  # fmt: skip
def hip_mirrored(cohort):
    """Hips that were put where the other side's mirror image is: an implant, perhaps."""
    return cohort.count("landmarks.hips_mirrored")


@check(
    None, "note", "yes", "the shoulders are not in view; their usual height was used", ANY,
)  # fmt: skip
def shoulders_default(cohort):
    """1 where the crop rests on the usual height of shoulders: station 1 is missing."""
    return cohort.yes("landmarks.shoulders_default")


@check(
    "max_landmark_spread", "review", "slices",
    "the atlas bodies disagree about the joints by {value:.1f} slices; limit {limit:.1f}",
    START, relative=True,
)  # fmt: skip
def landmarks_spread(cohort):
    """Median absolute deviation of the joints' level over the atlas; the published route only."""
    return cohort.either(["landmarks.hip_spread", "landmarks.shoulder_spread"]).max(axis=1)


# --- the network ---------------------------------------------------------------------------------


@check(
    "max_spread_percent", "review", "%",
    "the fold models disagree by {value:.1f} % (SD) of the muscle's volume; limit {limit:.1f} %",
    START, relative=True,
)  # fmt: skip
def models_disagree(cohort):
    """SD of the volume between fold models or flips, in percent of it, the worse side."""
    spread = cohort.either([f"segment.sd_ml_{side}" for side in SIDES])
    volume = pd.concat([cohort.number(f"{name.rsplit('_', 1)[1]}_ml") for name in spread], axis=1)
    return (100.0 * spread / volume.to_numpy()).max(axis=1)


@check(
    "min_probability", "review", "probability",
    "the network is unsure: mean probability {value:.2f} in the masks, limit {limit:.2f}",
    START, relative=True,
)  # fmt: skip
def network_unsure(cohort):
    """Mean predicted probability inside the masks, the worse side where given by side."""
    return cohort.number("segment.mean_probability")


@check(
    "min_predicted_dice", "serious", "Dice",
    "predicted Dice is {value:.2f}; below {limit:g} a segmentation counts as failed",
    "what counts as failed",
)  # fmt: skip
def predicted_quality(cohort):
    """Dice that the quality model of annotated participants predicts, the worse side."""
    values = cohort.number("quality.predicted_dice")
    if cohort.has("quality.learned_on"):  # synthetic people promise nothing about a real Dice
        values = values.where(cohort.column("quality.learned_on") != "synthetic")
    return values


@check(
    "min_second_dice", "review", "Dice",
    "the starter network draws another mask: Dice {value:.2f}, limit {limit:.2f}",
    "a start: the starter network's own lowest Dice on most real shapes; then the cohort's",
    relative=True,
)  # fmt: skip
def second_opinion(cohort):
    """Dice of the mask and the starter network's, the worse side; with a second opinion alone."""
    return cohort.worst("opinion.{side}_second_dice", lowest=True)


@check(
    "min_methods_dice", "review", "Dice",
    "this mask's Dice with another tool's is {value:.2f}; limit {limit:.2f}",
    "a start; then the cohort's: tools draw different borders, so that only a fall below what they "
    "usually reach says anything", relative=True,
)  # fmt: skip
def methods_disagree(cohort):
    """Dice of this run's mask with the masks of `other_methods`, their median, the worse side."""
    return cohort.worst("methods.dice_own_{side}", lowest=True)


# --- the volumes ---------------------------------------------------------------------------------


@check(None, "serious", "sides", "{value:.0f} of the two muscles has no volume", ANY)
def side_missing(cohort):
    """Muscles without a volume although every stage said ok."""
    sides = sum(cohort.number(f"{side}_ml").isna().astype(float) for side in SIDES)
    return sides.where(cohort.column("status") == "ok")


@check(
    "min_volume_ml", "serious", "ml",
    "the smaller muscle has {value:.0f} ml; below {limit:.0f} ml is implausible",
    "Table 2: smallest of 10,000 muscles 134.5 ml", PAPER,
)  # fmt: skip
def volume_low(cohort):
    """Volume of the smaller muscle."""
    return cohort.worst("{side}_ml", lowest=True)


@check(
    "max_volume_ml", "serious", "ml",
    "the larger muscle has {value:.0f} ml; above {limit:.0f} ml is implausible",
    "Table 2: largest of 10,000 muscles 675.1 ml", PAPER,
)  # fmt: skip
def volume_high(cohort):
    """Volume of the larger muscle."""
    return cohort.worst("{side}_ml")


def _asymmetry(cohort) -> pd.Series:
    return 100.0 * cohort.number("difference_ml") / cohort.number("mean_ml")


@check(
    "max_asymmetry_percent", "review", "%",
    "left and right differ by {value:+.0f} % of their mean; the limit is {limit:.0f} %",
    "a number of ours: wide enough for a true asymmetry", PAPER, both=True,
)  # fmt: skip
def asymmetry_large(cohort):
    """Difference left - right in percent of the mean volume, whatever the cohort's is."""
    return _asymmetry(cohort)


@check(
    "max_asymmetry_z", "review", "robust SD",
    "asymmetry lies {value:+.1f} robust SD from the median of the same sex; limit {limit:g}",
    OUTLIER, PAPER, both=True,
)  # fmt: skip
def asymmetry_outlier(cohort):
    """Relative asymmetry (left - right) / mean as a robust z within sex."""
    return _scored(robust.grouped_z(_asymmetry(cohort), cohort.column("sex")))


def _given_body(cohort, column) -> pd.Series:
    age = cohort.number("age")
    covariates = pd.DataFrame(
        {
            "height": cohort.number("height_cm"),
            "age": age,
            "age squared": (age - 60.0) ** 2,
            "bmi": cohort.number("bmi"),
        }
    )
    values = cohort.number(column)
    logs = np.log(values.where(values > 0))
    return _scored(robust.regression_z(logs, covariates, cohort.column("sex")))


@check(
    "max_outlier_z", "review", "robust SD",
    "total volume lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    OUTLIER, PAPER, both=True,
)  # fmt: skip
def volume_outlier(cohort):
    """Residual of log total volume in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "total_ml")


@check(
    "max_outlier_z", "review", "robust SD",
    "the muscle index lies {value:+.1f} robust SD from what sex, height, age and BMI predict; "
    "limit {limit:g}",
    OUTLIER, PAPER, both=True,
)  # fmt: skip
def index_outlier(cohort):
    """Residual of log IMI in a robust regression on sex, height, age, age^2, BMI."""
    return _given_body(cohort, "imi_ml_m2")


@check(
    "max_visit_change_percent", "review", "%",
    "total volume changes by {value:+.0f} % between the two visits; limit {limit:g} %",
    "just beyond the paper's limits of agreement of one mask, -13.7 to 13.3 %", both=True,
)  # fmt: skip
def visits_disagree(cohort):
    """Repeat minus first visit's total volume, in percent of their mean; both rows carry it.

    Not evaluated for who has one measured visit.
    """
    table = pd.DataFrame(
        {"total": cohort.number("total_ml"), "visit": cohort.column("instance")}
    ).set_index(cohort.column("eid"))
    first, repeat = (table.loc[table["visit"] == visit, "total"] for visit in ("2", "3"))
    return cohort.column("eid").map(200.0 * (repeat - first) / (repeat + first))


def _scored(scores: robust.Scores) -> pd.Series:
    scores.z.attrs["method"] = scores.method
    return scores.z
