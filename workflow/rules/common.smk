# Paths and input functions that several stages share.

import csv
import functools
from pathlib import Path

from snakemake.exceptions import IncompleteCheckpointException, WorkflowError

from iliopsoas.starter import WEIGHTS as STARTER, path_of
from iliopsoas.ukb import listing

# Half of the machine's cores for a job, so that image stages of one shard run beside the network of
# another; image stages get all of a small machine. On a cluster a job gets as many as it can use.
CORES = workflow.resource_settings.cores
MOST = {"image": 16, "network": 8}
# CPU-seconds of a scan in each stage on a slow core, for the time that jobs ask for on a cluster
SECONDS = {"dixon": 20, "landmarks": 5, "crops": 5, "segment": 60, "volumes": 10}
SECONDS |= {"tool": 240}  # a guess: tools differ, and most are meant for a GPU
SECONDS |= {"opinion": 10}


def threads_for(kind):
    """Threads of a job of image stages or of the network."""
    if workflow.remote_exec or CORES is None:
        return MOST[kind]
    return min(CORES, MOST[kind], max({"image": 4, "network": 1}[kind], CORES // 2))


# what of the network's use changes its masks; a file's hash is checked once
SEGMENTATION = settings.segmentation.model_dump(
    mode="json", exclude={"weights", "weights_sha256", "batch_size", "annotated"}
)
KEEPS_IMAGES = settings.run.keep == "everything"
# Networks that are judged on annotations: of the folds, or the configured weights.
if not settings.segmentation.weights:
    JUDGED = [f"fold-{number}" for number in range(1, settings.training.folds + 1)]
elif any(release.annotations for release in settings.releases):
    JUDGED = ["configured"]
else:
    JUDGED = []


def version_of(stage):
    """A stage's version as a parameter. With its name: Snakemake compares the parameters of a rule as
    a set, in which a 2 that becomes a 3 hides behind another 3.
    """
    return f"{stage} {STAGES[stage]}"


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


def minutes_for(stage):
    """Run time that grows with a shard's participants and with every retry."""

    def minutes(wildcards, threads, attempt):
        scans = participants_of(wildcards.shard)
        # three times what was measured: nodes differ, and some scans take longer
        return attempt * round(20 + 3 * scans * SECONDS[stage] / threads / 60)

    return minutes


@functools.cache
def table_of_shards(changed):
    """The rows of the table of shards; `changed` is when it was written."""
    with open(result("cohort/shards.tsv"), newline="") as table:
        return {row["shard"]: row for row in csv.DictReader(table, delimiter="\t")}


def row_of(shard):
    """A shard's row of that table; empty before there is one."""
    path = Path(result("cohort/shards.tsv"))
    rows = table_of_shards(path.stat().st_mtime_ns) if path.exists() else {}
    return rows.get(shard, {})


def participants_of(shard):
    return int(row_of(shard).get("participants", settings.cohort.shard_size))


def shards_of_cohort(training_only=False):
    """Names of the shards, known once the cohort is drawn."""
    path = Path(checkpoints.cohort.get().output.shards)
    rows = table_of_shards(path.stat().st_mtime_ns)
    return [
        shard
        for shard, row in rows.items()
        if not training_only or int(row["annotated"])
    ]


def after_folds():
    """Wait, where a model is trained, until it is known whether what it is trained on changed.

    What comes after the model is planned only then: Snakemake runs everything that it has once
    planned to run, although what it waited for turns out not to be needed.
    """
    if settings.segmentation.weights:
        return
    folds = checkpoints.folds.get()
    # once the cohort is drawn, Snakemake (9.27) takes the table of an earlier run for today's
    if any(
        job.rule.name == "folds" and workflow.dag.needrun(job)
        for job in workflow.dag.jobs
        if not workflow.dag.finished(job)
    ):
        raise IncompleteCheckpointException(folds.rule, folds.output[0])


AFTER_MODEL = {
    "segment.tsv",
    "opinion.tsv",
    "volumes.tsv",
    "profiles.tsv",
    "methods.tsv",
    "images_removed.json",
}


def every_shard(name):
    """Input function: the file `name` of every shard."""

    def files_of_shards(wildcards):
        shards = shards_of_cohort()
        if name in AFTER_MODEL:
            after_folds()
        return expand(shard_file(name), shard=shards, **dict(wildcards.items()))

    return files_of_shards


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
                "another, set weights to starter for the package's own network, or to null to train "
                "on annotations."
            )
        return settings.segmentation.weights
    after_folds()
    if settings.segmentation.ensemble:
        return expand(result("model/{judged}/model.h5"), judged=JUDGED)
    return result("model/final/model.h5")


def thresholds(wildcards):
    """Thresholds chosen in cross-validation, where they are asked for."""
    calibrated = settings.segmentation.threshold == "calibrated"
    return result("model/thresholds.tsv") if calibrated else []


def judged_weights(wildcards):
    """The network of a fold, or the configured one."""
    if wildcards.judged == "configured":
        return segmentation_weights(wildcards)
    return result(f"model/{wildcards.judged}/model.h5")


def annotated_crops(wildcards):
    """Crop files with annotated participants; what of them matters is in the table of folds."""
    # the cohort first: a job that waits for it is planned anew once it is drawn
    crops = training_shards("crops.h5")(wildcards)
    checkpoints.folds.get()
    return crops


def starting_weights(wildcards):
    """The weights that training begins with, where it does not begin with random ones."""
    start = settings.training.start
    return str(path_of(start)) if start else []


def checked_weights(wildcards):
    """The sign that configured weights can be used."""
    return result("model/weights.json") if settings.segmentation.weights else []


def validation_table(wildcards):
    """The cross-validation, or the validation of configured weights, where there are annotations."""
    if JUDGED == ["configured"]:
        return result("model/configured/validation.tsv")
    return result("model/cross_validation.tsv") if JUDGED else []


def review_decisions(wildcards):
    """The files of decisions; a folder's own time does not say that a file in it changed."""
    if not settings.qc.decisions:
        return []
    path = Path(settings.qc.decisions)
    return sorted(map(str, path.glob("[!.]*.tsv"))) or [str(path)]


def shard_before(wildcards):
    """With `run.keep: results`, the shard whose images must be gone before this one's are made.

    Shards that are trained on come first and wait for nobody: the model waits for them.
    """
    trains = not settings.segmentation.weights
    names = [
        shard
        for shard in ([] if KEEPS_IMAGES else shards_of_cohort())
        if not (trains and int(row_of(shard)["annotated"]))
    ]
    if wildcards.shard not in names:
        return []
    after_folds()
    place = names.index(wildcards.shard) - settings.run.shards_in_work
    return result(f"shards/{names[place]}/images_removed.json") if place >= 0 else []


def drawn_here(wildcards):
    """The ledger of the command that draws another tool's masks, where it has one."""
    if OTHER_METHODS[wildcards.method].command:
        return shard_file("tool/{method}.tsv")
    return []


def drawn_elsewhere(wildcards):
    """The folder of another tool's masks that are there already."""
    method = OTHER_METHODS[wildcards.method]
    return [] if method.command else method.folder


def listed(wildcards, folder, patterns):
    """Whether another tool's files of a shard came, went or were replaced."""
    # no argument `input`: Snakemake does not compare parameters that follow from inputs
    manifest = Path(shard_file("manifest.tsv").format(shard=wildcards.shard))
    if not manifest.exists():
        return None
    from iliopsoas.masks.other_tools import file_of

    with open(manifest, newline="") as table:
        return listing.of_files(
            {
                file_of(folder, pattern, row["eid"], row["instance"])
                for row in csv.DictReader(table, delimiter="\t")
                for pattern in patterns
            }
        )


def masks_of_shard(wildcards):
    method = OTHER_METHODS[wildcards.method]
    if method.command:  # its ledger says so
        return None
    return listed(wildcards, method.folder, [method.left_file, method.right_file])


def vertebrae_of_shard(wildcards):
    found = settings.vertebrae
    return listed(wildcards, found.folder, [found.file]) if found else None


def overlap_of_methods(wildcards):
    """How well every shard's masks agree with those of other tools, where there are any."""
    return every_shard("methods.tsv")(wildcards) if settings.other_methods else []


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
