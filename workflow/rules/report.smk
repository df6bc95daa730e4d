# The end of a run: summary with a truthful exit status, and Snakemake's report.


rule summary:
    input:
        sample=result("cohort/sample.tsv"),
        volumes=result("volumes.tsv"),
        flags=result("qc/flags.tsv"),
        table2=result("statistics/table2.tsv"),
        table_report=result("cohort/table_report.tsv"),
        cross_validation=result("statistics/cross_validation.tsv"),
        recovery=recovery_summary,
    output:
        page=result("summary.md"),
        run=result("run.json"),
    log:
        log_file("summary"),
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(10),
    params:
        configuration=settings.model_dump(mode="json"),
        max_failed_share=settings.run.max_failed_share,
        results=results_folder,
    script:
        "../../scripts/summary.py"


# Snakemake writes its own report from the same configuration; it only reads what is there.
rule report:
    input:
        page=rules.summary.output.page,
        figures=rules.figures.output.png,
        others=rules.other_methods.input,
    output:
        archive=result("report.zip"),
        configuration=result("configuration.yaml"),
    log:
        log_file("report"),
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        configuration=settings.model_dump(mode="json"),
        snakefile=workflow.main_snakefile,
        # nothing is trained where weights are configured
        targets=["figures", "statistics", "other_methods"]
        + ([] if settings.segmentation.weights else ["model"]),
    script:
        "../../scripts/report.py"
