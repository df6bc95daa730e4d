"""The documentation's tables are those of the code that runs."""

import re
from pathlib import Path

import pytest

from iliopsoas import documents, volumes
from iliopsoas.qc.checks import CHECKS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize(("page", "table"), [("quality-control", "flags"), ("volumes", "volumes")])
def test_pages_are_up_to_date(page, table):
    text = (DOCS / f"{page}.md").read_text()
    assert f"<!-- generated: {table} -->" in text
    assert documents.put_into(text) == text, "run `make config-docs`"


def cells_of(table, name):
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    return [cell.replace(r"\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def test_every_flag_says_what_it_is():
    for name, check in CHECKS.items():
        cells = cells_of(documents.flags(), name)
        assert len(cells) == 6
        assert len(check.definition) > 20
        assert (cells[1], cells[4], cells[5]) == (check.definition, check.severity, check.source)


def test_every_column_has_a_unit_and_a_definition():
    for name in volumes.COLUMNS:
        cells = cells_of(documents.volumes(), name)
        assert len(cells) == 3
        assert all(cells)
