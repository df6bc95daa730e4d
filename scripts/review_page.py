"""The page on which people judge the segmentations."""

from pathlib import Path

from iliopsoas import files, logs
from iliopsoas.stages import analysis

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        names = ("volumes", "flags", "summary", "verdicts", "drawn", "quality")
        counts = analysis.review_page(
            Path(snakemake.output.page).parent,
            files.read_tsv(snakemake.input.sample),
            {name: files.read_tsv(snakemake.input[name]) for name in names},
            results=snakemake.params.results,
        )
        logs.log.info("review page: %s", counts)
