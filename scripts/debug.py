"""Open the script of any rule in a debugger, with the paths, parameters and wildcards of a job.

    python -m pdb scripts/debug.py results/demo/shards/demo-0001/landmarks.tsv
    python -m pdb scripts/debug.py results/ukbb/volumes.tsv --configfile config/mine.yaml

Names the job by one of its outputs. Inputs must be there; outputs are written as in a run.
"""

import argparse
import runpy
from pathlib import Path

from snakemake.api import SnakemakeApi
from snakemake.script import Snakemake
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

ROOT = Path(__file__).resolve().parents[1]


def jobs_of(*targets: str, configfile: Path | None = None, cores: int = 1):
    """The jobs that make `targets` (none: all that the workflow makes), and the configuration.

    Jobs whose outputs are there already are among them.
    """
    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=cores),
            config_settings=ConfigSettings(configfiles=[configfile] if configfile else []),
            snakefile=ROOT / "Snakefile",
        )
        dag = workflow.dag(DAGSettings(targets=set(targets))).workflow_api._workflow
        dag._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        dag._build_dag()
        return list(dag.dag.jobs), dag.globals["config"]


def script_of(job, config) -> tuple[str, Snakemake]:
    """The script of a job's rule, and the object `snakemake` that it finds."""
    script = ROOT / "workflow/rules" / job.rule.script
    snakemake = Snakemake(
        job.input._plainstrings(),
        job.output._plainstrings(),
        job.params,
        job.wildcards,
        job.threads,
        job.resources,
        job.log,
        config,
        job.rule.name,
        None,
        str(script.parent),
    )
    return str(script), snakemake


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("output", help="an output of the job, as the rule writes it")
    arguments.add_argument("--configfile", type=Path)
    options = arguments.parse_args()
    jobs, config = jobs_of(options.output, configfile=options.configfile)
    made_by = next(job for job in jobs if options.output in job.output)
    script, snakemake = script_of(made_by, config)
    runpy.run_path(script, init_globals={"snakemake": snakemake}, run_name="__main__")
