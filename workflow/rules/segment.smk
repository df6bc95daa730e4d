# Network to masks: the model is loaded once per shard.


def segmentation_weights(wildcards):
    """Your own or the published weights where configured, the final model otherwise."""
    return settings.segmentation.weights or result("model/final/model.weights.h5")


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
    params:
        version=STAGES["segment"],
        parameters=settings.segmentation.model_dump(mode="json", exclude={"weights"}),
        network=settings.network.model_dump(mode="json"),
        crops=settings.crops.model_dump(mode="json"),
        results=settings.results,
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=720,
    script:
        "../../scripts/segment.py"


rule segment:
    input:
        every_shard("segment.tsv"),
