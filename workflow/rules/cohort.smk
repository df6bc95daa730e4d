# Eligible participants, the stratified sample, and the shards they are processed in.


# Shard manifests are written beside the outputs, and only where their content changes:
# a new release or participant adds shards, a withdrawal shrinks one, the others stay as they are.
checkpoint cohort:
    input:
        phenotypes=[
            table for release in settings.releases for table in release.phenotypes
        ],
        withdrawals=settings.withdrawals,
        exclusions=settings.cohort.exclusions,
    output:
        sample=result("cohort/sample.tsv"),
        shards=result("cohort/shards.tsv"),
        exclusions=result("cohort/exclusions.tsv"),
        balance=result("cohort/balance.tsv"),
        diagnoses=result("cohort/diagnoses.tsv"),
        table_report=result("cohort/table_report.tsv"),
        figure=report(
            result("cohort/balance.png"),
            caption="../report/balance.rst",
            category="Cohort",
        ),
    log:
        log_file("cohort"),
    benchmark:
        benchmark_file("cohort")
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=STAGES["cohort"],
        releases=[release.model_dump(mode="json") for release in settings.releases],
        cohort=settings.cohort.model_dump(mode="json"),
        results=results_folder,
    script:
        "../../scripts/cohort.py"
