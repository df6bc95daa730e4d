# Shoulders, hips and knees in the stitched volumes.


rule landmarks_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        dixon=shard_file("dixon.tsv"),
    output:
        ledger=update(shard_file("landmarks.tsv")),
    log:
        log_file("landmarks/{shard}"),
    benchmark:
        benchmark_file("landmarks/{shard}")
    group:
        "images"
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(1000),
        runtime=minutes_for("landmarks"),
    params:
        version=version_of("landmarks"),
        parameters=settings.landmarks.model_dump(mode="json"),
        results=results_folder,
    script:
        "../../scripts/landmarks.py"


rule landmarks:
    input:
        every_shard("landmarks.tsv"),
