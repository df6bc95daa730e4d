"""Train the model of one fold, or the final one."""

from iliopsoas import logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        learning.train(
            snakemake.input.folds,
            snakemake.input.crops,
            snakemake.params.folder,
            model=snakemake.wildcards.model,
            version=snakemake.params.version,
            training=snakemake.params.training,
            network=snakemake.params.network,
            crop=snakemake.params.crop,
        )
