"""The documentation's tables are those of the code that runs."""

import re
from pathlib import Path

from iliopsoas.qc.checks import CHECKS
from iliopsoas.reporting import documents

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_page_is_up_to_date():
    text = (DOCS / "quality-control.md").read_text()
    assert "<!-- generated: flags -->" in text
    assert documents.put_into(text) == text, "run `make config-docs`"


def cells_of(table, name):
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.replace(r"\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_every_flag_says_what_it_is():
    for name, check in CHECKS.items():
        cells = cells_of(documents.flags(), name)
        assert len(cells) == 7
        assert len(check.definition) > 20
        assert cells[1] == check.definition
        assert cells[4:] == [check.severity, check.source, check.origin]
