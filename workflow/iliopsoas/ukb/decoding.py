"""Cells of UK Biobank's phenotype tables to values; what cannot be is counted by reason."""

import json
import re
from collections import Counter

import numpy as np
import pandas as pd

from iliopsoas.ukb.headers import CODINGS, FIELDS, Column

MISSING = {"", "na", "nan", "n/a", "null", "none", "<na>", "nat", "."}
NO_ANSWER = {"do not know", "prefer not to answer"}
ICD10 = re.compile(r"[A-Z]\d[0-9A-Z]{1,4}")


class Problems(Counter):
    """Counts by (problem, field); never by participant."""

    def add(self, problem: str, field: int, count: int) -> None:
        if count:
            self[(problem, field)] += int(count)


def _clean(cells: pd.Series) -> pd.Series:
    """The cells that hold something, without surrounding blanks and quotes."""
    cells = cells[(cells != "").to_numpy()].str.strip().str.strip('"').str.strip()
    return cells[~cells.str.casefold().isin(MISSING)]


def decode(cells: pd.Series, column: Column, problems: Problems) -> pd.Series:
    """One column as numbers, codes, dates or presence.

    Parameters
    ----------
    cells : Series of str
        Indexed without duplicates.
    column : Column
    problems : Problems
        Gets the counts of ``no_answer`` (negative codes and their labels), ``unreadable``
        (neither number, date nor known label) and ``impossible`` (out of range) cells; all
        of these become missing. Negative codes of categories stay: they are answers.

    Returns
    -------
    Series
        float64 for numbers and codes, datetime64 for dates, float64 1 or NaN for text.
    """
    field = FIELDS[column.field]
    if field.kind == "text":
        present = _clean(cells).index
        return pd.Series(1.0, index=present).reindex(cells.index)
    if field.kind == "date":
        return _date(_clean(cells), field, problems).reindex(cells.index)
    # most cells are plain numbers; only the others are looked at as text
    numbers = pd.to_numeric(cells, errors="coerce").astype(float)
    words = _clean(cells[numbers.isna().to_numpy()])
    numbers.loc[words.index] = pd.to_numeric(words, errors="coerce").astype(float)
    words = words[numbers.loc[words.index].isna().to_numpy()].str.casefold()
    if field.kind == "code":
        return _code(numbers, words, field, problems)

    refused = words.isin(NO_ANSWER).sum() + (numbers < 0).sum()
    impossible = (numbers >= 0) & ~numbers.between(float(field.low), float(field.high))
    problems.add("no_answer", field.field, refused)
    problems.add("unreadable", field.field, (~words.isin(NO_ANSWER)).sum())
    problems.add("impossible", field.field, impossible.sum())
    return numbers.mask(impossible | (numbers < 0))


def _code(numbers, words, field, problems):
    """Codes as they are and labels as their codes."""
    values, labels = CODINGS[field.field]
    codes = numbers
    codes.loc[words.index] = words.map(labels).astype(float)
    problems.add("unreadable", field.field, codes.loc[words.index].isna().sum())
    # other centres than the imaging ones keep their code: they are earlier visits'
    known = codes.notna() if field.role == "centre" else codes.isin(list(values))
    problems.add("impossible", field.field, (codes.notna() & ~known).sum())
    problems.add("no_answer", field.field, (codes < 0).sum())
    return codes.where(known)


def _date(cells, field, problems):
    dates = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True).dt.tz_localize(None)
    impossible = (dates < pd.Timestamp(field.low)) | (dates > pd.Timestamp(field.high))
    problems.add("unreadable", field.field, dates.isna().sum())
    problems.add("impossible", field.field, impossible.sum())
    return dates.mask(impossible).astype("datetime64[s]")


def split_diagnoses(cell: str) -> list[str]:
    """ICD-10 codes of one cell of field 41270: one code, a ``|`` list or a JSON list.

    Codes come without the dot (``M179``); what follows a code ("M17.9 Gonarthrosis") is its
    label.
    """
    cell = cell.strip()
    if cell.startswith("["):
        try:
            parts = json.loads(cell)
        except json.JSONDecodeError:  # Python's quotes
            parts = re.findall(r"'([^']*)'|\"([^\"]*)\"", cell)
            parts = [first or second for first, second in parts]
    else:
        parts = cell.split("|")
    words = (str(part).strip().split(" ")[0] for part in parts if str(part).strip())
    return [word.replace(".", "").upper() for word in words]


def decode_diagnoses(eids: np.ndarray, cells: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Diagnoses as a long table.

    Parameters
    ----------
    eids : ndarray of int64, shape (rows,)
    cells : DataFrame, shape (rows, arrays)
        Columns of field 41270.
    problems : Problems

    Returns
    -------
    DataFrame
        eid, icd10; a row per participant and code.
    """
    values = cells.to_numpy(dtype=object)
    rows, columns = np.nonzero(values != "")
    words = _clean(pd.Series(values[rows, columns]))
    long = pd.DataFrame({"eid": eids[rows[words.index]], "icd10": words})
    plain = long["icd10"].str.fullmatch(ICD10).astype(bool)
    lists = long[~plain]
    lists = lists.assign(icd10=lists["icd10"].map(split_diagnoses)).explode("icd10")
    good = lists["icd10"].str.fullmatch(ICD10).fillna(False).astype(bool)
    problems.add("unreadable", 41270, (~good).sum())
    found = pd.concat([long[plain], lists[good]]).drop_duplicates()
    return found.astype({"icd10": "category"}).reset_index(drop=True)
