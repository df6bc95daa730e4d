"""Every table and test of the paper for another tool's masks, and its agreement with this run."""

from pathlib import Path

from iliopsoas import figures, files, logs, statistics
from iliopsoas.stages import analysis

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        method = snakemake.wildcards.method
        sample = analysis.sampled(files.read_tsv(snakemake.input.sample))
        other = files.read_tsv(snakemake.input.volumes)
        statistics.run_all(
            other,
            sample,
            files.read_tsv(snakemake.input.diagnoses),
            None,
            files.read_tsv(snakemake.input.flags),
            snakemake.params.folder,
            statistics.Options(**snakemake.params.statistics),
            snakemake.input.paper,
        )
        own = analysis.accepted(
            files.read_tsv(snakemake.input.own), files.read_tsv(snakemake.input.excluded)
        )
        path = Path(snakemake.output.figure)
        figures.save(
            figures.other_method(own, other, method), path.parent, path.stem, snakemake.params.dpi
        )
