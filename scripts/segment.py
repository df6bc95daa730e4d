"""Segment the muscles of one shard."""

from iliopsoas import logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        stages.segment(
            snakemake.input.manifest,
            snakemake.input.crops,
            snakemake.input.weights,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            # no parameter: who is tried again changes nobody else's result
            retry=snakemake.config.get("run", {}).get("retry", []),
            parameters=snakemake.params.parameters,
            crop=snakemake.params.crop,
        )
