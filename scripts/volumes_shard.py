"""Volumes and further measures of one shard's masks."""

from iliopsoas import config, files, logs
from iliopsoas.stages import volumes

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        settings = config.load(snakemake.config)
        ledger = volumes.run(
            snakemake.input.manifest,
            snakemake.input.segment,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            parameters=snakemake.params.volumes,
            processes=snakemake.threads,
            options=settings.run,
            vertebrae=settings.vertebrae,
        )
        found = volumes.profiles(ledger, results=snakemake.params.results)
        files.write_tsv(snakemake.output.profiles, found)
