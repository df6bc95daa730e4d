"""What the starter network says of one shard's masks."""

from iliopsoas import config, logs
from iliopsoas.stages import opinion

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        settings = config.load(snakemake.config)
        opinion.run(
            snakemake.input.manifest,
            snakemake.input.crops,
            snakemake.input.segment,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            normalisation=snakemake.params.normalisation,
            batch_size=settings.segmentation.batch_size,
            options=settings.run,
        )
