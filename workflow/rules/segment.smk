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
    threads: CORES
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(720),
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
