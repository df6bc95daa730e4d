"""Results in other programs' formats."""

from iliopsoas import export, files, logs
from iliopsoas.stages import analysis

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        sample = analysis.sampled(files.read_tsv(snakemake.input.sample))
        volumes = analysis.accepted(
            files.read_tsv(snakemake.input.volumes), files.read_tsv(snakemake.input.excluded)
        )
        write = export.write_bids if snakemake.rule == "export_bids" else export.write_phenotypes
        write(snakemake.params.results, volumes, sample, **snakemake.params.options)
