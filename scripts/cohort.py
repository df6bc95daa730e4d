"""Eligible participants, stratified sample, shards."""

from pathlib import Path

from iliopsoas import figures, files, logs
from iliopsoas.stages import cohort

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        plan = cohort.cohort(
            snakemake.params.releases,
            snakemake.input.withdrawals,
            results=snakemake.params.results,
            listings=snakemake.params.listings,
            **snakemake.params.cohort,
        )
        for name in snakemake.params.tables:
            files.write_tsv(snakemake.output[name], getattr(plan, name))
        path = Path(snakemake.output.figure)
        figures.save(figures.sample_balance(plan.balance), path.parent, path.stem)
