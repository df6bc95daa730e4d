"""The threshold of every fold, chosen on the others, and of the final model."""

import pandas as pd

from iliopsoas import files, logs
from iliopsoas.stages import learning

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        curves = pd.concat([files.read_tsv(path) for path in snakemake.input])
        files.write_tsv(snakemake.output.table, learning.calibrate(curves))
