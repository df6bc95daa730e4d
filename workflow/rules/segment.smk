# Network to masks: the model is loaded once per shard.


if settings.segmentation.weights:

    # Before all others: a wrong file stops the run at once, not when the first shard is segmented.
    rule check_weights:
        input:
            weights=segmentation_weights,
        output:
            result("model/weights.json"),
        log:
            log_file("check_weights"),
        priority: 100
        localrule: True
        resources:
            mem_mb=growing(3000),
            runtime=growing(10),
        params:
            version=version_of("segment"),
            parameters=SEGMENTATION,
            sha256=settings.segmentation.weights_sha256,
            crop=settings.crops.model_dump(mode="json"),
        script:
            "../../scripts/check_weights.py"


rule segment_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        crops=shard_file("crops.h5"),
        crops_ledger=shard_file("crops.tsv"),
        weights=segmentation_weights,
        checked=checked_weights,
        thresholds=thresholds,
    output:
        ledger=update(shard_file("segment.tsv")),
    log:
        log_file("segment/{shard}"),
    benchmark:
        benchmark_file("segment/{shard}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=minutes_for("segment"),
    params:
        version=version_of("segment"),
        parameters=SEGMENTATION,
        annotated=settings.segmentation.annotated,
        crop=settings.crops.model_dump(mode="json"),
        results=results_folder,
    script:
        "../../scripts/segment.py"


rule segment:
    input:
        every_shard("segment.tsv"),
