# Two boxes around the muscles, cropped from the water volume; with them the manual masks.


rule crops_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        landmarks=shard_file("landmarks.tsv"),
    output:
        crops=shard_file("crops.h5"),
        ledger=shard_file("crops.tsv"),
    log:
        log_file("crops/{shard}"),
    benchmark:
        benchmark_file("crops/{shard}")
    threads: CORES
    resources:
        mem_mb=growing_per_thread(500 if KEEPS_IMAGES else 1500),
        runtime=growing(240),
        # no parameter: where a file is built changes nothing in it
        scratch=settings.run.scratch or "",
    params:
        version=STAGES["crops"],
        results=results_folder,
        time_limit_s=settings.run.time_limit_s,
    script:
        "../../scripts/crops.py"


rule crops:
    input:
        every_shard("crops.tsv"),
