"""The page on which people judge the segmentations."""

from iliopsoas import files, logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        names = ("volumes", "flags", "summary", "verdicts", "drawn", "quality")
        counts = stages.review_page(
            snakemake.output.page,
            files.read_tsv(snakemake.input.sample),
            {name: files.read_tsv(snakemake.input[name]) for name in names},
            results=snakemake.params.results,
        )
        logs.log.info("review page: %s", counts)
