"""``iliopsoas freeze``: keep finished results under a tag."""

from iliopsoas.cli.report import Report
from iliopsoas.stages import snapshots


def run(options) -> Report:
    """Keep volume table, statistics and run record, read-only and with hashes."""
    manifest = snapshots.freeze(options.results, options.tag)
    text = f"{len(manifest)} files kept under {options.tag}"
    return Report(text, {"tag": options.tag, "files": len(manifest)})
