"""Volume table and quality flags of another tool's masks."""

from iliopsoas import files, logs
from iliopsoas.qc.judge import judge
from iliopsoas.stages import ledger, other

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        sample = files.read_tsv(snakemake.input.sample)
        ledgers = ledger.read_all(
            {stage: snakemake.input[stage] for stage in ("dixon", "landmarks", "volumes")}
        )
        table = other.table(sample, ledgers["dixon"], ledgers["volumes"])
        found = judge(sample, table, ledgers, snakemake.params.qc)
        for name in ("volumes", "flags", "summary", "verdicts"):
            files.write_tsv(snakemake.output[name], getattr(found, name))
