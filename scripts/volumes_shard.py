"""Volumes and further measures of one shard's masks."""

from iliopsoas import logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        stages.volumes_of_shard(
            snakemake.input.manifest,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            # no parameter: who is tried again changes nobody else's result
            retry=snakemake.config.get("run", {}).get("retry", []),
            processes=snakemake.threads,
            time_limit_s=snakemake.params.time_limit_s,
        )
