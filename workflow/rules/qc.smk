# Quality flags, and the volume table with their verdict.


rule qc:
    input:
        sample=result("cohort/sample.tsv"),
        volumes=rules.collect_volumes.output.volumes,
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        crops=every_shard("crops.tsv"),
        segment=every_shard("segment.tsv"),
        ledger=every_shard("volumes.tsv"),
        decisions=settings.qc.decisions or [],
    output:
        volumes=result("volumes.tsv"),
        flags=result("qc/flags.tsv"),
        summary=result("qc/summary.tsv"),
        verdicts=result("qc/verdicts.tsv"),
        excluded=result("qc/excluded.tsv"),
    log:
        log_file("qc"),
    benchmark:
        benchmark_file("qc")
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=STAGES["qc"],
        qc=settings.qc.model_dump(mode="json", exclude={"decisions"}),
    script:
        "../../scripts/qc.py"
