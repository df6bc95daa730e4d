# With `qc.second_opinion`: what the starter network says of every mask.


rule opinion_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        crops=shard_file("crops.h5"),
        segment=shard_file("segment.tsv"),
        starter=str(STARTER),
    output:
        ledger=update(shard_file("opinion.tsv")),
    log:
        log_file("opinion/{shard}"),
    benchmark:
        benchmark_file("opinion/{shard}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=minutes_for("opinion"),
    params:
        version=version_of("opinion"),
        normalisation=settings.crops.normalisation,
        results=results_folder,
    script:
        "../../scripts/opinion.py"
