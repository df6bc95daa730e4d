"""Collect what may leave a secure environment; fail where a participant shows in it."""

from pathlib import Path

from iliopsoas import egress, logs
from iliopsoas.logs import log

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        known = {"tables": snakemake.input.phenotypes, "lists": snakemake.input.lists}
        results = snakemake.params.results
        if snakemake.rule == "egress":
            folder = Path(snakemake.input.manifest).parent
            count = egress.check_folder(results, folder, **known)
            log.info("%d files searched: no participant was found in %s", count, folder)
        else:
            egress.run(
                results, Path(snakemake.output.manifest).parent, **known, **snakemake.params.options
            )
