"""Water images for manual annotation."""

from pathlib import Path

from iliopsoas import files, logs, stages

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        table = stages.export_for_annotation(
            files.read_tsv(snakemake.input.sample),
            stages.read_ledgers({"dixon": snakemake.input.dixon})["dixon"],
            snakemake.output.folder,
            number=snakemake.params.number,
            results=snakemake.params.results,
        )
        files.write_tsv(Path(snakemake.output.folder) / "participants.tsv", table)
