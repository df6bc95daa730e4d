"""The page on quality control lists the flags that run."""

import re
from pathlib import Path

from iliopsoas.qc import document
from iliopsoas.qc.checks import CHECKS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quality-control.md"


def test_the_page_has_every_flag_as_it_runs():
    text = PAGE.read_text()
    assert document.put_into(text) == text, "run `make config-docs`"


def test_every_flag_says_what_it_is():
    for name, check in CHECKS.items():
        row = next(line for line in document.markdown().splitlines() if f"`{name}`" in line)
        cells = [cell.replace(r"\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        assert len(cells) == 6
        assert len(check.definition) > 20
        assert (cells[1], cells[4], cells[5]) == (check.definition, check.severity, check.source)
