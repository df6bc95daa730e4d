# Results in other programs' formats, individual-level data: `snakemake export_phenotypes`,
# `snakemake export_bids`. Not part of the default target.


rule export_phenotypes:
    input:
        volumes=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        sample=result("cohort/sample.tsv"),
    output:
        expand(
            result(f"{INDIVIDUAL_LEVEL}/phenotypes/{{file}}.txt"),
            file=["regenie", "plink2", "saige", "covariates"],
        ),
    log:
        log_file("export_phenotypes"),
    localrule: True
    resources:
        mem_mb=growing(2000),
        runtime=growing(30),
    params:
        version=version_of("export"),
        results=results_folder,
        options={
            "measures": settings.export.measures,
            "covariates": settings.export.covariates,
            "instance": settings.statistics.instance,
        },
    script:
        "../../scripts/export.py"


rule export_bids:
    input:
        volumes=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        sample=result("cohort/sample.tsv"),
        others=expand(result("other/{method}/volumes.tsv"), method=OTHER_METHODS),
    output:
        result(f"{INDIVIDUAL_LEVEL}/bids/dataset_description.json"),
    log:
        log_file("export_bids"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(240),
    params:
        version=version_of("export"),
        results=results_folder,
        options={
            "ids": settings.export.ids,
            "images": settings.export.images,
            "methods": list(OTHER_METHODS),
        },
    script:
        "../../scripts/export.py"
