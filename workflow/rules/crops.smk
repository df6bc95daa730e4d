# Two boxes around the muscles, cropped from the water volume; with them the manual masks.


rule crops_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        landmarks=shard_file("landmarks.tsv"),
    output:
        crops=(update if KEEPS_IMAGES else temp)(shard_file("crops.h5")),
        ledger=update(shard_file("crops.tsv")),
    log:
        log_file("crops/{shard}"),
    benchmark:
        benchmark_file("crops/{shard}")
    group:
        "images"
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(500 if KEEPS_IMAGES else 1500),
        runtime=minutes_for("crops"),
    params:
        version=version_of("crops"),
        results=results_folder,
    script:
        "../../scripts/crops.py"


rule crops:
    input:
        every_shard("crops.tsv"),
