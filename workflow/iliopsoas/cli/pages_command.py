"""``iliopsoas pages``: what of the documentation is made from the code."""

from iliopsoas.cli.report import Report
from iliopsoas.config import pages
from iliopsoas.files import write_text
from iliopsoas.reporting import documents
from iliopsoas.status import InputError


def run(options) -> Report:
    """Write config/README.md and the table of flags of a checkout."""
    keys, flags = options.root / "config/README.md", options.root / "docs/quality-control.md"
    for path in (keys, flags):
        if not path.exists():
            raise InputError(f"{path}: expected a checkout of the workflow, found no such page")
    write_text(keys, pages.markdown())
    write_text(flags, documents.put_into(flags.read_text(encoding="utf-8")))
    return Report(f"written: {keys}, {flags}", [str(keys), str(flags)])
