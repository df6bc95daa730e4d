# Shoulders, hips and knees in the stitched volumes.


rule landmarks_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        dixon=shard_file("dixon.tsv"),
    output:
        ledger=shard_file("landmarks.tsv"),
    log:
        log_file("landmarks/{shard}"),
    benchmark:
        benchmark_file("landmarks/{shard}")
    threads: CORES
    resources:
        mem_mb=growing_per_thread(1000),
        runtime=growing(240),
    params:
        version=STAGES["landmarks"],
        parameters=settings.landmarks.model_dump(mode="json"),
        results=results_folder,
        time_limit_s=settings.run.time_limit_s,
    script:
        "../../scripts/landmarks.py"


rule landmarks:
    input:
        every_shard("landmarks.tsv"),
