"""The stages of the workflow: what each reads, calls and leaves behind.

Every public function here is what one rule runs. Heavy libraries are imported inside the
functions, so that a stage pays only for what it uses.
"""

from iliopsoas.stages.analysis import (
    accepted,
    figure1,
    figure3,
    figure_s1,
    overlays,
    review_page,
    sampled,
)
from iliopsoas.stages.cohort import cohort
from iliopsoas.stages.common import read_ledgers
from iliopsoas.stages.images import remove as remove_images
from iliopsoas.stages.imaging import crops, dixon, landmarks, volumes_of_shard
from iliopsoas.stages.learning import (
    check_weights,
    export_for_annotation,
    folds,
    learning_rate_sweep,
    quality_rows,
    segment,
    train,
    validate,
)
from iliopsoas.stages.other import other_masks, other_table

__all__ = [
    "accepted",
    "check_weights",
    "cohort",
    "crops",
    "dixon",
    "export_for_annotation",
    "figure1",
    "figure3",
    "figure_s1",
    "folds",
    "landmarks",
    "learning_rate_sweep",
    "other_masks",
    "other_table",
    "overlays",
    "quality_rows",
    "read_ledgers",
    "remove_images",
    "review_page",
    "sampled",
    "segment",
    "train",
    "validate",
    "volumes_of_shard",
]
