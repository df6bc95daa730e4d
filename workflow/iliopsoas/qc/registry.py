"""What a flag's check is, the register of all of them, and the evidence they may ask for.

A check is a function of `Evidence` that returns a value per participant; not-a-number means that
it could not be evaluated. Its name, limit, severity, sentence and sources stand in one place, its
definition is the docstring. Limits are keys of the configuration's section ``qc``, or 0 where
anything at all is worth a flag.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from iliopsoas import tables
from iliopsoas.grid import SIDES

PAPER = "the paper, Discussion"
OURS = "this project"
SEVERITIES = {"serious": 100.0, "review": 10.0, "note": 1.0}


class Absent(Exception):
    """No stage of this run says it."""


class Evidence:
    """The cohort's table of evidence, asked by declared names.

    A name is ``<stage>.<column of that stage's ledger>``, or a column of the sample or of the
    volume table. A name that no table declares is a bug, and raises; one that this run does not
    have raises `Absent`, and the check counts as not evaluated.

    Parameters
    ----------
    table : DataFrame
        From `evidence.cohort`.
    """

    def __init__(self, table: pd.DataFrame):
        self.table, self.asked = table, []

    def has(self, name: str) -> bool:
        """Whether this run knows it."""
        if not _is_declared(name):
            raise KeyError(f"quality control: {name} is in no table of iliopsoas/tables")
        return name in self.table.columns

    def column(self, name: str) -> pd.Series:
        """The values as they are."""
        if not self.has(name):
            raise Absent(name)
        self.asked.append(name)
        return self.table[name]

    def number(self, name: str) -> pd.Series:
        """The values as numbers; what is none is missing."""
        return pd.to_numeric(self.column(name), errors="coerce").astype(float)

    def either(self, names) -> pd.DataFrame:
        """The numbers of those columns that there are: a missing side has a flag of its own."""
        known = [name for name in names if self.has(name)]
        if not known:
            raise Absent(names[0])
        return pd.concat([self.number(name) for name in known], axis=1)

    def worst(self, name: str, lowest: bool = False) -> pd.Series:
        """The worse side's number; ``{side}`` in the name stands for left and right."""
        values = self.either([name.format(side=side) for side in SIDES])
        return values.min(axis=1) if lowest else values.max(axis=1)

    def count(self, name: str) -> pd.Series:
        """How many items a list names; none where the stage said ok and names nothing.

        A cell may be a list, or text as ledgers hold it: ``S4,S5``, ``[4, 5]``, empty.
        """
        values, stage = self.column(name), name.split(".")[0]
        verdict = self.table.get(f"{stage}.verdict", pd.Series("", index=values.index))
        return values.map(_items).astype(float).mask(values.isna() & (verdict == "ok"), 0.0)

    def yes(self, name: str) -> pd.Series:
        """1 for yes, 0 for no."""
        known = {"True": 1.0, "False": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0}
        return self.column(name).map(lambda cell: known.get(str(cell), np.nan)).astype(float)


def _items(cell) -> float:
    if isinstance(cell, list | tuple | set):
        return float(len(cell))
    if isinstance(cell, str):
        parts = cell.strip("[]() ").replace(";", ",").replace(" ", ",").split(",")
        return float(sum(bool(part.strip("'\"")) for part in parts))
    return np.nan if pd.isna(cell) else 1.0  # a lone number, such as station 4


@cache
def _is_declared(name: str) -> bool:
    stage, _, column = name.rpartition(".")
    paths = {"": ("volumes.tsv", "cohort/sample.tsv"), "quality": ("qc/quality.tsv",)}
    for path in paths.get(stage, (f"shards/any/{stage}.tsv",)):
        table = tables.table_of(path)
        if table is not None and table.declared(column):
            return True
    return False


@dataclass(frozen=True)
class Check:
    """A flag's definition.

    Parameters
    ----------
    name : str
        The flag, as in flags.tsv.
    value : callable
        `Evidence` to a Series of values; ``attrs["method"]`` may say how they were computed.
    limit : str or None
        The configuration key (section qc) that holds the limit; None: 0.
    direction : {"high", "low", "both"}
        Raised above the limit, below it, or where the absolute value is above it.
    severity : {"serious", "review", "note"}
        serious: probably wrong; review: look at it; note: good to know.
    unit : str
    reading : str
        The sentence for people; {value} and {limit} are filled in.
    source : str
        Who proposes the check.
    origin : str
        Where the limit comes from.
    relative : bool
        The limit is a start: it follows the cohort once that is large enough, see
        `robust.cohort_limits`.
    """

    name: str
    value: Callable[[Evidence], pd.Series]
    limit: str | None
    direction: str
    severity: str
    unit: str
    reading: str
    source: str
    origin: str
    relative: bool

    @property
    def definition(self) -> str:
        """The docstring's first paragraph."""
        return " ".join((self.value.__doc__ or "").split("\n\n")[0].split())

    def is_raised(self, values: pd.Series, limit) -> pd.Series:
        """Whether each value lies beyond the limit; never where it is missing."""
        if self.direction == "low":
            return values < limit
        return (values.abs() if self.direction == "both" else values) > limit

    def distance(self, values: pd.Series, limit: pd.Series) -> pd.Series:
        """How far beyond the limit, 0 at it; to order participants of one severity."""
        values = values.abs() if self.direction == "both" else values
        beyond = limit - values if self.direction == "low" else values - limit
        return beyond / limit.abs().where(limit != 0, 1.0)


CHECKS: dict[str, Check] = {}


def check(limit, severity, unit, reading, origin, source=OURS, both=False, relative=False):
    """Register a function as the check of its own name; see `Check`.

    The limit's key says its direction: ``max_`` or ``min_``.
    """

    def register(function):
        direction = "both" if both else "low" if (limit or "").startswith("min_") else "high"
        name = function.__name__
        CHECKS[name] = Check(
            name, function, limit, direction, severity, unit, reading, source, origin, relative
        )
        return function

    return register
