"""Landmarks of one shard."""

from iliopsoas import config, logs
from iliopsoas.stages import landmarks

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        landmarks.run(
            snakemake.input.manifest,
            snakemake.input.dixon,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            parameters=snakemake.params.parameters,
            processes=snakemake.threads,
            options=config.load(snakemake.config).run,
        )
