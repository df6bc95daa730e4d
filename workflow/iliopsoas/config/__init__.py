"""Typed configuration: one model per section, the paper's values as defaults.

The JSON schema under workflow/schemas/ and the key list in config/README.md are
generated from these models (``make config-docs``); a test fails where they drift.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from iliopsoas import starter
from iliopsoas.status import InputError, Verdict

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A section that refuses keys it does not know, so that no typing slip is silent."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Release(Section):
    """One data release: a folder of zips and the tables that describe its participants."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$")] = Field(
        description="Short name; the first part of its shards' names."
    )
    zips: str = Field(
        description="Folder of <EID>_20201_<instance>_<array>.zip; subfolders are searched too. Or "
        "a file with a path a line, or with what `dx find data --property field_id=20201` prints."
    )
    mount: str = Field(
        "/mnt/project",
        description="Put before the paths in what `dx find data` prints: where the platform shows "
        "a project's files.",
    )
    phenotypes: list[str] = Field(
        min_length=1, description="Phenotype tables, CSV or TSV in any UK Biobank dialect."
    )
    annotations: str | None = Field(
        None, description="Folder of manual masks, <EID>_<instance>[_left|_right].nii.gz or .nrrd."
    )


class Phantom(Section):
    """The synthetic cohort, made when this section is present."""

    folder: str = Field("resources/phantom", description="Where the synthetic cohort is written.")
    participants: Count = Field(28, description="Participants with a zip.")
    annotated: Annotated[int, Field(ge=0)] = Field(
        10, description="Of these, how many have manual annotations."
    )
    repeats: Annotated[int, Field(ge=0)] = Field(
        2, description="Of these, how many have a repeat visit (instance 3) as well."
    )
    faults: list[str] = Field(
        default=["swapped:4", "missing:3", "missing:6", "truncated"],
        description="Planted faults, one participant each, none of them annotated: "
        "swapped:STATION, missing:STATION, truncated and the others of iliopsoas.phantom.faults.",
    )
    seed: int = Field(2020, description="Seed of the whole cohort.")


class Cohort(Section):
    """Who is measured."""

    instances: list[Literal[2, 3]] = Field([2, 3], description="Imaging visits to measure.")
    size: Count | Literal["everyone"] = Field(
        5000, description="Participants to draw, or everyone."
    )
    age_groups: list[tuple[int, int]] = Field(
        [(44, 53), (54, 63), (64, 72), (73, 82)],
        description="Inclusive age groups in years; with sex they are the strata. The paper "
        "prints 63-72, which overlaps at 63.",
    )
    exclusions: list[str] = Field(
        [], description="Lists of participants to leave out: one EID per line, no header."
    )
    seed: int = Field(2020, description="Seed of the draw.")
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


class Landmarks(Section):
    """Hips and shoulders."""

    atlas: str | None = Field(
        None,
        description="Folder of body masks with landmarks: registration to them (the published "
        "route) instead of the body shape model.",
    )
    atlas_bodies: Count | None = Field(
        None, description="Bodies of the atlas to register; every body when empty. Published: 35."
    )
    least_confidence: Share = Field(
        0.45,
        description="Evenness of a femoral head's edge in the images (0 to 1) below which the "
        "coarse position stands.",
    )


class Crops(Section):
    """The two boxes around the muscles."""

    normalisation: Literal["published", "paper"] = Field(
        "published", description="Above the 99th percentile: 0.975 (published code) or 1 (paper)."
    )
    coarsen: Count = Field(
        1, description="Factor by which crops are averaged before the network; 1 as published."
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
    start: str | None = Field(
        None,
        description="Weights that training begins with: a file or `starter`, for a network of the"
        " same filters and variant; random ones when empty, as in the paper.",
    )
    sweep_rates: list[Positive] = Field(
        [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6], description="Learning rates of the sweep."
    )
    sweep_epochs: Count = Field(10, description="Epochs of each training in the sweep.")
    seed: int = Field(2020, description="Seed of folds, weights and augmentation.")


class Segmentation(Section):
    """Network output to masks."""

    weights: str | None = Field(
        None,
        description="Weights to use instead of training: our own or the published .h5, or"
        " `starter`, the package's own network, which has seen synthetic people only. Empty:"
        " trained on the annotations or, where no release has any, `starter`.",
    )
    weights_sha256: str | None = Field(
        None, description="SHA-256 the weights file must have; none records it unchecked."
    )
    threshold: Share | None = Field(
        None,
        description="Probability from which a voxel is muscle; when empty, what the weights were"
        " calibrated to, or 0.5 where they name nothing.",
    )
    batch_size: Count = Field(2, description="Crops per forward pass, both sides counted.")
    ensemble: bool = Field(
        False, description="Average the fold models' probabilities instead of the final model's."
    )
    flip: bool = Field(False, description="Average with the mirror image's probabilities.")
    keep_probabilities: bool = Field(
        False, description="Keep probabilities as well, in percent, as probability.nii.gz."
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Arithmetic of the network; the narrower ones need a GPU."
    )


class Volumes(Section):
    """Masks to measures."""

    fat_voxel_percent: Annotated[float, Field(gt=0, lt=100)] = Field(
        20, description="Fat fraction from which a voxel counts as intramuscular fat, %."
    )


class QualityControl(Section):
    """Limits of the quality flags, and what the review page shows."""

    max_missing_sides: float = Field(0, description="Muscles without a volume, allowed.")
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
    max_crop_border_cm2: float = Field(0.5, description="Mask on the faces of its crop, cm2.")
    max_image_border_voxels: float = Field(0, description="Mask voxels at the image's border.")
    max_removed_percent: float = Field(5, description="Loose pieces removed, % of the mask.")
    max_filled_percent: float = Field(2, description="Holes filled, % of the mask.")
    max_components: float = Field(1, description="Pieces of one muscle's final mask.")
    max_outside_body_percent: float = Field(0.5, description="Mask outside the body, %.")
    max_across_midline_percent: float = Field(0.5, description="Mask across the midline, %.")
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
        25, description="Jump of the muscle's water signal between levels, %."
    )
    max_swaps_corrected: float = Field(0, description="Fat-water swaps corrected without a note.")
    min_swap_confidence: float = Field(
        1.0, description="Margin of the least certain fat-water decision."
    )
    max_stations_missing: float = Field(0, description="Stations missing without a note.")
    min_snr: float = Field(5, description="Signal-to-noise ratio.")
    max_slices_interpolated: float = Field(0, description="Gaps interpolated without a note.")
    max_seam_residual: Positive = Field(
        0.25, description="Difference of stations at the muscle's seams, log ratio."
    )
    min_landmark_confidence: float = Field(
        0.45, description="Evenness of the less certain femoral head, 0 to 1."
    )
    max_landmark_spread: Positive = Field(
        5, description="Spread of the joints' level over the atlas, slices."
    )
    max_spread_percent: Positive = Field(
        5, description="SD of the volume between fold models or flips, % of the volume."
    )
    min_probability: float = Field(0.8, description="Mean network output inside the mask.")
    min_predicted_dice: float = Field(0.8, description="Dice predicted by the quality model.")
    quality_coverage: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        0.95, description="Coverage of the predicted volume error's interval and the Dice bound."
    )
    review_sample: Annotated[int, Field(ge=0)] = Field(
        200, description="Unflagged participants drawn for the blinded review."
    )
    review_seed: int = Field(2020, description="Seed of that draw.")
    decisions: str | None = Field(
        None, description="TSV of review decisions, or a folder of them; rejected are excluded."
    )


class OtherMethod(Section):
    """Iliopsoas masks of another tool, measured and judged like this run's."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = Field(
        description="Name in tables and folders, such as totalsegmentator."
    )
    folder: str = Field(description="Folder of the tool's results.")
    left_file: str = Field(
        "{subject}.nii.gz",
        description="File below the folder that holds the left muscle; {subject} stands for "
        "<EID>_<instance>, {eid} and {instance} for its parts.",
    )
    right_file: str = Field(
        "{subject}.nii.gz", description="Likewise the right muscle; the same file or another."
    )
    left_labels: list[Count] = Field(
        [1], min_length=1, description="Label values that are the left iliopsoas."
    )
    right_labels: list[Count] = Field(
        [2], min_length=1, description="Label values that are the right iliopsoas."
    )

    @model_validator(mode="after")
    def _sides_differ(self):
        if self.left_file == self.right_file and set(self.left_labels) & set(self.right_labels):
            raise ValueError(
                "left_labels and right_labels must differ where both muscles are in one file"
            )
        for name in ("left_file", "right_file"):
            pattern = getattr(self, name)
            try:
                one, other = (pattern.format(subject=s, eid=s, instance=s) for s in "ab")
            except (KeyError, IndexError, ValueError, AttributeError):
                one = other = ""
            if one == other or not ("{subject}" in pattern or "{eid}" in pattern):
                raise ValueError(
                    f"{name}: expected {{subject}}, or {{eid}} and {{instance}}, found {pattern!r}"
                )
        return self


class Statistics(Section):
    """Tests and tables."""

    instance: Literal[2, 3] = Field(2, description="Imaging visit of the main statistics.")
    repeat_instance: Literal[2, 3] = Field(3, description="Visit compared with it.")
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
    alpha: Share = Field(0.05, description="Level below which a p is called significant.")
    flag_severities: list[str] = Field(
        ["serious", "review"],
        description="Severities of quality flags that the sensitivity analysis leaves out.",
    )
    seed: int = Field(
        2020, description="Seed of the 5,000 values tested for normality where there are more."
    )


class Figures(Section):
    """The paper's figures."""

    dpi: Count = Field(300, description="Resolution of PNG figures.")


class Egress(Section):
    """What may leave a secure environment; smallest count shown: statistics.min_cell."""

    folder: str | None = Field(
        None, description="Folder that is filled; `egress` below the results folder when empty."
    )
    also: list[str] = Field(
        [],
        description="Patterns, below the results folder, of further files that are to leave as"
        " they are; they are searched like the rest.",
    )
    max_mb: Positive = Field(
        10.0,
        description="Largest size of the folder in MB; figures get fewer dots, then lose their SVG,"
        " until it fits.",
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
        600, description="Seconds after which a participant is given up."
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
    scratch: str | None = Field(
        None,
        description="Folder on a node's own disk where crops are built before they are copied to"
        " the results; variables such as $TMPDIR are resolved on the node.",
    )
    retry: list[Verdict] = Field(
        [],
        description="Verdicts, besides failures of the machine, that are tried again whenever"
        " their shard is worked on, and by `snakemake retry_failed`.",
    )


class Config(Section):
    """The whole configuration."""

    results: str = Field("results", description="Folder of all outputs.")
    releases: list[Release] = Field(min_length=1, description="Data releases, oldest first.")
    release_tag: str | None = Field(
        None,
        description="Tag, a letter first, under which `snakemake freeze` keeps the results, and"
        " with which `snakemake drift` compares them.",
    )
    withdrawals: list[str] = Field([], description="UK Biobank withdrawal files (w*.csv).")
    phantom: Phantom | None = Field(None, description="Synthetic cohort; leave out for real data.")
    cohort: Cohort = Cohort()
    dixon: Dixon = Dixon()
    landmarks: Landmarks = Landmarks()
    crops: Crops = Crops()
    network: Network = Network()
    training: Training = Training()
    segmentation: Segmentation = Segmentation()
    volumes: Volumes = Volumes()
    qc: QualityControl = QualityControl()
    other_methods: list[OtherMethod] = Field(
        [], description="Masks of other tools, compared with this run's."
    )
    statistics: Statistics = Statistics()
    figures: Figures = Figures()
    egress: Egress = Egress()
    run: Run = Run()

    @model_validator(mode="after")
    def _starter_where_nothing_else(self):
        """Name the starter network's file where it is asked for, or nothing else can be used."""
        weights = self.segmentation.weights
        if weights is None and not any(release.annotations for release in self.releases):
            weights = starter.NAME
        if weights == starter.NAME:
            chosen = self.segmentation.model_copy(update={"weights": str(starter.WEIGHTS)})
            object.__setattr__(self, "segmentation", chosen)
        return self

    @model_validator(mode="after")
    def _names_differ(self):
        names = [release.name for release in self.releases]
        if len(set(names)) != len(names):
            raise ValueError(f"releases must have different names, found {names}")
        names = [method.name for method in self.other_methods]
        if len(set(names)) != len(names):
            raise ValueError(f"other_methods must have different names, found {names}")
        return self


def load(source) -> Config:
    """Validate a configuration.

    Parameters
    ----------
    source : dict or path
        A mapping (Snakemake's ``config``) or a YAML file.

    Raises
    ------
    InputError
        Naming every wrong key, what was found and what was expected.
    """
    if isinstance(source, str | Path):
        source = yaml.safe_load(Path(source).read_text())
    try:
        return Config.model_validate(source)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']) or 'configuration'}: {item['msg']}"
            f" (found {item['input']!r:.80})"
            for item in error.errors()
        ]
        raise InputError("The configuration cannot be used:\n" + "\n".join(lines)) from None
