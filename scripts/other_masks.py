"""Masks of another tool for one shard: onto the stitched grid, and measured."""

from iliopsoas import config, logs
from iliopsoas.stages import other

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        other.run(
            snakemake.input.manifest,
            snakemake.input.dixon,
            snakemake.input.landmarks,
            snakemake.output.ledger,
            results=snakemake.params.results,
            method=snakemake.params.method,
            version=snakemake.params.version,
            processes=snakemake.threads,
            options=config.load(snakemake.config).run,
            tool=snakemake.input.tool or None,
        )
