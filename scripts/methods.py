"""How well the masks of this run and of other tools agree, for one shard."""

from iliopsoas import config, logs
from iliopsoas.stages import methods

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        methods.run(
            snakemake.input.manifest,
            snakemake.input.segment,
            dict(zip(snakemake.params.methods, snakemake.input.others, strict=True)),
            snakemake.output.ledger,
            results=snakemake.params.results,
            version=snakemake.params.version,
            processes=snakemake.threads,
            options=config.load(snakemake.config).run,
        )
