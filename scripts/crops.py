"""Crops of one shard, with the manual masks of its annotated participants."""

from iliopsoas import config, logs
from iliopsoas.stages import crops

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        crops.run(
            snakemake.input.manifest,
            snakemake.input.landmarks,
            snakemake.output.ledger,
            snakemake.output.crops,
            results=snakemake.params.results,
            version=snakemake.params.version,
            processes=snakemake.threads,
            options=config.load(snakemake.config).run,
        )
