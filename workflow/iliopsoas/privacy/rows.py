"""Tables that hold a row per participant, with or without ids."""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import PurePosixPath

import numpy as np

from iliopsoas.privacy.findings import BIRTH, ID_COLUMN, ROWS, Cohort
from iliopsoas.ukb.headers import is_eid

FEWEST = 5  # rows from which a table can be one of participants
# names of columns, without case and punctuation
IDS = {
    *("eid", "feid", "neid", "participantid", "participanteid", "participant", "subjectid"),
    *("subject", "patientid", "patientname", "patient", "sampleid", "iid", "ukbid"),
}
BIRTHS = {
    *("dob", "dateofbirth", "birthdate", "yearofbirth", "birthyear", "monthofbirth"),
    *("birthmonth", "patientbirthdate", "f3400", "f5200", "f3300", "3400", "5200", "3300"),
    *("p34", "p52", "p33"),
}
TRAITS = {
    *("sex", "gender", "age", "ageatimaging", "bmi", "height", "heightcm", "weight", "weightkg"),
    *("ethnicity", "handedness", "centre", "visitdate", "diagnosis", "icd10"),
}
# a table with one of these is about groups
OF_GROUPS = {
    *("n", "count", "participants", "percent", "mean", "sd", "female", "male", "eligible"),
    *("median", "share", "rho", "estimate", "fit", "p", "visits", "subjects"),
}


def tables(text: str, name: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of every table in a text, by the file's name."""
    kind = PurePosixPath(name.lower()).suffix.lstrip(".")
    if kind in ("html", "htm", "svg", "xml"):
        parser = _Html()
        parser.feed(text)
        yield from ((rows[0], rows[1:]) for rows in parser.found if rows)
    elif kind in ("json", "jsonl", "ipynb", "geojson"):
        yield from _json_tables(text)
    elif kind == "md":
        rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
        if rows:
            yield [cell.strip() for cell in rows[0]], [[c.strip() for c in r] for r in rows[1:]]
    elif kind in ("tsv", "csv", "tab", "psv", "txt", "dat", ""):
        text = text.lstrip("\ufeff")
        first = text.split("\n", 1)[0]
        separator = max("\t,;|", key=first.count)
        try:
            rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator) if any(row)]
        except csv.Error:
            return
        if not rows:
            return
        prose = kind in ("txt", "dat", "") and separator not in first
        if prose and not all(re.fullmatch(r"[-+.\deE\s]+", row[0]) for row in rows[1:]):
            return
        yield rows[0], rows[1:]


class _Html(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self._open = [], False

    def handle_starttag(self, tag, attrs):
        if tag == "table":
            self.found.append([])
        elif tag == "tr" and self.found:
            self.found[-1].append([])
        elif tag in ("td", "th") and self.found and self.found[-1]:
            self.found[-1][-1].append("")
            self._open = True

    def handle_endtag(self, tag):
        if tag in ("td", "th", "tr", "table"):
            self._open = False

    def handle_data(self, data):
        if self._open:
            self.found[-1][-1][-1] += data


def _json_tables(text):
    try:
        content = [json.loads(text)]
    except ValueError:
        try:
            content = [[json.loads(line) for line in text.splitlines() if line.strip()]]
        except ValueError:
            return
    while content:
        item = content.pop()
        if isinstance(item, dict):
            content.extend(item.values())
            columns = {k: v for k, v in item.items() if isinstance(v, list) and v}
            lengths = {len(column) for column in columns.values()}
            if len(columns) > 1 and len(lengths) == 1:
                yield (
                    list(columns),
                    [list(map(str, row)) for row in zip(*columns.values(), strict=True)],
                )
            objects = [v for v in item.values() if isinstance(v, dict)]
            if len(objects) >= FEWEST and len(objects) == len(item):
                yield _records(objects)
        elif isinstance(item, list):
            content.extend(v for v in item if isinstance(v, dict | list))
            objects = [v for v in item if isinstance(v, dict)]
            if objects:
                yield _records(objects)


def _records(objects):
    names = list(dict.fromkeys(name for item in objects for name in item))
    return names, [[str(item.get(name, "")) for name in names] for item in objects]


def kinds(header: list[str], rows: list[list[str]], cohort: Cohort) -> Iterator[tuple[str, str]]:
    """Kinds of findings in a table, with the column where there is one."""
    if not rows:
        return
    plain = [re.sub(r"[^a-z0-9]", "", str(name).lower()) for name in header]
    for position, name in enumerate(plain):
        filled = any(len(row) > position and row[position].strip() for row in rows)
        if filled and (name in IDS or is_eid(str(header[position]).strip())):
            yield ID_COLUMN, f"column {position + 1}"
        elif filled and name in BIRTHS:
            yield BIRTH, f"column {position + 1}"
    if len(rows) < FEWEST:
        return
    names = set(plain)
    if len(names & TRAITS) >= 2 and not names & OF_GROUPS:
        yield ROWS, "columns of a person's traits"
    elif cohort.size >= 1000 and len(rows) >= cohort.size // 2:
        yield ROWS, "about as many rows as participants"
    else:
        needed = min(10, max(FEWEST, math.ceil(cohort.size / 2)))
        for position in range(len(header)):
            cells = [row[position] for row in rows if len(row) > position]
            if _repeats(cells, cohort.values, needed):
                yield ROWS, f"column {position + 1} repeats participants' measurements"
                return


def _repeats(cells, values: dict, needed: int) -> bool:
    """Whether a column's numbers are, as printed, those of single participants.

    Chance is taken into account: where a measure is so densely filled that any number would
    match, many matches are asked for.
    """
    numbers = [cell.strip() for cell in cells if re.fullmatch(r"\s*-?\d+\.\d+\s*", cell or "")]
    distinct = sorted(set(numbers))
    if len(distinct) < needed:
        return False
    digits = min(9, max(len(cell.split(".")[1]) for cell in distinct))
    asked = np.unique(np.round([float(cell) for cell in distinct], digits))
    half = 0.5 * 10.0**-digits + 1e-12 * np.abs(asked)
    for known in values.values():
        if len(known) < needed:
            continue
        below = np.searchsorted(known, asked - half, side="left")
        found = int((np.searchsorted(known, asked + half, side="right") > below).sum())
        span = (known[-1] - known[0]) * 10.0**digits + 1
        chance = min(len(known) / span, 1.0)
        likely = chance >= 1 or found * math.log10(chance) > -6
        if found >= needed and found >= 0.9 * len(asked) and not likely:
            return True
    return False
