"""Column headers of UK Biobank's phenotype tables, in every dialect we know.

ukbconv's csv, R and tab files, and those of the platform's `dx extract_dataset` and table-exporter.
"""

import re
from importlib import resources
from typing import NamedTuple

import pandas as pd


class Column(NamedTuple):
    """One column: field, instance (visit) and array index."""

    field: int
    instance: int
    array: int


class Field(NamedTuple):
    """What we read of a field (fields.tsv)."""

    field: int
    role: str
    kind: str  # number, code, date, list, text
    instanced: bool
    low: str
    high: str
    titles: tuple[str, ...]


def _read(name: str) -> pd.DataFrame:
    with resources.files("iliopsoas.ukb").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


def _fields() -> dict[int, Field]:
    table = _read("fields.tsv")
    return {
        int(row.field): Field(
            field=int(row.field),
            role=row.role,
            kind=row.kind,
            instanced=row.instanced == "1",
            low=row.low,
            high=row.high,
            titles=tuple(row.titles.split("|")),
        )
        for row in table.itertuples(index=False)
    }


FIELDS = _fields()
ROLES = {field.role: number for number, field in FIELDS.items()}

_PATTERNS = (
    # ukbconv csv: 21003-2.0
    re.compile(r"(?P<field>\d+)-(?P<instance>\d+)\.(?P<array>\d+)"),
    # ukbconv R and tab: f.21003.2.0; some tools write x or underscores
    re.compile(r"[fx][._]?(?P<field>\d+)[._](?P<instance>\d+)[._](?P<array>\d+)"),
    # RAP: p21003_i2, p41270_a3, p31, p21003_i2_a0
    re.compile(r"p(?P<field>\d+)(?:_i(?P<instance>\d+))?(?:_a(?P<array>\d+))?"),
)
_TITLE = re.compile(
    r"(?P<title>.*?)(?:\s*\|\s*Instance (?P<instance>\d+))?(?:\s*\|\s*Array (?P<array>\d+))?",
    re.IGNORECASE,
)
_TITLES = {title.casefold(): field for field in FIELDS.values() for title in field.titles}
_EID = {"eid", "f.eid", "x.eid", "participant id"}


def _bare(name: str) -> str:
    """The header without quotes and without the RAP entity (``participant.``)."""
    name = name.strip().strip('"').strip()
    entity, dot, rest = name.partition(".")
    return rest if dot and entity.isidentifier() and entity not in ("f", "x") else name


def is_eid(name: str) -> bool:
    """Whether a header names the participant's id."""
    return name.strip().strip('"').casefold() in _EID or _bare(name).casefold() == "eid"


def parse(name: str) -> Column | None:
    """Which of the fields we read a header names.

    Parameters
    ----------
    name : str
        A header: ``21003-2.0``, ``f.21003.2.0``, ``participant.p21003_i2``, ``p21003_i2`` or
        ``Age when attended assessment centre | Instance 2``.

    Returns
    -------
    Column or None
        None for a field we do not read and for anything else.
    """
    bare = _bare(name)
    for pattern in _PATTERNS:
        match = pattern.fullmatch(bare)
        if match:
            found = Column(*(int(value or 0) for value in match.groups()))
            return found if found.field in FIELDS else None
    match = _TITLE.fullmatch(name.strip().strip('"'))
    field = _TITLES.get(match["title"].strip().casefold()) if match else None
    if field is None or (field.instanced and match["instance"] is None):
        return None
    return Column(field.field, int(match["instance"] or 0), int(match["array"] or 0))


def _codings() -> dict[int, tuple[dict[str, str], dict[str, int]]]:
    """Per field: value by code, and code by label (small letters)."""
    found = {}
    for row in _read("codings.tsv").itertuples(index=False):
        values, labels = found.setdefault(int(row.field), ({}, {}))
        values[int(row.code)] = row.value or None
        labels[row.label.casefold()] = int(row.code)
    return found


CODINGS = _codings()
