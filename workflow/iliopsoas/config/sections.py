"""The sections of the configuration: a model each, the paper's values as defaults.

A value that a section can judge by itself is judged here; `iliopsoas.config.consistency` looks at
sections together.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from iliopsoas.config import values
from iliopsoas.config.section import Section
from iliopsoas.config.values import (
    Count,
    LocalPath,
    NodePath,
    NotNegative,
    OpenShare,
    Positive,
    Seed,
    Share,
    Unique,
    Visit,
)
from iliopsoas.status import Verdict


class Release(Section):
    """One data release: a folder of zips and the tables that describe its participants."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = Field(
        description="Short name; the first part of its shards' names."
    )
    zips: LocalPath = Field(
        description="Folder of <EID>_20201_<instance>_<array>.zip; subfolders are searched too. Or "
        "a file with a path a line, or with what `dx find data --property field_id=20201` prints."
    )
    mount: LocalPath = Field(
        "/mnt/project",
        description="Put before the paths in what `dx find data` prints: where the platform shows "
        "a project's files.",
    )
    phenotypes: Unique[LocalPath] = Field(
        min_length=1, description="Phenotype tables, CSV or TSV in any UK Biobank dialect."
    )
    annotations: LocalPath | None = Field(
        None, description="Folder of manual masks, <EID>_<instance>[_left|_right].nii.gz or .nrrd."
    )


class Phantom(Section):
    """The synthetic cohort, made when this section is present."""

    folder: LocalPath = Field(
        "resources/phantom", description="Where the synthetic cohort is written."
    )
    participants: Count = Field(28, description="Participants with a zip.")
    annotated: Annotated[int, Field(ge=0)] = Field(
        10, description="Of these, how many have manual annotations."
    )
    repeats: Annotated[int, Field(ge=0)] = Field(
        2, description="Of these, how many have a repeat visit (instance 3) as well."
    )
    faults: list[Annotated[str, AfterValidator(values.fault)]] = Field(
        default=["swapped:4", "missing:3", "missing:6", "truncated"],
        description="Planted faults, one participant each, none of them annotated: "
        "swapped:STATION, missing:STATION, truncated and the others of iliopsoas.phantom.faults.",
    )
    seed: Seed = Field(2020, description="Seed of the whole cohort.")

    @model_validator(mode="after")
    def _enough_participants(self):
        needed = self.annotated + len(self.faults)
        if needed > self.participants:
            raise ValueError(
                f"{self.annotated} annotated participants and {len(self.faults)} planted faults "
                f"need at least {needed} participants, found {self.participants}"
            )
        if self.repeats > self.participants - len(self.faults):
            raise ValueError(
                f"repeats: expected at most the {self.participants - len(self.faults)} "
                f"participants without a fault, found {self.repeats}"
            )
        return self


class Cohort(Section):
    """Who is measured."""

    instances: Unique[Visit] = Field([2, 3], min_length=1, description="Imaging visits to measure.")
    size: Count | Literal["everyone"] = Field(
        5000, description="Participants to draw, or everyone."
    )
    age_groups: Annotated[list[tuple[int, int]], AfterValidator(values.age_groups)] = Field(
        [(44, 53), (54, 63), (64, 72), (73, 82)],
        min_length=1,
        description="Inclusive age groups in years; with sex they are the strata. The paper "
        "prints 63-72, which overlaps at 63.",
    )
    exclusions: Unique[LocalPath] = Field(
        [], description="Lists of participants to leave out: one EID per line, no header."
    )
    seed: Seed = Field(2020, description="Seed of the draw.")
    shard_size: Count = Field(500, description="Participants per shard.")
    max_missing_share: Share = Field(
        0.05,
        description="Share of the drawn visits whose zip may be absent; with more the run stops. "
        "Whoever was drawn stays drawn, zip there or not.",
    )
    max_absent_share: Share = Field(
        0.01,
        description="Share of the drawn participants who may be in no phenotype table any more; "
        "with more the run stops.",
    )
    purge_absent: bool = Field(
        True,
        description="Remove what was made of those few, as after a withdrawal; otherwise they only "
        "leave the sample.",
    )


class Dixon(Section):
    """Zip to one water and one fat volume."""

    bias_shrink: Count = Field(
        2,
        description="N4 is fitted on every n-th voxel in plane and about as far apart along z;"
        " 1 is full resolution.",
    )
    swap_margin: Positive = Field(
        0.25,
        description="Smallest margin with which every station and leg must be told from its"
        " fat-water exchange; below it the verdict is swap_uncertain.",
    )
    oblique_tolerance: Positive = Field(
        0.005,
        description="Largest component of an axis' unit direction across the patient's axes;"
        " 0.005 moves the edge of the field of view by 1.25 mm.",
    )
    contrasts: Unique[Literal["in_phase", "fat_fraction"]] = Field(
        [],
        description="Further stitched images for other tools, on the water image's grid:"
        " in_phase.nii.gz, and fat_fraction.nii.gz in percent, 0 outside the body.",
    )


class Landmarks(Section):
    """Hips and shoulders."""

    atlas: LocalPath | None = Field(
        None,
        description="Folder of body masks with landmarks: registration to them (the published "
        "route) instead of the body shape model.",
    )
    atlas_bodies: Count | None = Field(
        None, description="Bodies of the atlas to register; every body when empty. Published: 35."
    )
    least_confidence: Share = Field(
        0.75,
        description="How completely fat gives way around a femoral head in the images (0 to 1) for "
        "it to count as seen.",
    )


class Crops(Section):
    """The two boxes around the muscles."""

    normalisation: Literal["published", "paper"] = Field(
        "published", description="Above the 99th percentile: 0.975 (published code) or 1 (paper)."
    )
    coarsen: Literal[1, 2, 3, 6] = Field(
        1,
        description="Factor by which crops are averaged before the network, which halves four "
        "times; 1 as published.",
    )


class Network(Section):
    """The segmentation network."""

    base_filters: Count = Field(8, description="Filters of the first block; 8 as published.")
    variant: Literal["published", "paper"] = Field(
        "published",
        description="The authors' code, needed for published weights, or the paper's notation.",
    )


class Training(Section):
    """How the network is trained; the paper's values."""

    folds: Annotated[int, Field(ge=2)] = Field(6, description="Cross-validation folds.")
    to_annotate: Count = Field(
        90, description="Water images that the target export_for_annotation writes."
    )
    epochs: Count = Field(100, description="Epochs per model.")
    batch_size: Count = Field(3, description="Crops per step.")
    learning_rate: Positive = Field(1e-4, description="Adam's learning rate.")
    loss: Literal["dice", "dice+cross-entropy"] = Field(
        "dice", description="What is minimised; the paper's is Dice."
    )
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="Learning rate over the steps; the paper's is constant."
    )
    clip_norm: Annotated[float, Field(ge=0)] = Field(
        0, description="Largest norm of all gradients together; 0 leaves them as in the paper."
    )
    samples_per_muscle: Count = Field(
        16, description="Samples an epoch takes of each muscle, half of them mirrored."
    )
    on_the_fly: bool = Field(
        False, description="New random transformations every epoch instead of the same ones."
    )
    augmentation_strength: Annotated[float, Field(ge=0, le=1)] = Field(
        1, description="Share of the paper's ranges of random shift and scaling that is used."
    )
    early_stop: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs without a lower loss after which training ends; 0 never."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Arithmetic of training; the narrower ones need a GPU that has them."
    )
    start: LocalPath | None = Field(
        None,
        description="Weights that training begins with: a file or `starter`, for a network of the"
        " same filters and variant; random ones when empty, as in the paper.",
    )
    sweep_rates: Unique[Positive] = Field(
        [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6],
        min_length=1,
        description="Learning rates of the sweep.",
    )
    sweep_epochs: Count = Field(10, description="Epochs of each training in the sweep.")
    seed: Seed = Field(2020, description="Seed of folds, weights and augmentation.")


class Segmentation(Section):
    """Network output to masks."""

    weights: LocalPath | None = Field(
        None,
        description="Weights to use instead of training: our own or the published .h5, or"
        " `starter`, the package's own network, which has seen synthetic people only. Empty:"
        " trained on the annotations or, where no release has any, `starter`.",
    )
    weights_sha256: Annotated[str, AfterValidator(values.sha256)] | None = Field(
        None, description="SHA-256 the weights file must have; none records it unchecked."
    )
    threshold: OpenShare | Literal["calibrated"] | None = Field(
        None,
        description="Probability from which a voxel is muscle; when empty, what the weights were"
        " calibrated to, or 0.5 where they name nothing. `calibrated`: where a network is trained,"
        " the one at which its volumes are right in sum, chosen in cross-validation.",
    )
    batch_size: Count = Field(2, description="Crops per forward pass; a participant has two.")
    ensemble: bool = Field(
        False, description="Average the fold models' probabilities instead of the final model's."
    )
    flip: bool = Field(False, description="Average with the mirror image's probabilities.")
    annotated: Literal["network", "manual"] = Field(
        "network",
        description="Mask of a participant with a manual one: the network's, or the manual one"
        " itself, such as a mask corrected after review. The column `network` then says manual.",
    )
    keep_probabilities: bool = Field(
        False, description="Keep probabilities as well, in percent, as probability.nii.gz."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Arithmetic of the network; the narrower ones need a GPU."
    )

    @model_validator(mode="after")
    def _one_origin_of_the_network(self):
        if self.ensemble and self.weights:
            raise ValueError(
                "ensemble averages the fold models that this run trains, but weights names a file "
                "to use instead of training: leave one of the two out"
            )
        return self


class Volumes(Section):
    """Masks to measures."""

    fat_voxel_percent: Annotated[float, Field(gt=0, lt=100)] = Field(
        20, description="Fat fraction from which a voxel counts as intramuscular fat, %."
    )


class QualityControl(Section):
    """Limits of the quality flags, and what the review page shows."""

    relative_from: Count = Field(
        100,
        description="Participants of one sex and site (else of one sex, else all) from which the "
        "limits that began as a start follow the cohort's own values.",
    )
    relative_spreads: Positive = Field(
        5, description="Distance of such a limit from the group's median, robust SD."
    )
    min_volume_ml: Positive = Field(80, description="Smallest plausible muscle, ml.")
    max_volume_ml: Positive = Field(900, description="Largest plausible muscle, ml.")
    max_asymmetry_percent: Positive = Field(
        25, description="Largest left-right difference, % of the mean muscle."
    )
    max_asymmetry_z: Positive = Field(
        3.5, description="Asymmetry within sex, robust standard deviations."
    )
    max_outlier_z: Positive = Field(
        3.5, description="Volume and index given sex, height, age and BMI, robust SD."
    )
    max_visit_change_percent: Positive = Field(
        15, description="Change of total volume between two visits, %."
    )
    max_crop_border_cm2: NotNegative = Field(0.5, description="Mask on the faces of its crop, cm2.")
    max_loose_percent: NotNegative = Field(5, description="Loose pieces of a mask, % of it.")
    max_filled_percent: NotNegative = Field(2, description="Holes filled, % of the mask.")
    max_outside_body_percent: NotNegative = Field(0.5, description="Mask outside the body, %.")
    max_across_midline_percent: NotNegative = Field(0.5, description="Mask across the midline, %.")
    max_end_area_percent: Positive = Field(
        35, description="First or last level's cross-section, % of the largest."
    )
    max_area_step_percent: Positive = Field(
        35, description="Jump of the cross-section between levels, % of the largest."
    )
    max_length_z: Positive = Field(
        3.5, description="Muscle length given height and sex, robust SD."
    )
    max_fat_fraction_percent: Positive = Field(
        30, description="Median fat fraction of a muscle, %."
    )
    max_signal_z: Positive = Field(4, description="Water signal in the mask, robust SD.")
    max_water_step_percent: Positive = Field(
        60, description="Jump of the muscle's water signal between levels, %."
    )
    min_swap_confidence: NotNegative = Field(
        1.0, description="Margin of the least certain fat-water decision."
    )
    max_exchanged_ml: NotNegative = Field(
        0, description="Regions that may be exchanged and were left as they are, ml."
    )
    max_exchanges_mended_ml: NotNegative = Field(
        0, description="Exchanged regions put right without a flag, ml."
    )
    max_void_ml: Positive = Field(
        10, description="Signal void at a hip, ml; an implant's is 20 and more."
    )
    max_outline_cut_percent: NotNegative = Field(
        10, description="Outline cut off by the field of view without a note, %."
    )
    min_snr: NotNegative = Field(5, description="Signal-to-noise ratio.")
    min_seam_agreement: Share = Field(
        0.7, description="Correlation of stations' water share at the muscle's seams."
    )
    min_landmark_confidence: Share = Field(
        0.75, description="Confidence of the clearer femoral head, 0 to 1."
    )
    max_landmark_spread: Positive = Field(
        5, description="Spread of the joints' level over the atlas, slices."
    )
    max_spread_percent: Positive = Field(
        5, description="SD of the volume between fold models or flips, % of the volume."
    )
    min_probability: Share = Field(0.8, description="Mean network output inside the mask.")
    min_predicted_dice: Share = Field(0.8, description="Dice predicted by the quality model.")
    min_methods_dice: Share = Field(
        0.6, description="Dice with the masks of other_methods, the median of several."
    )
    quality_coverage: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="Coverage of the predicted volume error's interval and the Dice bound."
    )
    second_opinion: bool = Field(
        False,
        description="Segment with the package's starter network as well and record how far it"
        " disagrees; where nothing is annotated, quality is then predicted from synthetic people.",
    )
    min_second_dice: Share = Field(0.5, description="Dice of a mask and the starter network's.")
    review_sample: Annotated[int, Field(ge=0)] = Field(
        200, description="Unflagged participants drawn for the blinded review."
    )
    review_seed: Seed = Field(2020, description="Seed of that draw.")
    decisions: LocalPath | None = Field(
        None, description="TSV of review decisions, or a folder of them; rejected are excluded."
    )

    @model_validator(mode="after")
    def _volumes_in_order(self):
        if self.min_volume_ml >= self.max_volume_ml:
            raise ValueError(
                f"min_volume_ml: expected less than max_volume_ml, found {self.min_volume_ml:g} "
                f"and {self.max_volume_ml:g}"
            )
        return self


class Statistics(Section):
    """Tests and tables."""

    instance: Visit = Field(2, description="Imaging visit of the main statistics.")
    repeat_instance: Visit = Field(3, description="Visit compared with it.")
    min_cell: Count = Field(
        5, description="Counts below this are suppressed in shared tables; 1 shows everything."
    )
    basis: Annotated[int, Field(ge=4)] = Field(
        10, description="Basis functions of the curve of the muscle index by age."
    )
    age_column: Literal["age", "age_at_recruitment"] = Field(
        "age",
        description="Age of correlations and curve: at imaging, or at recruitment as the paper's "
        "Figure 7 says (its Table 1 does not say which).",
    )
    alpha: OpenShare = Field(0.05, description="Level below which a p is called significant.")
    flag_severities: Unique[Literal["serious", "review", "note"]] = Field(
        ["serious", "review"],
        description="Severities of quality flags that the sensitivity analysis leaves out.",
    )
    seed: Seed = Field(
        2020, description="Seed of the 5,000 values tested for normality where there are more."
    )

    @model_validator(mode="after")
    def _two_visits(self):
        if self.instance == self.repeat_instance:
            raise ValueError(
                f"instance and repeat_instance: expected two visits, found {self.instance} twice "
                "(for the repeat visit alone: instance 3, repeat_instance 2)"
            )
        return self


class Figures(Section):
    """The paper's figures."""

    dpi: Annotated[int, Field(ge=50, le=2400)] = Field(
        300, description="Resolution of PNG figures."
    )


class Egress(Section):
    """What may leave a secure environment; smallest count shown: statistics.min_cell."""

    folder: LocalPath | None = Field(
        None, description="Folder that is filled; `egress` below the results folder when empty."
    )
    also: list[Annotated[str, AfterValidator(values.below_results)]] = Field(
        [],
        description="Patterns, below the results folder, of further files that are to leave as"
        " they are; they are searched like the rest.",
    )
    max_mb: Positive = Field(
        10.0,
        description="Largest size of the folder in MB; figures get fewer dots, then lose their SVG,"
        " until it fits.",
    )


class Export(Section):
    """Results in other programs' formats, see docs/other-tools.md."""

    measures: Unique[str] = Field(
        [
            *("total_ml", "left_ml", "right_ml", "difference_ml", "imi_ml_m2", "lean_ml"),
            "fat_fraction_percent",
        ],
        min_length=1,
        description="Columns of volumes.tsv that become phenotypes, at visit statistics.instance.",
    )
    covariates: Unique[
        Literal[
            *("age", "age2", "sex", "age_sex", "age2_sex"),
            *("height_cm", "weight_kg", "bmi", "centre"),
        ]
    ] = Field(
        ["age", "age2", "sex", "centre"],
        description="Covariates beside them; age2, age_sex and age2_sex are of age less its mean.",
    )
    ids: Literal["pseudonyms", "eids"] = Field(
        "pseudonyms",
        description="What participants are called in the BIDS export: numbers whose key is"
        " `cohort/pseudonyms.tsv`, or their EIDs.",
    )
    images: bool = Field(
        False, description="Stitched images in the BIDS export too, not only masks."
    )


class Run(Section):
    """How the work is done."""

    max_failed_share: Share = Field(
        0.05, description="Share of participants that may fail before the run counts as failed."
    )
    max_machine_failures: Share = Field(
        0.2,
        description="Share of a shard's participants whom the machine may fail (a hanging or dying"
        " worker, memory, an unexpected error, a missing file) before its job stops at once.",
    )
    time_limit_s: Positive = Field(
        600,
        description="Seconds after which a participant is given up; time in which the machine, or "
        "the job on it, was suspended does not count.",
    )
    keep: Literal["everything", "results"] = Field(
        "everything",
        description="`results` removes a shard's stitched water and fat images once its volumes are"
        " measured (nine tenths of the disk); where needed, they are made again from the zip.",
    )
    shards_in_work: Count = Field(
        8,
        description="With `keep: results`, shards whose stitched images may be on the disk at a"
        " time.",
    )
    scratch: NodePath | None = Field(
        None,
        description="Folder on a node's own disk where crops are built before they are copied to"
        " the results; variables such as $TMPDIR are resolved on the node.",
    )
    copies: NodePath | None = Field(
        None,
        description="Folder on the machine's own disk with copies of zips, by their names; a zip"
        " with a copy there is read from it. `profiles/rap/worker.sh` sets and fills it.",
    )
    retry: list[Verdict] = Field(
        [],
        description="Verdicts, besides failures of the machine, that are tried again whenever"
        " their shard is worked on, and by `snakemake retry_failed`.",
    )

    @field_validator("retry")
    @classmethod
    def _failures_only(cls, verdicts):
        if Verdict.OK in verdicts:
            raise ValueError("expected verdicts of failures, found ok: who succeeded is not redone")
        return verdicts
