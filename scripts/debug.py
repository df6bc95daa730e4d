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


def job_of(output: str, configfile: Path | None = None, cores: int = 1):
    """The job that makes `output`, and the configuration of its workflow."""
    with SnakemakeApi(OutputSettings()) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=cores),
            config_settings=ConfigSettings(configfiles=[configfile] if configfile else []),
            snakefile=ROOT / "Snakefile",
        )
        dag = workflow.dag(DAGSettings(targets={output})).workflow_api._workflow
        dag._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        dag._build_dag()
        job = next(job for job in dag.dag.jobs if output in job.output)
        return job, dag.globals["config"]


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("output", help="an output of the job, as the rule writes it")
    arguments.add_argument("--configfile", type=Path)
    options = arguments.parse_args()
    job, config = job_of(options.output, options.configfile)
    script = ROOT / "workflow/rules" / job.rule.script
    snakemake = Snakemake(
        job.input,
        job.output,
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
    runpy.run_path(str(script), init_globals={"snakemake": snakemake}, run_name="__main__")
