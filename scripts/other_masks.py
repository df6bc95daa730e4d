"""Masks of another tool for one shard: onto the stitched grid, and measured."""

from iliopsoas import logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        stages.other_masks(
            snakemake.input.manifest,
            snakemake.output.ledger,
            results=snakemake.params.results,
            method=snakemake.params.method,
            version=snakemake.params.version,
            processes=snakemake.threads,
            time_limit_s=snakemake.params.time_limit_s,
        )
