# The synthetic cohort, and how well its known truth was recovered.


rule phantom:
    output:
        phenotypes=f"{settings.phantom.folder}/phenotypes.csv",
        truth=f"{settings.phantom.folder}/truth.tsv",
    log:
        log_file("phantom"),
    benchmark:
        benchmark_file("phantom")
    threads: CORES or MOST["image"]
    resources:
        mem_mb=growing_per_thread(1500),
        runtime=growing(240),
    params:
        version=version_of("phantom"),
        phantom=settings.phantom.model_dump(mode="json"),
    script:
        "../../scripts/phantom.py"


rule recovery:
    input:
        truth=rules.phantom.output.truth,
        sample=rules.cohort.output.sample,
        volumes=result("volumes.tsv"),
    output:
        participants=result("phantom/recovery.tsv"),
        summary=result("phantom/recovery_summary.tsv"),
    log:
        log_file("recovery"),
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        version=version_of("phantom"),
        folder=subpath(input.truth, parent=True),
        results=results_folder,
    script:
        "../../scripts/recovery.py"
