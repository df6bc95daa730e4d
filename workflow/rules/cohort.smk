# Eligible participants, the stratified sample, and the shards they are processed in.


COHORT_TABLES = [
    "sample",
    "shards",
    "manifests",
    "exclusions",
    "balance",
    "diagnoses",
    "table_report",
]


checkpoint cohort:
    input:
        phenotypes=[
            table for release in settings.releases for table in release.phenotypes
        ],
        withdrawals=settings.withdrawals,
        exclusions=settings.cohort.exclusions,
    output:
        **{name: result(f"cohort/{name}.tsv") for name in COHORT_TABLES},
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
        version=version_of("cohort"),
        releases=[release.model_dump(mode="json") for release in settings.releases],
        cohort=settings.cohort.model_dump(mode="json"),
        results=results_folder,
        tables=COHORT_TABLES,
        # what lies in folders that people fill: a file that came, went or was replaced is noticed
        listings=lambda wildcards: {
            release.name: listing.of_release(release, settings.results)
            for release in settings.releases
        },
    script:
        "../../scripts/cohort.py"


# A shard's part of the cohort. The digest alone, of the shard's rows and of the files they name,
# says that it changed: a new release or participant adds shards, a withdrawal shrinks one, a zip
# downloaded again touches one; the others stay as they are.
rule manifest:
    input:
        ancient(lambda wildcards: checkpoints.cohort.get().output.manifests),
    output:
        shard_file("manifest.tsv"),
    log:
        log_file("manifest/{shard}"),
    localrule: True
    resources:
        mem_mb=growing(100),
        runtime=growing(5),
    params:
        digest=lambda wildcards: row_of(wildcards.shard).get("digest"),
    shell:
        """
        awk -F '\\t' -v shard={wildcards.shard} '
          NR == 1 {{ for (i = 1; i <= NF; i++) if ($i == "shard") column = i }}
          NR == 1 || $column == shard
        ' {input:q} >{output:q} 2>{log:q}
        """
