# Iliopsoas muscle volumes from UK Biobank neck-to-knee Dixon MRI.
#
#   snakemake --cores 8 --resources gpu=1                       the synthetic demo cohort
#   snakemake --cores 8 --resources gpu=1 --configfile config/ukbb.yaml        your own data
#   snakemake --workflow-profile slurm ...                                  on a cluster
#   snakemake segment | volumes | statistics | ...                       a single stage

from snakemake.utils import min_version

from iliopsoas import config as configuration
from iliopsoas.versions import STAGES

min_version("9.20")


# The demo's settings and yours never mix: a configuration of your own replaces it whole.
if "releases" not in config:

    configfile: "config/config.yaml"


settings = configuration.load(config)


report: "workflow/report/workflow.rst"


# One environment for all rules, that of `make env`. An image built from envs/Containerfile takes
# its place with `--software-deployment-method apptainer`.
container: "envs/iliopsoas.sif"


wildcard_constraints:
    shard=r"[A-Za-z][A-Za-z0-9]*-\d+",
    model=r"fold-\d+|final",
    fold=r"\d+",
    method=r"[a-z][a-z0-9_]*",


include: "workflow/rules/common.smk"
include: "workflow/rules/cohort.smk"
include: "workflow/rules/dixon.smk"
include: "workflow/rules/landmarks.smk"
include: "workflow/rules/crops.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/volumes.smk"
include: "workflow/rules/qc.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/other.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/egress.smk"
include: "workflow/rules/releases.smk"


if settings.phantom:

    include: "workflow/rules/phantom.smk"


rule all:
    default_target: True
    input:
        every_shard("dixon.tsv"),
        every_shard("landmarks.tsv"),
        every_shard("crops.tsv"),
        every_shard("segment.tsv"),
        every_shard("volumes.tsv"),
        [] if KEEPS_IMAGES else every_shard("images_removed.json"),
        rules.cohort.output,
        rules.qc.input,
        rules.statistics.output,
        rules.other_methods.input,
        rules.figures.output,
        rules.summary.output,
        rules.report.output,


include: "workflow/rules/retry.smk"


onsuccess:
    print(
        f"Done. Results: {settings.results}/ (start with {settings.results}/summary.md)"
    )


onerror:
    print(
        f"Stopped by an error; the failed rule's log is under {settings.results}/logs/."
    )
