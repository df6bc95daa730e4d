"""The table of flags in the documentation, made from the code: ``make config-docs``.

``python -m iliopsoas.reporting.documents PAGE...`` makes the table between a page's marks anew.
"""

import re
import sys
from pathlib import Path

from iliopsoas.config import QualityControl
from iliopsoas.files import write_text
from iliopsoas.qc.checks import CHECKS

RAISED = {"high": "above ", "low": "below ", "both": "beyond ±"}
_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _table(header, rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([str(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def flags() -> str:
    """A row per flag: name, definition, when raised by default, key, severity, source."""
    limits = QualityControl().model_dump()
    rows = [
        (
            f"`{check.name}`",
            check.definition,
            f"{RAISED[check.direction]}{limits[check.limit]:g} {check.unit}",
            f"`{check.limit}`",
            check.severity,
            check.source,
        )
        for check in CHECKS.values()
    ]
    return _table(("flag", "definition", "raised", "limit in `qc`", "severity", "source"), rows)


TABLES = {"flags": flags}


def put_into(text: str) -> str:
    """The page with the tables between its marks made anew."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        write_text(page, put_into(page.read_text()))
