"""Train briefly at every learning rate of the sweep."""

from iliopsoas import files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        table = learning.learning_rate_sweep(
            snakemake.input.folds,
            snakemake.input.crops,
            snakemake.params.folder,
            version=snakemake.params.version,
            training=snakemake.params.training,
            network=snakemake.params.network,
            crop=snakemake.params.crop,
        )
        files.write_tsv(snakemake.output.table, table)
