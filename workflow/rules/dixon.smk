# Zip to one water volume, one fat volume and one body mask per participant.


rule dixon_shard:
    input:
        manifest=shard_file("manifest.tsv"),
    output:
        ledger=shard_file("dixon.tsv"),
    log:
        log_file("dixon/{shard}"),
    benchmark:
        benchmark_file("dixon/{shard}")
    threads: CORES
    resources:
        mem_mb=growing_per_thread(1500),
        runtime=growing(720),
    params:
        version=STAGES["dixon"],
        parameters=settings.dixon.model_dump(mode="json"),
        results=results_folder,
        time_limit_s=settings.run.time_limit_s,
    script:
        "../../scripts/dixon.py"


rule dixon:
    input:
        every_shard("dixon.tsv"),
