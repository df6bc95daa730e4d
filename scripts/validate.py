"""Compare one fold's model with the annotations it was not trained on."""

from iliopsoas import config, files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        speed = {"batch_size": config.load(snakemake.config).segmentation.batch_size}
        chosen = learning.threshold(snakemake.input.get("thresholds"), snakemake.wildcards.judged)
        table = learning.validate(
            snakemake.input.folds,
            snakemake.input.crops,
            snakemake.input.weights,
            snakemake.output.examples,
            fold=learning.fold_of(snakemake.wildcards.judged),
            parameters=snakemake.params.parameters | speed | chosen,
            crop=snakemake.params.crop,
        )
        files.write_tsv(snakemake.output.table, table)
