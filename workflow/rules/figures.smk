# The paper's figures 1 to 7, S1 and S2.

FIGURES = ["1", "2", "3", "4", "5", "6", "7", "S1", "S2"]


rule figures:
    input:
        **{name: result(f"statistics/{name}.tsv") for name in STATISTICS},
        volumes=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        sample=result("cohort/sample.tsv"),
        validation=validation_table,
        examples=expand(result("model/{judged}/examples.npz"), judged=JUDGED),
        manifests=every_shard("manifest.tsv"),
    output:
        png=[
            report(
                result(f"figures/figure{name}.png"),
                caption=f"../report/figure{name}.rst",
                category="Figures",
                labels={"figure": name},
            )
            for name in FIGURES
        ],
        svg=[result(f"figures/figure{name}.svg") for name in FIGURES],
        comparison=report(
            result("figures/paper_comparison.png"),
            caption="../report/paper_comparison.rst",
            category="Figures",
            labels={"figure": "paper comparison"},
        ),
        slices=report(
            result("figures/slices.png"),
            caption="../report/slices.rst",
            category="Figures",
            labels={"figure": "one slice for the volume"},
        ),
        centiles=report(
            result("figures/centiles.png"),
            caption="../report/centiles.rst",
            category="Figures",
            labels={"figure": "reference centiles"},
        ),
        repeat=report(
            result("figures/repeat_visits.png"),
            caption="../report/repeat_visits.rst",
            category="Figures",
            labels={"figure": "repeat visits"},
        ),
        vector=[
            result(f"figures/{name}.svg")
            for name in ("paper_comparison", "repeat_visits", "slices", "centiles")
        ],
    log:
        log_file("figures"),
    benchmark:
        benchmark_file("figures")
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("figures"),
        dpi=settings.figures.dpi,
        folder=subpath(output.comparison, parent=True),
        results=results_folder,
        tables=STATISTICS,
        # together: apart, two visits that change places would be the same set of parameters
        visits={
            "instance": settings.statistics.instance,
            "repeat_instance": settings.statistics.repeat_instance,
            "age_column": settings.statistics.age_column,
        },
    script:
        "../../scripts/figures.py"
