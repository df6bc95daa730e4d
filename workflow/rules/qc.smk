# Quality flags, the volume table with their verdict, and the page to review them.

QC_TABLES = tables.names("qc")


rule qc_flags:
    input:
        sample=result("cohort/sample.tsv"),
        measured=rules.collect_volumes.output.volumes,
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        crops=every_shard("crops.tsv"),
        segment=every_shard("segment.tsv"),
        volumes=every_shard("volumes.tsv"),
        opinion=every_shard("opinion.tsv") if settings.qc.second_opinion else [],
        methods=overlap_of_methods,
        quality_rows=expand(result("model/{judged}/quality.tsv"), judged=JUDGED),
        decisions=review_decisions,
    output:
        **{name: result(f"qc/{name}.tsv") for name in QC_TABLES},
        volumes=result("volumes.tsv"),
        figure=report(
            result("qc/quality.png"),
            caption="../report/quality.rst",
            category="Quality control",
        ),
    log:
        log_file("qc"),
    benchmark:
        benchmark_file("qc")
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        version=version_of("qc"),
        qc=settings.qc.model_dump(mode="json", exclude={"decisions"}),
        tables=QC_TABLES,
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
        quality=rules.qc_flags.output.quality,
    output:
        page=result("qc/review/index.html"),
    log:
        log_file("review_page"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("qc"),
        results=results_folder,
    script:
        "../../scripts/review_page.py"


rule qc:
    input:
        rules.qc_flags.output,
        rules.review_page.output,
