"""Compare the measured volumes and masks with the synthetic cohort's truth."""

from iliopsoas import files, logs
from iliopsoas.reporting import recovery

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        comparison = recovery.compare(
            files.read_tsv(snakemake.input.sample),
            files.read_tsv(snakemake.input.volumes),
            files.read_tsv(snakemake.input.truth),
            results=snakemake.params.results,
            folder=snakemake.params.folder,
        )
        recovery.check_planted_faults(comparison)
        files.write_tsv(snakemake.output.participants, comparison)
        files.write_tsv(snakemake.output.summary, recovery.summarise(comparison))
