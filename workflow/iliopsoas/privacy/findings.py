"""What a scan knows about a cohort, and what it says about a file."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.status import InputError
from iliopsoas.ukb.headers import is_eid

COHORT_ID = "id of this cohort"
NUMBER = "number of seven digits, as ids are"
BIRTH = "date of birth"
ID_COLUMN = "column of participant ids"
ROWS = "row per participant"
MARKS = "mark per participant"
DICOM = "DICOM file"
CLOSED = "cannot be looked into"

_DIGITS = re.compile(r"\d{7,}|(?:19|20)\d\d-\d\d-\d\d")


def masked(text: str) -> str:
    """`text` with everything that could be an id or a date replaced by ``#``."""
    return _DIGITS.sub(lambda found: "#" * len(found.group()), text)


@dataclass(frozen=True, order=True)
class Finding:
    """Something that names or describes a participant.

    Attributes
    ----------
    file : str
        Relative path, with what could be an id masked.
    kind : str
        What was found; one of the constants of this module.
    place : str
        Where in the file, masked too; empty for the file as a whole.
    """

    file: str
    kind: str
    place: str = ""

    def __str__(self):
        return f"{self.file}: {self.kind}" + (f" ({self.place})" if self.place else "")


@dataclass(frozen=True)
class Cohort:
    """What is known of the participants who must not be found.

    Attributes
    ----------
    ids : frozenset of str
        EIDs.
    values : dict of str to ndarray
        Measurements by name, in rising order: a table's column that repeats them is data of
        single participants even where ids were removed.
    size : int
        Participants; 0 where not known.
    """

    ids: frozenset = frozenset()
    values: dict = field(default_factory=dict)
    size: int = 0

    @classmethod
    def read(cls, results, tables=(), lists=()) -> "Cohort":
        """Everyone in the results, the phenotype tables and the lists of EIDs.

        Parameters
        ----------
        results : path
            Folder of all results: sample, manifests, volume table, subject folders.
        tables : list of path
            Phenotype tables of UK Biobank.
        lists : list of path
            Withdrawals and exclusions: one EID per line.
        """
        results = Path(results)
        ids, values, size = set(), {}, 0
        for path in (results / "cohort/sample.tsv", results / "volumes.tsv"):
            if path.exists():
                table = files.read_tsv(path)
                ids |= set(table["eid"])
                size = max(size, table["eid"].nunique())
                numbers = table.select_dtypes("number")
                values |= {name: np.sort(numbers[name].dropna().to_numpy()) for name in numbers}
        for path in (results / "cohort/draws.tsv", *results.glob("shards/*/manifest.tsv")):
            if path.exists():
                ids |= set(files.read_tsv(path)["eid"])
        ids |= {path.name.split("_")[0] for path in results.glob("subjects/??/*_?")}
        for path in map(Path, tables):
            ids |= _ids_of(path)
        for path in map(Path, lists):
            ids |= set(re.findall(r"(?<!\d)\d{7}(?!\d)", path.read_text(errors="replace")))
        return cls(frozenset(ids), values, size)


def _ids_of(path: Path) -> set[str]:
    separator = "\t" if path.name.removesuffix(".gz").endswith((".tsv", ".txt")) else ","
    options = {"sep": separator, "dtype": str, "encoding_errors": "replace"}
    try:
        header = pd.read_csv(path, nrows=0, **options).columns
        if not any(map(is_eid, header)):
            options["sep"] = "\t" if separator == "," else ","
        table = pd.read_csv(path, usecols=is_eid, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"phenotype table {path.name}: the ids cannot be read") from error
    return {str(value).strip() for column in table for value in table[column].dropna()}
