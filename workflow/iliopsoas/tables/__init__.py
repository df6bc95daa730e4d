"""Every table this project writes, declared once; nothing heavy is imported to read it.

A declaration is an entry of one of the YAML files beside this one. From it come the rules' lists
of outputs, the check of columns when a table is written, the page of columns, what may leave a
secure environment, and the pages of the report. Keys of an entry:

path
    Below the results folder; ``<shard>`` and the like stand for one word of a name.
rows
    What a row is.
made_by
    The stage that writes it.
access
    ``individual``: a row per participant, or values of single ones; stays inside. ``inside``: of
    groups, stays inside all the same. ``released``: leaves with small cells withheld.
columns
    Name to ``[unit, definition]``, or nothing where `common.yaml` has it. ``single`` as a third
    item: a value of a single participant, which never leaves.
columns_of
    Columns that the code defines where it makes them: ``module:dictionary``.
ledger
    The table begins with the columns of every ledger.
sometimes
    Columns that a run may lack.
make
    ``module:function`` of a statistic; `iliopsoas.statistics.run` calls it with what its
    parameters name.
page, formatted
    Caption of the table as a page of the report, and ``module:function`` that turns the numbers
    into its text.
report
    Caption in the report that may leave; without it the table leaves as a file only.
rests_on
    A count of participants to the columns that rest on it (patterns; ``*`` alone: every number
    that is no count): withheld with it where it is small.
summed
    Counts that add up over rows or columns; `protect` sees to them.
quantiles
    A quantile to its count and its share.
protect
    Function of `iliopsoas.egress.withholding` for what follows from sums and differences.
"""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property
from importlib import import_module, resources

import yaml

from iliopsoas.status import InputError

AREAS = ("shards", "cohort", "model", "qc", "statistics", "others")
LEDGER = ("eid", "instance", "verdict", "message", "seconds", "fingerprint", "bytes")
WORDS = ("text", "verdict", "list", "hash", "path", "date", "stage")  # units of what is no number
_PLACES = {
    "side": "left|right",
    "method": "[a-z][a-z0-9_]*",
    "sex": "female|male",
    "group": "female|male|all",
}
_PLACE = re.compile(r"<(\w+)>")  # stands for one word of a name


@dataclass(frozen=True)
class Table:
    """A declared table; the module's text says what its fields mean."""

    path: str
    rows: str
    made_by: str
    access: str
    columns_of: tuple = ()
    own: dict = field(default_factory=dict)
    sometimes: frozenset = frozenset()
    single: frozenset = frozenset()
    make: str | None = None
    page: str | None = None
    formatted: str | None = None
    report: str | None = None
    rests_on: dict = field(default_factory=dict)
    summed: tuple = ()
    quantiles: dict = field(default_factory=dict)
    protect: str | None = None

    @property
    def name(self) -> str:
        """File name without its ending."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".tsv")

    @cached_property
    def columns(self) -> dict:
        """Column to (unit, definition), in the file's order."""
        found = {name: meaning for name, meaning in self.own.items() if name in LEDGER}
        for reference in self.columns_of:
            found |= load(reference)
        return found | self.own

    def holds(self, path: str) -> bool:
        """Whether this declares the file at `path`, below the results folder."""
        return _matches(self.path, str(path), r"[^/]+")

    def declared(self, column: str) -> str | None:
        """The declared name that a column of a file has, or None."""
        if column in self.columns:
            return column
        return next((own for own in self.columns if _matches(own, column)), None)

    def undeclared(self, header) -> list[str]:
        """Columns of a file that are not declared."""
        return [name for name in header if self.declared(name) is None]

    def absent(self, header) -> list[str]:
        """Declared columns that a file must have and has not."""
        return [
            own
            for own in self.columns
            if own not in self.sometimes and not _PLACE.search(own) and own not in header
        ]

    def unit(self, column: str) -> str:
        """Unit of a column of a file."""
        return self.columns[self.declared(column)][0]

    def resting(self, count: str, header) -> list[str]:
        """Columns of a file that rest on a count of participants."""
        numbers = [name for name in header if self.unit(name) not in (*WORDS, "count")]
        found = []
        for pattern in self.rests_on[count].split():
            among = numbers if pattern == "*" else header
            found += [name for name in among if fnmatchcase(name, pattern)]
        return [n for n in dict.fromkeys(found) if n != count and self.unit(n) != "count"]


def _matches(declared: str, name: str, word: str = "[A-Za-z0-9]+") -> bool:
    if "<" not in declared:
        return declared == name
    parts = _PLACE.split(declared)  # text and places take turns
    pattern = "".join(
        f"(?:{_PLACES.get(part, word)})" if number % 2 else re.escape(part)
        for number, part in enumerate(parts)
    )
    return re.fullmatch(pattern, name) is not None


def load(reference: str):
    """What ``module:name`` names."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def _read(name: str):
    text = resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _common() -> dict:
    return _read("common")


@cache
def area(name: str) -> tuple[Table, ...]:
    """The tables of one file of declarations, in its order."""
    found = []
    for item in _read(name):
        meanings = dict.fromkeys(LEDGER) if item.pop("ledger", False) else {}
        meanings |= item.pop("columns", {})
        meanings = {column: meaning or _common()[column] for column, meaning in meanings.items()}
        tuples = {key: tuple(item.pop(key, ())) for key in ("columns_of", "summed")}
        found.append(
            Table(
                own={column: tuple(meaning[:2]) for column, meaning in meanings.items()},
                single=frozenset(c for c, meaning in meanings.items() if "single" in meaning[2:]),
                sometimes=frozenset(item.pop("sometimes", ())),
                **tuples,
                **item,
            )
        )
    return tuple(found)


def names(name: str) -> list[str]:
    """Names of the tables of one area, such as ``statistics`` or ``qc``."""
    return [table.name for table in area(name)]


def pages() -> list[str]:
    """Names of the statistics that are also pages of the report."""
    return [table.name for table in area("statistics") if table.page]


@cache
def every() -> tuple[Table, ...]:
    """All tables, the volume table first."""
    return tuple(table for name in AREAS for table in area(name))


def table_of(path: str) -> Table | None:
    """The table that a file is, given by its path below the results folder.

    Masks of another tool (``other/<method>/``), frozen releases (``frozen/<tag>/``) and what may
    leave (``egress/tables/``) have tables of the run's own kinds.
    """
    own = str(path)
    found = next((table for table in every() if table.holds(own)), None)
    if found:
        return found
    own = re.sub(r"^(frozen/[^/]+|egress/tables)/", "", own)
    own = re.sub(r"^other/[^/]+/(?=statistics/|volumes\.tsv)", "", own)
    own = re.sub(r"^other/[^/]+/(?=[^/]+$)", "qc/", own)
    return next((table for table in every() if table.holds(own)), None)


def check(path: str, columns) -> None:
    """Raise where a table has other columns than declared.

    Parameters
    ----------
    path : str
        Below the results folder, such as ``shards/demo-0001/dixon.tsv``.
    columns : iterable of str
        The header.

    Raises
    ------
    InputError
        The table or a column is not declared, or a declared column is absent.
    """
    table, columns = table_of(path), list(columns)
    if table is None:
        raise InputError(f"{path}: no such table is declared in iliopsoas/tables/*.yaml")
    wrong = {"undeclared": table.undeclared(columns), "absent": table.absent(columns)}
    if any(wrong.values()):
        found = "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names)
        raise InputError(f"{path}: columns differ from iliopsoas/tables/*.yaml: {found}")


def markdown() -> str:
    """The definitions of every column, as part of the page docs/columns.md."""
    lines = []
    for table in every():
        lines += ["", f"## `{table.path}`", "", f"Rows: {table.rows}.", ""]
        lines += ["| column | unit | definition |", "| --- | --- | --- |"]
        for name, (unit, definition) in table.columns.items():
            definition = definition[0].upper() + definition[1:].replace("|", "\\|")
            lines.append(f"| `{name}` | {unit.replace('percent', '%')} | {definition} |")
    return "\n".join(lines) + "\n"
