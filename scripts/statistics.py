"""Every table and test of the paper."""

from iliopsoas import files, logs, statistics
from iliopsoas.stages import analysis, ledger

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        methods = snakemake.input.methods
        folds = snakemake.input.get("cross_validation")
        statistics.run_all(
            analysis.accepted(
                files.read_tsv(snakemake.input.volumes), files.read_tsv(snakemake.input.excluded)
            ),
            analysis.sampled(files.read_tsv(snakemake.input.sample)),
            files.read_tsv(snakemake.input.diagnoses),
            files.read_tsv(folds) if folds else None,
            files.read_tsv(snakemake.input.flags),
            snakemake.params.folder,
            statistics.Options(**snakemake.params.statistics),
            snakemake.input.paper,
            {
                name: files.read_tsv(path)
                for name, path in zip(snakemake.params.others, snakemake.input.others, strict=True)
            },
            files.read_tsv(snakemake.input.profiles),
            files.read_tsv(snakemake.input.quality),
            ledger.read_all({"methods": methods})["methods"] if methods else None,
        )
