"""The flags as a table for docs/quality-control.md: ``python -m iliopsoas.qc.document FILE``."""

import sys
from pathlib import Path

from iliopsoas.config import QualityControl
from iliopsoas.files import write_text
from iliopsoas.qc.checks import CHECKS
from iliopsoas.qc.registry import Check

BEGIN, END = "<!-- flags: generated -->", "<!-- end of flags -->"
RAISED = {"high": "above", "low": "below", "both": "beyond ±"}


def _row(check: Check, limit) -> str:
    raised = f"{RAISED[check.direction]} {limit:g} {check.unit}"
    cells = (
        f"`{check.name}`",
        check.definition,
        raised.replace("± ", "±"),
        f"`{check.limit}`",
        check.severity,
        check.source,
    )
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def markdown() -> str:
    """A row per flag: name, definition, when raised by default, key, severity, source."""
    limits = QualityControl().model_dump()
    lines = ["| flag | definition | raised | limit in `qc` | severity | source |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    lines += [_row(check, limits[check.limit]) for check in CHECKS.values()]
    return "\n".join(lines)


def put_into(text: str) -> str:
    """The page with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + markdown() + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    page = Path(sys.argv[1])
    write_text(page, put_into(page.read_text()))
