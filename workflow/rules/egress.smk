# What may leave a secure environment: `snakemake egress`. Not part of the default target.

EGRESS_FOLDER = settings.egress.folder or result("egress")
KNOWN = {
    "phenotypes": [
        table for release in settings.releases for table in release.phenotypes
    ],
    "lists": [*settings.withdrawals, *settings.cohort.exclusions],
}


rule collect_egress:
    input:
        rules.statistics.output,
        rules.cohort.output.balance,
        rules.cohort.output.exclusions,
        rules.qc_flags.output.summary,
        rules.qc_flags.output.shares,
        rules.qc_flags.output.excluded,
        rules.summary.output.run,
        **KNOWN,
        volumes=result("volumes.tsv"),
        sample=result("cohort/sample.tsv"),
    output:
        manifest=f"{EGRESS_FOLDER}/MANIFEST.tsv",
    log:
        log_file("collect_egress"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("egress"),
        results=results_folder,
        options={
            "minimum": settings.statistics.min_cell,
            "also": settings.egress.also,
            "instance": settings.statistics.instance,
            "age_column": settings.statistics.age_column,
            "dpi": settings.figures.dpi,
            "max_mb": settings.egress.max_mb,
        },
    script:
        "../../scripts/egress.py"


# Searches the folder every time it is asked for, whatever was put there meanwhile.
rule egress:
    input:
        **KNOWN,
        manifest=rules.collect_egress.output.manifest,
    log:
        log_file("egress"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        results=results_folder,
    script:
        "../../scripts/egress.py"
