# Results kept under a tag, and compared with later ones:
# `snakemake freeze --config release_tag=NAME`, `snakemake drift --config release_tag=NAME`.


rule freeze:
    input:
        rules.statistics.output,
        rules.qc_flags.output.excluded,
        rules.summary.output,
        volumes=result("volumes.tsv"),
    log:
        log_file("freeze"),
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        tag=settings.release_tag,
        results=results_folder,
    script:
        "../../scripts/releases.py"


rule drift:
    input:
        volumes=result("volumes.tsv"),
    output:
        table=result(f"drift/{settings.release_tag}.tsv"),
        summary=result(f"drift/{settings.release_tag}_summary.tsv"),
    log:
        log_file("drift"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(30),
    params:
        tag=settings.release_tag,
        results=results_folder,
    script:
        "../../scripts/releases.py"
