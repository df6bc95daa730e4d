"""Crops of one shard, with the manual masks of its annotated participants."""

from iliopsoas import logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        stages.crops(
            snakemake.input.manifest,
            snakemake.output.crops,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            # no parameter: who is tried again changes nobody else's result
            retry=snakemake.config.get("run", {}).get("retry", []),
            processes=snakemake.threads,
            time_limit_s=snakemake.params.time_limit_s,
            scratch=snakemake.resources.scratch or None,
        )
