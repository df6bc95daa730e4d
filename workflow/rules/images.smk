# With `run.keep: results`, a shard's images go as soon as nothing else in the shard reads them.
rule remove_images:
    input:
        manifest=shard_file("manifest.tsv"),
        dixon=shard_file("dixon.tsv"),
        volumes=shard_file("volumes.tsv"),
        other=expand(
            shard_file("other/{method}.tsv"), method=OTHER_METHODS, allow_missing=True
        ),
    output:
        shard_file("images_removed.json"),
    log:
        log_file("remove_images/{shard}"),
    resources:
        mem_mb=growing(1000),
        runtime=growing(30),
    params:
        results=results_folder,
        parameters=settings.dixon.model_dump(mode="json"),
    script:
        "../../scripts/remove_images.py"
