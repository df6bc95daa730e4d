"""Deal the annotated participants out into cross-validation folds."""

from iliopsoas import files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        table = learning.folds(
            snakemake.input.manifests,
            snakemake.input.ledgers,
            snakemake.input.crops,
            **(snakemake.params.deal or {}),
        )
        files.write_tsv(snakemake.output.folds, table)
