"""Snakemake's report of the statistics, figures and trainings of this run."""

import subprocess
import sys

import yaml

from iliopsoas import files, logs

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        files.write_text(
            snakemake.output.configuration, yaml.safe_dump(snakemake.params.configuration)
        )
        command = [
            *(sys.executable, "-m", "snakemake", "--snakefile", snakemake.params.snakefile),
            *("--configfile", snakemake.output.configuration, "--nolock", "--cores", "1"),
            *("--report", snakemake.output.archive),
            *snakemake.params.targets,
        ]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        logs.log.info("%s", done.stdout)
        if done.returncode:
            raise SystemExit(done.returncode)
