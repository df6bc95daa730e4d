"""Collect what may leave a secure environment; fail where a participant shows in it."""

from iliopsoas import egress, logs
from iliopsoas.logs import log

if __name__ == "__main__":  # worker processes import this file
    with logs.to_file(snakemake.log[0]):
        known = {"tables": snakemake.input.phenotypes, "lists": snakemake.input.lists}
        results = snakemake.params.results
        if snakemake.rule == "egress":
            folder = snakemake.input.folder
            count = egress.check_folder(results, folder, **known)
            log.info("%d files searched: no participant was found in %s", count, folder)
        else:
            egress.run(results, snakemake.output.folder, **known, **snakemake.params.options)
