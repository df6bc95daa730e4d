# Training on the manually annotated participants: folds, cross-validation, final model.


TRAINING = settings.training.model_dump(mode="json", exclude={"folds", "to_annotate"})
SWEEP = {"sweep_rates", "sweep_epochs"}


# Not part of the default target: `snakemake export_for_annotation`.
rule export_for_annotation:
    input:
        sample=result("cohort/sample.tsv"),
        dixon=every_shard("dixon.tsv"),
        weights=settings.segmentation.weights or str(STARTER),
        # who is to be redone, where somebody has reviewed
        decided=result("qc/decided.tsv") if settings.qc.decisions else [],
    output:
        table=result("annotation/participants.tsv"),
    log:
        log_file("export_for_annotation"),
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        number=settings.training.to_annotate,
        results=results_folder,
        parameters=SEGMENTATION,
        crop=settings.crops.model_dump(mode="json"),
    script:
        "../../scripts/export_for_annotation.py"


# A checkpoint: only then Snakemake looks whether the table of folds, and with it what is trained
# on, has changed at all, when something else has changed in a shard of annotated participants.
checkpoint folds:
    input:
        manifests=training_shards("manifest.tsv"),
        ledgers=training_shards("crops.tsv"),
        crops=training_shards("crops.h5"),
    output:
        folds=result("model/folds.tsv"),
    log:
        log_file("folds"),
    localrule: True
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        version=version_of("training"),
        # configured weights are judged on everybody
        deal=(
            None
            if settings.segmentation.weights
            else {"number": settings.training.folds, "seed": settings.training.seed}
        ),
    script:
        "../../scripts/folds.py"


# Outputs are marked as updated, so that Snakemake leaves a finished model in place: trained on
# the same crops with the same settings it is kept. A killed training goes on at its last epoch.
rule train:
    input:
        folds=result("model/folds.tsv"),
        crops=ancient(annotated_crops),
        start=starting_weights,
    output:
        weights=update(result("model/{model}/model.h5")),
        description=update(result("model/{model}/model.json")),
        participants=update(result("model/{model}/participants.tsv")),
        history=update(result("model/{model}/log.csv")),
        figure=update(
            report(
                result("model/{model}/loss.png"),
                caption="../report/loss.rst",
                category="Training",
                labels={"model": "{model}"},
            )
        ),
    log:
        log_file("train/{model}"),
    benchmark:
        benchmark_file("train/{model}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(2880),
    params:
        version=version_of("training"),
        training={key: TRAINING[key] for key in TRAINING if key not in SWEEP},
        network=settings.network.model_dump(mode="json"),
        crop=settings.crops.model_dump(mode="json"),
        folder=subpath(output.weights, parent=True),
    script:
        "../../scripts/train.py"


# With `segmentation.threshold: calibrated`: volumes of the held-out participants at many thresholds.
rule threshold_curve:
    input:
        folds=result("model/folds.tsv"),
        crops=ancient(annotated_crops),
        weights=result("model/{judged}/model.h5"),
    output:
        table=result("model/{judged}/threshold_curve.tsv"),
    log:
        log_file("threshold_curve/{judged}"),
    benchmark:
        benchmark_file("threshold_curve/{judged}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(240),
    params:
        version=version_of("segment"),
        parameters=SEGMENTATION,
        crop=settings.crops.model_dump(mode="json"),
    script:
        "../../scripts/threshold_curve.py"


# A fold's threshold is chosen on the other folds, the final model's on all.
rule calibrate:
    input:
        expand(rules.threshold_curve.output.table, judged=JUDGED),
    output:
        table=result("model/thresholds.tsv"),
    log:
        log_file("calibrate"),
    localrule: True
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    params:
        version=version_of("segment"),
    script:
        "../../scripts/calibrate.py"


rule validate:
    input:
        folds=result("model/folds.tsv"),
        crops=ancient(annotated_crops),
        weights=judged_weights,
        checked=checked_weights,
        thresholds=thresholds,
    output:
        table=result("model/{judged}/validation.tsv"),
        examples=result("model/{judged}/examples.npz"),
    log:
        log_file("validate/{judged}"),
    benchmark:
        benchmark_file("validate/{judged}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(240),
    params:
        version=version_of("segment"),
        parameters=SEGMENTATION,
        crop=settings.crops.model_dump(mode="json"),
    script:
        "../../scripts/validate.py"


# What predicted quality is learned from; see the page on quality control.
rule quality_rows:
    input:
        folds=result("model/folds.tsv"),
        crops=ancient(annotated_crops),
        weights=judged_weights,
        checked=checked_weights,
        thresholds=thresholds,
    output:
        table=result("model/{judged}/quality.tsv"),
    log:
        log_file("quality_rows/{judged}"),
    benchmark:
        benchmark_file("quality_rows/{judged}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=growing(240),
    params:
        version=version_of("qc"),
        parameters=SEGMENTATION,
        crop=settings.crops.model_dump(mode="json"),
        seed=settings.training.seed,
    script:
        "../../scripts/quality_rows.py"


rule cross_validation:
    input:
        expand(rules.validate.output.table, judged=JUDGED),
    output:
        table=result("model/cross_validation.tsv"),
    log:
        log_file("cross_validation"),
    localrule: True
    resources:
        mem_mb=growing(1000),
        runtime=growing(10),
    script:
        "../../scripts/cross_validation.py"


rule model:
    input:
        rules.cross_validation.output.table,
        result("model/final/model.h5"),


# Not part of the default target: `snakemake learning_rate_sweep`.
rule learning_rate_sweep:
    input:
        folds=result("model/folds.tsv"),
        crops=ancient(annotated_crops),
        start=starting_weights,
    output:
        table=result("model/learning_rate_sweep.tsv"),
    log:
        log_file("learning_rate_sweep"),
    benchmark:
        benchmark_file("learning_rate_sweep")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(16000),
        runtime=growing(2880),
    params:
        version=version_of("training"),
        training=TRAINING,
        network=settings.network.model_dump(mode="json"),
        crop=settings.crops.model_dump(mode="json"),
        folder=subpath(output.table, strip_suffix=".tsv"),
    script:
        "../../scripts/learning_rate_sweep.py"
