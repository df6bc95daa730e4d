"""Water images for manual annotation."""

from pathlib import Path

from iliopsoas import files, logs
from iliopsoas.stages import learning, ledger

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        decided = snakemake.input.get("decided")
        learning.export_for_annotation(
            files.read_tsv(snakemake.input.sample),
            ledger.read_all({"dixon": snakemake.input.dixon})["dixon"],
            Path(snakemake.output.table).parent,
            number=snakemake.params.number,
            results=snakemake.params.results,
            weights=snakemake.input.weights,
            parameters=snakemake.params.parameters | {"batch_size": 2},
            crop=snakemake.params.crop,
            decided=files.read_tsv(decided) if decided else None,
        )
