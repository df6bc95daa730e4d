# Zip to one water volume, one fat volume and one body mask per participant. A ledger is marked as
# updated: Snakemake leaves it in place, and who is in it is not done again.


rule dixon_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        before=shard_before,
    output:
        ledger=update(shard_file("dixon.tsv")),
    log:
        log_file("dixon/{shard}"),
    benchmark:
        benchmark_file("dixon/{shard}")
    group:
        "images"
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(1500),
        runtime=minutes_for("dixon"),
    params:
        version=version_of("dixon"),
        parameters=settings.dixon.model_dump(mode="json"),
        results=results_folder,
    script:
        "../../scripts/dixon.py"


rule dixon:
    input:
        every_shard("dixon.tsv"),
