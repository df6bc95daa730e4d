# The paper's figures 1 to 7, S1 and S2.

FIGURES = ["1", "2", "3", "4", "5", "6", "7", "S1", "S2"]


def validation_examples(wildcards):
    """Slices for the overlays of Figure 2, where a model is trained in this run."""
    if settings.segmentation.weights:
        return []
    folds = range(1, settings.training.folds + 1)
    return expand(rules.validate.output.examples, fold=folds)


rule figures:
    input:
        **{name: result(f"statistics/{name}.tsv") for name in STATISTICS},
        volumes=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        sample=result("cohort/sample.tsv"),
        validation=cross_validation_table,
        examples=validation_examples,
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
    log:
        log_file("figures"),
    benchmark:
        benchmark_file("figures")
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=STAGES["figures"],
        dpi=settings.figures.dpi,
        folder=result("figures"),
        results=settings.results,
        tables=STATISTICS,
    script:
        "../../scripts/figures.py"
