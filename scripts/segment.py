"""Segment the muscles of one shard."""

from iliopsoas import config, logs
from iliopsoas.stages import segment

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        settings, weights = config.load(snakemake.config), snakemake.input.weights
        speed = {"batch_size": settings.segmentation.batch_size}
        segment.run(
            snakemake.input.manifest,
            snakemake.input.crops,
            snakemake.input.crops_ledger,
            [weights] if isinstance(weights, str) else list(weights),
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            parameters=snakemake.params.parameters | speed,
            crop=snakemake.params.crop,
            options=settings.run,
        )
