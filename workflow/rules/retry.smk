# `snakemake retry_failed`: the participants whose machine failed, and what depends on them.

import time


# Removes the ledgers that hold a failure; the stages that write them again do nobody again who
# has been done. A checkpoint, because only then Snakemake looks again at what is there.
checkpoint find_failed:
    input:
        result("cohort/shards.tsv"),
    output:
        counts=result("retry.tsv"),
    log:
        log_file("find_failed"),
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        results=results_folder,
        retry=[str(verdict) for verdict in settings.run.retry],
        asked=lambda wildcards: time.time(),
    script:
        "../../scripts/find_failed.py"


rule retry_failed:
    input:
        everything_again,
