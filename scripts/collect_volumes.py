"""One volume table from the ledgers of all shards."""

import pandas as pd

from iliopsoas import files, logs
from iliopsoas.masks import volumes
from iliopsoas.stages import ledger
from iliopsoas.versions import IMAGE_STAGES

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        ledgers = ledger.read_all({stage: snakemake.input[stage] for stage in IMAGE_STAGES})
        sample = files.read_tsv(snakemake.input.sample)
        files.write_tsv(snakemake.output.volumes, volumes.table(sample, ledgers))
        shards = [files.read_tsv(path) for path in snakemake.input.profiles]
        files.write_tsv(snakemake.output.profiles, pd.concat(shards, ignore_index=True))
