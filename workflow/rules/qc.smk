# Quality flags, the volume table with their verdict, and the page to review them.

QC_TABLES = [
    "flags",
    "summary",
    "verdicts",
    "drawn",
    "decisions",
    "excluded",
    "agreement",
    "residual",
]


rule qc_flags:
    input:
        sample=result("cohort/sample.tsv"),
        measured=rules.collect_volumes.output.volumes,
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        crops=every_shard("crops.tsv"),
        segment=every_shard("segment.tsv"),
        volumes=every_shard("volumes.tsv"),
        decisions=settings.qc.decisions or [],
    output:
        **{name: result(f"qc/{name}.tsv") for name in QC_TABLES},
        volumes=result("volumes.tsv"),
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


rule review_page:
    input:
        sample=result("cohort/sample.tsv"),
        volumes=rules.qc_flags.output.volumes,
        flags=rules.qc_flags.output.flags,
        summary=rules.qc_flags.output.summary,
        verdicts=rules.qc_flags.output.verdicts,
        drawn=rules.qc_flags.output.drawn,
    output:
        page=directory(result("qc/review")),
    log:
        log_file("review_page"),
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=STAGES["qc"],
        results=settings.results,
    script:
        "../../scripts/review_page.py"


rule qc:
    input:
        rules.qc_flags.output,
        rules.review_page.output,
