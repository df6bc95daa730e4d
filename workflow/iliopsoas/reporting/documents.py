"""The table of flags in the documentation, made from the code (``iliopsoas pages``)."""

import re

from iliopsoas.config import QualityControl
from iliopsoas.qc.checks import CHECKS

RAISED = {"high": "above ", "low": "below ", "both": "beyond ±"}
_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _table(header, rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([str(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + "\n"


def flags() -> str:
    """A row per flag: name, definition, limit by default, key, severity, source, limit's origin."""
    limits = QualityControl().model_dump()
    rows = [
        (
            f"`{check.name}`",
            check.definition,
            f"{RAISED[check.direction]}{limits[check.limit] if check.limit else 0:g} {check.unit}",
            f"`{check.limit}`" if check.limit else "",
            check.severity,
            check.source,
            check.origin,
        )
        for check in CHECKS.values()
    ]
    return _table(
        ("flag", "definition", "raised", "limit in `qc`", "severity", "source", "the limit is"),
        rows,
    )


TABLES = {"flags": flags}


def put_into(text: str) -> str:
    """The page with the tables between its marks made anew."""
    return _MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)
