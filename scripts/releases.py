"""Keep results under a tag, or compare today's with those kept."""

from iliopsoas import files, logs
from iliopsoas.stages import snapshots as releases

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        results, tag = snakemake.params.results, snakemake.params.tag
        if snakemake.rule == "freeze":
            releases.freeze(results, tag)
        else:
            table, summary = releases.compare(results, tag)
            files.write_tsv(snakemake.output.table, table)
            files.write_tsv(snakemake.output.summary, summary)
