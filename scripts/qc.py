"""Quality flags and their verdicts, reviewers' decisions, the volume table with both."""

from iliopsoas import files, logs, stages, volumes

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        paths = {stage: snakemake.input[stage] for stage in volumes.STAGES if stage != "volumes"}
        tables = stages.qc(
            files.read_tsv(snakemake.input.sample),
            files.read_tsv(snakemake.input.measured),
            stages.read_ledgers(paths | {"volumes": snakemake.input.volumes}),
            limits=snakemake.params.qc,
            decisions=snakemake.input.get("decisions"),
        )
        for name, table in tables.items():
            files.write_tsv(snakemake.output[name], table)
