# Paths and input functions that several stages share.

import csv


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


def shards_of_cohort(training_only=False):
    """Names of the shards, known once the cohort is drawn."""
    with checkpoints.cohort.get().output.shards.open(newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t"))
    return [row["shard"] for row in rows if not training_only or int(row["annotated"])]


def every_shard(name):
    """Input function: the file `name` of every shard."""
    return lambda wildcards: expand(shard_file(name), shard=shards_of_cohort())


def training_shards(name):
    """Input function: the file `name` of the shards that hold annotated participants."""
    return lambda wildcards: expand(
        shard_file(name), shard=shards_of_cohort(training_only=True)
    )
