# Training on the manually annotated participants: folds, cross-validation, final model.


def network_settings():
    """What the network's shape and input depend on."""
    return settings.network.model_dump(mode="json") | settings.crops.model_dump(mode="json")


rule folds:
    input:
        ledgers=training_shards("crops.tsv"),
    output:
        folds=result("model/folds.tsv"),
    log:
        log_file("folds"),
    params:
        version=STAGES["training"],
        folds=settings.training.folds,
        seed=settings.training.seed,
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/folds.py"


# Checkpoints lie beside the outputs and outlive a kill: training goes on at the last epoch.
rule train:
    input:
        folds=rules.folds.output.folds,
        crops=training_shards("crops.h5"),
    output:
        weights=result("model/{model}/model.weights.h5"),
        history=result("model/{model}/history.csv"),
        figure=report(
            result("model/{model}/loss.png"),
            caption="../report/loss.rst",
            category="Training",
            labels={"model": "{model}"},
        ),
    log:
        log_file("train/{model}"),
    benchmark:
        benchmark_file("train/{model}")
    params:
        version=STAGES["training"],
        training=settings.training.model_dump(mode="json", exclude={"folds"}),
        network=network_settings(),
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
    script:
        "../../scripts/train.py"


rule validate:
    input:
        folds=rules.folds.output.folds,
        crops=training_shards("crops.h5"),
        weights=result("model/fold-{fold}/model.weights.h5"),
    output:
        table=result("model/fold-{fold}/validation.tsv"),
    log:
        log_file("validate/fold-{fold}"),
    benchmark:
        benchmark_file("validate/fold-{fold}")
    params:
        version=STAGES["segment"],
        parameters=settings.segmentation.model_dump(mode="json", exclude={"weights"}),
        network=network_settings(),
        results=settings.results,
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=240,
    script:
        "../../scripts/validate.py"


rule cross_validation:
    input:
        expand(
            rules.validate.output.table, fold=range(1, settings.training.folds + 1)
        ),
    output:
        table=result("model/cross_validation.tsv"),
    log:
        log_file("cross_validation"),
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/cross_validation.py"


rule model:
    input:
        rules.cross_validation.output.table,
        result("model/final/model.weights.h5"),


# Not part of the default target: `snakemake learning_rate_sweep`.
rule learning_rate_sweep:
    input:
        folds=rules.folds.output.folds,
        crops=training_shards("crops.h5"),
    output:
        table=result("model/learning_rate_sweep.tsv"),
    log:
        log_file("learning_rate_sweep"),
    benchmark:
        benchmark_file("learning_rate_sweep")
    params:
        version=STAGES["training"],
        training=settings.training.model_dump(mode="json", exclude={"folds"}),
        network=network_settings(),
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
    script:
        "../../scripts/learning_rate_sweep.py"
