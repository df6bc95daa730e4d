"""Quality flags and their verdicts, reviewers' decisions, the volume table with both."""

from pathlib import Path

import pandas as pd

from iliopsoas import figures, files, logs, tables
from iliopsoas.qc.judge import judge
from iliopsoas.stages import ledger
from iliopsoas.versions import IMAGE_STAGES

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]) as log:
        rows = [files.read_tsv(path) for path in snakemake.input.get("quality_rows", [])]
        further = [name for name in ("opinion", "methods") if snakemake.input.get(name)]
        stages = [*IMAGE_STAGES, *further]
        found = judge(
            files.read_tsv(snakemake.input.sample),
            files.read_tsv(snakemake.input.measured),
            ledger.read_all({stage: snakemake.input[stage] for stage in stages}),
            snakemake.params.qc,
            list(snakemake.input.decisions) or None,
            pd.concat(rows) if rows else None,
        )
        for note in found.notes:
            log.info("%s", note)
        tables.check("volumes.tsv", found.volumes)
        files.write_tsv(snakemake.output.volumes, found.volumes)
        for name in snakemake.params.tables:
            tables.check(f"qc/{name}.tsv", getattr(found, name))
            files.write_tsv(snakemake.output[name], getattr(found, name))
        drawing = figures.quality(found.cohort, found.flags, found.shares, found.excluded)
        path = Path(snakemake.output.figure)
        figures.save(drawing, path.parent, path.stem)
