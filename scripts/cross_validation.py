"""One table from the validation of every fold."""

import pandas as pd

from iliopsoas import files, logs

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        table = pd.concat([files.read_tsv(path) for path in snakemake.input])
        files.write_tsv(snakemake.output.table, table.sort_values(["fold", *files.KEY, "side"]))
