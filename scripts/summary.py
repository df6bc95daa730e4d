"""Write the summary page and the run's record; fail where the run must not pass for a success."""

from iliopsoas import files, logs
from iliopsoas.reporting import summary

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        sample, volumes = (files.read_tsv(snakemake.input[name]) for name in ("sample", "volumes"))
        recovery = snakemake.input.get("recovery")
        text = summary.page(
            sample,
            volumes,
            files.read_tsv(snakemake.input.flags),
            files.read_tsv(snakemake.input.table2),
            files.read_tsv(recovery) if recovery else None,
            summary.withdrawn_from_models(snakemake.params.results),
            files.read_tsv(snakemake.input.table_report),
            files.read_tsv(snakemake.input.cross_validation),
        )
        logs.log.info("\n%s", text)
        summary.check(sample, volumes, snakemake.params.max_failed_share)
        files.write_text(snakemake.output.page, text)
        files.write_json(snakemake.output.run, summary.run_record(snakemake.params.configuration))
