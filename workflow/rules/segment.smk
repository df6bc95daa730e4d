# Network to masks: the model is loaded once per shard.


rule segment_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        crops=shard_file("crops.h5"),
        crops_ledger=shard_file("crops.tsv"),
        weights=segmentation_weights,
    output:
        ledger=shard_file("segment.tsv"),
    log:
        log_file("segment/{shard}"),
    benchmark:
        benchmark_file("segment/{shard}")
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=720,
    params:
        version=STAGES["segment"],
        parameters=settings.segmentation.model_dump(mode="json", exclude={"weights"}),
        crop=settings.crops.model_dump(mode="json"),
        results=results_folder,
    script:
        "../../scripts/segment.py"


rule segment:
    input:
        every_shard("segment.tsv"),
