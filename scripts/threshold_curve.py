"""Volumes of a fold's held-out participants at many thresholds."""

from iliopsoas import config, files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        speed = {"batch_size": config.load(snakemake.config).segmentation.batch_size}
        table = learning.threshold_curve(
            snakemake.input.folds,
            snakemake.input.crops,
            snakemake.input.weights,
            fold=learning.fold_of(snakemake.wildcards.judged),
            parameters=snakemake.params.parameters | speed,
            crop=snakemake.params.crop,
        )
        files.write_tsv(snakemake.output.table, table)
