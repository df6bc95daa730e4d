# Paths and input functions that several stages share.

import csv
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The cores of this machine; on a cluster there is no --cores, and the profile's set-threads say it.
CORES = workflow.resource_settings.cores or 1

KEEPS_IMAGES = settings.run.keep == "everything"


def result(path):
    """A path below the results folder."""
    return f"{settings.results}/{path}"


def shard_file(name):
    """A file of a shard, with the shard as wildcard."""
    return result(f"shards/{{shard}}/{name}")


def log_file(name):
    return result(f"logs/{name}.log")


def benchmark_file(name):
    return result(f"benchmarks/{name}.tsv")


def growing(amount):
    """A resource that grows with every retry: MB of memory, or minutes."""
    return lambda wildcards, attempt: amount * attempt


def growing_per_thread(amount):
    """The same for each thread: every worker process holds a participant of its own."""
    return lambda wildcards, threads, attempt: amount * threads * attempt


def shards_of_cohort(training_only=False):
    """Names of the shards, known once the cohort is drawn."""
    with checkpoints.cohort.get().output.shards.open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [row["shard"] for row in rows if not training_only or int(row["annotated"])]


def every_shard(name):
    """Input function: the file `name` of every shard."""
    return lambda wildcards: expand(
        shard_file(name), shard=shards_of_cohort(), **dict(wildcards.items())
    )


def training_shards(name):
    """Input function: the file `name` of the shards that hold annotated participants."""
    return lambda wildcards: expand(
        shard_file(name), shard=shards_of_cohort(training_only=True)
    )


def results_folder(wildcards):
    """Where results lie; a function, because the folder is no file of any rule."""
    return settings.results


def segmentation_weights(wildcards):
    """Configured weights, the fold models of an ensemble, or the final model."""
    if settings.segmentation.weights:
        if not Path(settings.segmentation.weights).exists():
            raise WorkflowError(
                f"segmentation.weights: {settings.segmentation.weights} does not exist. Put the "
                "file there (config/ukbb.yaml says where the published one comes from), name "
                "another, or set weights to null to train on annotations."
            )
        return settings.segmentation.weights
    if settings.segmentation.ensemble:
        folds = range(1, settings.training.folds + 1)
        return expand(result("model/fold-{fold}/model.h5"), fold=folds)
    return result("model/final/model.h5")


def checked_weights(wildcards):
    """The sign that configured weights can be used."""
    return result("model/weights.json") if settings.segmentation.weights else []


def quality_rows_of_folds(wildcards):
    """What predicted quality is learned from, where a model is trained in this run."""
    if settings.segmentation.weights:
        return []
    folds = range(1, settings.training.folds + 1)
    return expand(result("model/fold-{fold}/quality.tsv"), fold=folds)


def cross_validation_table(wildcards):
    """The cross-validation, where a model is trained in this run."""
    if settings.segmentation.weights:
        return []
    return result("model/cross_validation.tsv")


def validation_examples(wildcards):
    """Slices for the overlays of Figure 2, where a model is trained in this run."""
    if settings.segmentation.weights:
        return []
    folds = range(1, settings.training.folds + 1)
    return expand(result("model/fold-{fold}/examples.npz"), fold=folds)


def review_decisions(wildcards):
    """The files of decisions; a folder's own time does not say that a file in it changed."""
    if not settings.qc.decisions:
        return []
    path = Path(settings.qc.decisions)
    return sorted(map(str, path.glob("[!.]*.tsv"))) or [str(path)]


def recovery_summary(wildcards):
    """The synthetic cohort's recovery, where the cohort is synthetic."""
    return result("phantom/recovery_summary.tsv") if settings.phantom else []


def everything_again(wildcards):
    """What `all` asks for, once the failures are known."""
    checkpoints.find_failed.get()
    asked = []
    for item in rules.all.rule.input:
        asked += item(wildcards) if callable(item) else [item]
    return asked
