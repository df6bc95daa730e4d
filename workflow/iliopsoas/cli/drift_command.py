"""``iliopsoas drift``: how results differ from those kept under a tag."""

from iliopsoas import files
from iliopsoas.cli.report import Report
from iliopsoas.stages import snapshots


def run(options) -> Report:
    """Compare; the tables go to ``<results>/drift/``."""
    table, summary = snapshots.compare(options.results, options.tag)
    files.write_tsv(options.results / f"drift/{options.tag}.tsv", table)
    files.write_tsv(options.results / f"drift/{options.tag}_summary.tsv", summary)
    return Report(summary.to_string(index=False), summary.to_dict("records"))
