# Masks to the volume table: a row per participant of the cohort, with what made it.


rule volumes_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        segment=shard_file("segment.tsv"),
    output:
        ledger=shard_file("volumes.tsv"),
    log:
        log_file("volumes/{shard}"),
    benchmark:
        benchmark_file("volumes/{shard}")
    params:
        version=STAGES["volumes"],
        results=settings.results,
        time_limit_s=settings.run.time_limit_s,
    threads: workflow.cores
    resources:
        mem_mb=lambda wildcards, threads, attempt: 1000 * threads * attempt,
        runtime=240,
    script:
        "../../scripts/volumes_shard.py"


rule volumes:
    input:
        sample=rules.cohort.output.sample,
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        crops=every_shard("crops.tsv"),
        segment=every_shard("segment.tsv"),
        volumes=every_shard("volumes.tsv"),
    output:
        volumes=result("volumes.tsv"),
    log:
        log_file("volumes"),
    params:
        version=STAGES["volumes"],
        stage_versions=STAGES,
    resources:
        mem_mb=4000,
        runtime=60,
    script:
        "../../scripts/volumes.py"
