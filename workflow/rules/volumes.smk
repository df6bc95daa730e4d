# Masks to the volume table: a row per participant of the cohort, with what made it.


rule volumes_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        segment=shard_file("segment.tsv"),
    output:
        ledger=update(shard_file("volumes.tsv")),
        profiles=shard_file("profiles.tsv"),
    log:
        log_file("volumes/{shard}"),
    benchmark:
        benchmark_file("volumes/{shard}")
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(1000 if KEEPS_IMAGES else 1500),
        runtime=minutes_for("volumes"),
    params:
        version=version_of("volumes"),
        results=results_folder,
        volumes=settings.volumes.model_dump(mode="json"),
        vertebrae=settings.vertebrae and settings.vertebrae.model_dump(mode="json"),
        listing=vertebrae_of_shard,
    script:
        "../../scripts/volumes_shard.py"


# The cohort's table before quality control adds its verdict.
rule collect_volumes:
    input:
        sample=result("cohort/sample.tsv"),
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        crops=every_shard("crops.tsv"),
        segment=every_shard("segment.tsv"),
        volumes=every_shard("volumes.tsv"),
        profiles=every_shard("profiles.tsv"),
    output:
        volumes=result("shards/volumes.tsv"),
        profiles=result("shards/profiles.tsv"),
    log:
        log_file("collect_volumes"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("volumes"),
    script:
        "../../scripts/collect_volumes.py"


rule volumes:
    input:
        result("volumes.tsv"),
