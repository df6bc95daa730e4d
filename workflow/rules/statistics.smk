# Every table and test of the paper, each of its numbers beside this run's, and further measures.

STATISTICS = tables.names("statistics")
TABLE_PAGES = tables.pages()
OTHER_METHODS = {method.name: method for method in settings.other_methods}


rule statistics:
    input:
        volumes=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        flags=result("qc/flags.tsv"),
        sample=result("cohort/sample.tsv"),
        diagnoses=result("cohort/diagnoses.tsv"),
        cross_validation=validation_table,
        profiles=rules.collect_volumes.output.profiles,
        quality=result("qc/quality.tsv"),
        paper=workflow.source_path("../../resources/paper.tsv"),
        others=expand(result("other/{method}/volumes.tsv"), method=OTHER_METHODS),
        methods=overlap_of_methods,
    output:
        **{name: result(f"statistics/{name}.tsv") for name in STATISTICS},
        **{
            f"{name}_page": report(
                result(f"statistics/{name}.html"),
                caption="../report/table.rst",
                category="Tables",
                labels={"table": name},
            )
            for name in TABLE_PAGES
        },
    log:
        log_file("statistics"),
    benchmark:
        benchmark_file("statistics")
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("statistics"),
        statistics=settings.statistics.model_dump(mode="json"),
        folder=subpath(output.flow, parent=True),
        others=list(OTHER_METHODS),
    script:
        "../../scripts/statistics.py"
