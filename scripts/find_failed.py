"""Ask anew for the ledgers of shards with failures that are worth another try."""

from iliopsoas import files, logs
from iliopsoas.stages import shards

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]) as log:
        counts = shards.ask_again(snakemake.params.results, snakemake.params.retry)
        for row in counts.itertuples():
            log.info("%s: %d participants to be tried again: %s", row.stage, row.participants,
                     row.verdict)  # fmt: skip
        if counts.empty:
            log.info("nobody has failed")
        files.write_tsv(snakemake.output.counts, counts)
