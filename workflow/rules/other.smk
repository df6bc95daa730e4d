# Masks of other tools: the same volumes, quality control and statistics as this run's.


HOW_TO_DRAW = {"command", "contrast"}


# A tool that draws its masks here, where its entry has a command.
rule tool_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        dixon=shard_file("dixon.tsv"),
    output:
        ledger=update(shard_file("tool/{method}.tsv")),
    log:
        log_file("tool/{method}/{shard}"),
    benchmark:
        benchmark_file("tool/{method}/{shard}")
    threads: threads_for("network")
    resources:
        gpu=1,
        mem_mb=growing(24000),
        runtime=minutes_for("tool"),
    params:
        version=version_of("tool"),
        method=lambda wildcards: OTHER_METHODS[wildcards.method].model_dump(
            include={"name", "folder", "left_file", "right_file", *HOW_TO_DRAW}
        ),
        results=results_folder,
    script:
        "../../scripts/tool.py"


rule other_masks_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        dixon=shard_file("dixon.tsv"),
        landmarks=shard_file("landmarks.tsv"),
        tool=drawn_here,
        masks=drawn_elsewhere,
    output:
        ledger=update(shard_file("other/{method}.tsv")),
    log:
        log_file("other/{method}/{shard}"),
    benchmark:
        benchmark_file("other/{method}/{shard}")
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(1500),
        runtime=minutes_for("volumes"),
    params:
        version=" ".join(map(version_of, ("volumes", "other"))),
        method=lambda wildcards: OTHER_METHODS[wildcards.method].model_dump(
            exclude=HOW_TO_DRAW
        ),
        listing=masks_of_shard,
        results=results_folder,
    script:
        "../../scripts/other_masks.py"


# Dice of every two methods' masks; what this run's flags and statistics know of other tools.
rule methods_shard:
    input:
        manifest=shard_file("manifest.tsv"),
        segment=shard_file("segment.tsv"),
        others=expand(
            shard_file("other/{method}.tsv"), method=OTHER_METHODS, allow_missing=True
        ),
    output:
        ledger=update(shard_file("methods.tsv")),
    log:
        log_file("methods/{shard}"),
    benchmark:
        benchmark_file("methods/{shard}")
    threads: threads_for("image")
    resources:
        mem_mb=growing_per_thread(500),
        runtime=minutes_for("volumes"),
    params:
        version=version_of("methods"),
        methods=list(OTHER_METHODS),
        results=results_folder,
    script:
        "../../scripts/methods.py"


rule other_volumes:
    input:
        sample=result("cohort/sample.tsv"),
        dixon=every_shard("dixon.tsv"),
        landmarks=every_shard("landmarks.tsv"),
        volumes=every_shard("other/{method}.tsv"),
    output:
        **{
            name: result(f"other/{{method}}/{name}.tsv")
            for name in ("volumes", "flags", "summary", "verdicts")
        },
    log:
        log_file("other/{method}/volumes"),
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        version=version_of("qc"),
        qc=settings.qc.model_dump(mode="json", exclude={"decisions"}),
    script:
        "../../scripts/other_volumes.py"


rule other_statistics:
    input:
        volumes=rules.other_volumes.output.volumes,
        flags=rules.other_volumes.output.flags,
        own=result("volumes.tsv"),
        excluded=result("qc/excluded.tsv"),
        sample=result("cohort/sample.tsv"),
        diagnoses=result("cohort/diagnoses.tsv"),
        paper=workflow.source_path("../../resources/paper.tsv"),
    output:
        **{
            name: result(f"other/{{method}}/statistics/{name}.tsv")
            for name in STATISTICS
        },
        pages=[
            result(f"other/{{method}}/statistics/{name}.html") for name in TABLE_PAGES
        ],
        figure=report(
            result("other/{method}/bland_altman.png"),
            caption="../report/other_method.rst",
            category="Other methods",
            labels={"method": "{method}"},
        ),
        vector=result("other/{method}/bland_altman.svg"),
    log:
        log_file("other/{method}/statistics"),
    resources:
        mem_mb=growing(4000),
        runtime=growing(60),
    params:
        version=version_of("statistics"),
        statistics=settings.statistics.model_dump(mode="json"),
        folder=subpath(output.flow, parent=True),
        dpi=settings.figures.dpi,
    script:
        "../../scripts/other_statistics.py"


rule other_methods:
    input:
        expand(result("other/{method}/statistics/flow.tsv"), method=OTHER_METHODS),
