"""Dixon preprocessing of one shard."""

from iliopsoas import logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        stages.dixon(
            snakemake.input.manifest,
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            # no parameters: neither who is tried again nor what is kept changes anybody's result
            retry=snakemake.config.get("run", {}).get("retry", []),
            keep=snakemake.config.get("run", {}).get("keep", "everything"),
            parameters=snakemake.params.parameters,
            processes=snakemake.threads,
            time_limit_s=snakemake.params.time_limit_s,
        )
