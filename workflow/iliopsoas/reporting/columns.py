"""Every column of every table: unit and definition, from one source.

Columns that a module defines where it makes them (`volumes.COLUMNS`, `qc.evidence.COLUMNS`) are
taken from there, all others from columns.yaml. ``python -m iliopsoas.reporting.columns FILE``
writes the page docs/columns.md; tests compare it with the files of a run.
"""

import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources

import yaml

from iliopsoas import files
from iliopsoas.masks import volumes
from iliopsoas.qc import evidence, quality
from iliopsoas.stages.shards import LEDGER_COLUMNS

OTHER = {
    "resampled": ("yes/no", "whether the masks' grid was another than the stitched one's"),
    "left_file_ml": ("ml", "volume of the left mask on its file's own grid"),
    "right_file_ml": ("ml", "volume of the right mask on its file's own grid"),
}
_PLACE = re.compile(r"<\w+>")  # stands for one word of a name


@dataclass(frozen=True)
class Table:
    """A kind of output table.

    Parameters
    ----------
    path : str
        Below the results folder; ``<shard>`` and the like stand for one name.
    rows : str
        What a row is.
    columns : dict of str to (str, str)
        Name to unit and definition, in the file's order. ``<side>`` and the like in a name
        stand for one word.
    sometimes : frozenset of str
        Columns that a run may lack.
    """

    path: str
    rows: str
    columns: dict
    sometimes: frozenset = frozenset()

    def holds(self, path: str) -> bool:
        """Whether this describes the file at `path`, below the results folder."""
        return fnmatchcase(str(path), _PLACE.sub("*", self.path)) and str(path).count(
            "/"
        ) == self.path.count("/")

    def undefined(self, header) -> list[str]:
        """Columns of a file that have no definition."""
        return [name for name in header if not any(_matches(own, name) for own in self.columns)]

    def absent(self, header) -> list[str]:
        """Defined columns that a file must have and has not."""
        return [
            own
            for own in self.columns
            if own not in self.sometimes
            and not _PLACE.search(own)
            and not any(_matches(own, name) for name in header)
        ]


def _matches(own: str, name: str) -> bool:
    return re.fullmatch("[A-Za-z0-9]+".join(map(re.escape, _PLACE.split(own))), name) is not None


@cache
def tables() -> tuple[Table, ...]:
    """All tables, the volume table first."""
    text = resources.files(__package__).joinpath("columns.yaml").read_text(encoding="utf-8")
    source = yaml.safe_load(text)
    common = {name: tuple(meaning) for name, meaning in source["common"].items()}

    def meanings(names):
        return {name: tuple(meaning or common[name]) for name, meaning in names.items()}

    ledger = {name: common[name] for name in LEDGER_COLUMNS}
    features = {name: evidence.SIDE_EVIDENCE[name] for name in quality.MASK_FEATURES}
    found = [
        Table(
            item["path"],
            item["rows"],
            (ledger if item.get("ledger") else {})
            | meanings(item["columns"])
            | (features if item.get("mask_features") else {}),
            frozenset(item.get("sometimes", ())),
        )
        for item in source["tables"]
    ]
    measured = volumes.MEASURES | {"missing_reason": volumes.COLUMNS["missing_reason"]}
    visit = "one per visit of the cohort"
    own = [
        Table("volumes.tsv", visit, volumes.COLUMNS),
        Table("shards/volumes.tsv", f"{visit}, before quality control", volumes.COLUMNS),
        Table(
            "shards/<shard>/volumes.tsv",
            "one per visit of the shard",
            ledger | measured | evidence.COLUMNS,
        ),
        Table(
            "shards/<shard>/other/<method>.tsv",
            "one per visit of the shard, of masks of another tool",
            ledger | OTHER | measured | evidence.COLUMNS,
        ),
    ]
    return (*own, *found)


def table_of(path: str) -> Table | None:
    """The table that describes a file, given by its path below the results folder.

    Masks of another tool (``other/<method>/``), frozen releases (``frozen/<tag>/``) and what may
    leave (``egress/tables/``) have tables of the run's own kinds.
    """
    own = str(path)
    found = next((table for table in tables() if table.holds(own)), None)
    if found:
        return found
    own = re.sub(r"^(frozen/[^/]+|egress/tables)/", "", own)
    own = re.sub(r"^other/[^/]+/(?=statistics/|volumes\.tsv)", "", own)
    own = re.sub(r"^other/[^/]+/(?=[^/]+$)", "qc/", own)
    return next((table for table in tables() if table.holds(own)), None)


def markdown() -> str:
    """The page docs/columns.md."""
    lines = [
        "# Every column",
        "",
        "Tables are tab-separated, UTF-8, with one header line; what is missing is empty.",
        "Paths are below the results folder. `<side>` in a name stands for left or right, `<sex>`",
        "for female or male, other words in `<>` for what the definition says. Masks of another",
        "tool have the same tables of volumes, flags and statistics under `other/<method>/`.",
        "Generated by `make config-docs`.",
    ]
    for table in tables():
        lines += ["", f"## `{table.path}`", "", f"Rows: {table.rows}.", ""]
        lines += ["| column | unit | definition |", "| --- | --- | --- |"]
        for name, (unit, definition) in table.columns.items():
            unit = unit.replace("percent", "%")
            lines.append(f"| `{name}` | {unit} | {_cell(definition)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text[0].upper() + text[1:].replace("|", "\\|") if text else ""


if __name__ == "__main__":
    files.write_text(sys.argv[1], markdown())
