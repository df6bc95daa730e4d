"""Segment the muscles of one shard."""

from iliopsoas import config, logs
from iliopsoas.stages import learning, segment

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        settings, weights = config.load(snakemake.config), snakemake.input.weights
        speed = {"batch_size": settings.segmentation.batch_size}
        chosen = learning.threshold(snakemake.input.get("thresholds"), "final")
        segment.run(
            snakemake.input.manifest,
            snakemake.input.crops,
            snakemake.input.crops_ledger,
            [weights] if isinstance(weights, str) else list(weights),
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            parameters=snakemake.params.parameters | speed | chosen,
            crop=snakemake.params.crop,
            manual=snakemake.params.annotated == "manual",
            options=settings.run,
        )
