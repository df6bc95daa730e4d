"""Another tool's masks of one shard, drawn by the command of the configuration."""

from iliopsoas import config, logs
from iliopsoas.stages import tool

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        tool.run(
            snakemake.input.manifest,
            snakemake.input.dixon,
            snakemake.output.ledger,
            results=snakemake.params.results,
            method=snakemake.params.method,
            version=snakemake.params.version,
            options=config.load(snakemake.config).run,
        )
