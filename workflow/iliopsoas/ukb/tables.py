"""Phenotype tables of any UK Biobank dialect to one row per participant and imaging visit.

Tables are streamed: of a table with 500,000 rows and 3,000 columns only the columns read
here are ever held. Nothing in a message or report names a participant.
"""

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas.status import InputError
from iliopsoas.ukb.decoding import Problems, decode, decode_diagnoses
from iliopsoas.ukb.headers import CODINGS, FIELDS, ROLES, Column, is_eid, parse

CELLS_PER_CHUNK = 8_000_000  # bounds memory whatever the number of columns
DIAGNOSES = ROLES["diagnoses"]
# a visit took place where any of these is known
VISIT_ROLES = ("age", "visit_date", "centre", "height_cm", "weight_kg", "bmi", "scan",
               "height_imaging_cm", "weight_imaging_kg")  # fmt: skip
COLUMNS = ["eid", "instance", "sex", "age", "age_at_recruitment", "height_cm", "weight_kg", "bmi",
           "ethnicity", "handedness", "centre", "visit_date", "scan_listed"]  # fmt: skip


@dataclass
class Phenotypes:
    """What `read_cohort` found.

    Parameters
    ----------
    table : DataFrame
        A row per participant and imaging visit, sorted by eid and instance: eid, instance
        (text), sex ("female"/"male"), age (years), age_at_recruitment (years: field 21022, else
        the age at instance 0), height_cm, weight_kg, bmi (kg/m^2),
        ethnicity, handedness ("right"/"left"/"both"), centre, visit_date (ISO text),
        scan_listed (whether field 20201 names a zip). Missing values are missing.
    diagnoses : DataFrame
        eid, icd10: a row per participant and code of field 41270.
    report : DataFrame
        source, problem, field, count: what was missing, refused or impossible.
    conflicting : set of str
        EIDs left out because their rows contradict each other.
    participants : set of str
        EIDs of all rows of all tables.
    """

    table: pd.DataFrame
    diagnoses: pd.DataFrame
    report: pd.DataFrame
    conflicting: set[str] = field(default_factory=set)
    participants: set[str] = field(default_factory=set)


@dataclass
class _Table:
    """One file: values by Column, indexed by eid."""

    values: pd.DataFrame
    diagnoses: pd.DataFrame
    conflicts: pd.Series  # eid -> True


def read_phenotypes(paths, instances=(2, 3)) -> pd.DataFrame:
    """The `table` of `read_cohort`."""
    return read_cohort(paths, instances).table


def read_cohort(paths, instances=(2, 3), required=("sex", "age")) -> Phenotypes:
    """Read and join phenotype tables.

    Height, weight and BMI of the imaging visit come from fields 50, 21002 and 21001, measured
    by staff at that visit and consistent with each other; where missing, from fields 12144 and
    12143, the whole numbers entered before imaging; a missing BMI is weight / height^2.
    Handedness and ethnic background were not asked at every visit: without an answer, earlier
    visits' are taken, latest first, then later ones'.

    Parameters
    ----------
    paths : path or list of paths
        CSV or TSV, possibly .gz, joined by eid.
    instances : iterable of int
        Imaging visits: 2, 3.
    required : iterable of str
        Roles (fields.tsv) without which the tables are of no use.

    Raises
    ------
    InputError
        A file cannot be read as a phenotype table, or no table has a required field.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    instances = sorted(int(instance) for instance in instances)
    if not paths:
        raise InputError("phenotype tables: none given, expected at least one")
    report, joined, diagnoses, conflicts = [], None, [], set()
    for path in paths:
        problems = Problems()
        table = _read_table(Path(path), problems)
        conflicts |= set(table.conflicts.index)
        diagnoses.append(table.diagnoses)
        joined, clashing = _join(joined, table.values, problems)
        conflicts |= set(clashing)
        report += [
            {"source": Path(path).name, "problem": problem, "field": number, "count": count}
            for (problem, number), count in sorted(problems.items(), key=str)
        ]
    _require(joined, required, instances, paths)

    participants = set(joined.index.astype(str))
    joined = joined.drop(index=list(conflicts), errors="ignore")
    problems = Problems()
    visits = [_visit(joined, instance, problems) for instance in instances]
    table = pd.concat(visits).sort_values(["eid", "instance"]).reset_index(drop=True)
    known = pd.Index(table["eid"].unique())
    diagnoses = _join_diagnoses(diagnoses, known)
    table["eid"] = table["eid"].astype(str)
    table["instance"] = table["instance"].astype(str)
    for role in ("age", "height_cm", "weight_kg", "bmi", "sex", "visit_date"):
        problems.add("missing", ROLES[role], table[role].isna().sum())
    report += [
        {"source": "imaging visits", "problem": problem, "field": number, "count": count}
        for (problem, number), count in sorted(problems.items(), key=str)
    ]
    return Phenotypes(
        table=table[COLUMNS],
        diagnoses=diagnoses,
        report=pd.DataFrame(report, columns=["source", "problem", "field", "count"]),
        conflicting={str(eid) for eid in conflicts},
        participants=participants,
    )


def _open(path: Path):
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return open(path, encoding="utf-8-sig", errors="replace", newline="")


class _Checked:
    """A table's text without header and blank lines, every row's number of columns checked.

    The parser itself passes over cells that are missing or too many.
    """

    LONGEST = 200  # lines of one row: quoted cells may hold line ends

    def __init__(self, file, name: str, delimiter: str, columns: int):
        self.rows = self._rows(file, name, delimiter, columns)

    def __iter__(self):
        return self.rows

    def read(self, size: int = -1) -> str:
        """About `size` characters, whole rows."""
        parts, length = [], 0
        for row in self.rows:
            parts.append(row)
            length += len(row)
            if 0 <= size <= length:
                break
        return "".join(parts)

    def _rows(self, file, name, delimiter, columns):
        row, start, between = "", 1, f'"{delimiter}"'
        for number, line in enumerate(file, start=1):
            row = row + line if row else line
            quoted = '"' in row
            if quoted and row.count('"') % 2:
                if number - start > self.LONGEST:
                    raise InputError(f"phenotype table {name}, line {start}: a quote never closed")
                continue
            if start > 1 and not row.isspace():
                if quoted and row.count('"') == 2 * columns == 2 * row.count(between) + 2:
                    found = columns  # every cell quoted, as ukbconv writes
                elif quoted:
                    found = len(next(csv.reader([row], delimiter=delimiter)))
                else:
                    found = row.count(delimiter) + 1
                if found != columns:
                    raise InputError(
                        f"phenotype table {name}, line {start}: {found} columns, the header has "
                        f"{columns}; is the file complete?"
                    )
                yield row if row.endswith("\n") else row + "\n"
            row, start = "", number + 1
        if row:
            raise InputError(f"phenotype table {name}, line {start}: a quote never closed")


def _header(path: Path) -> tuple[list[str], str]:
    """Column names and delimiter."""
    try:
        with _open(path) as file:
            first = file.readline()
            delimiter = "\t" if "\t" in first else ","
            file.seek(0)
            names = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, csv.Error) as error:
        raise InputError(f"phenotype table {path.name}: cannot be read: {error}") from error
    if not names:
        raise InputError(f"phenotype table {path.name}: the file is empty")
    return [name.lstrip("\ufeff") for name in names], delimiter


def _read_table(path: Path, problems: Problems) -> _Table:
    names, delimiter = _header(path)
    eid_at = [position for position, name in enumerate(names) if is_eid(name)]
    if len(eid_at) != 1:
        raise InputError(
            f"phenotype table {path.name}: expected one column of participant ids (eid, f.eid, "
            f"participant.eid or Participant ID), found {len(eid_at)} among {len(names)} columns"
        )
    wanted = {position: parse(name) for position, name in enumerate(names)}
    wanted = {position: column for position, column in wanted.items() if column}
    if len(set(wanted.values())) < len(wanted):
        twice = [c for c in set(wanted.values()) if list(wanted.values()).count(c) > 1]
        raise InputError(
            f"phenotype table {path.name}: field {twice[0].field} instance {twice[0].instance} "
            f"array {twice[0].array} has more than one column"
        )
    positions = sorted({eid_at[0], *wanted})
    arrays = [p for p, column in wanted.items() if column.field == DIAGNOSES]
    values, diagnoses = [], []
    try:
        with _open(path) as file:
            chunks = pd.read_csv(
                _Checked(file, path.name, delimiter, len(names)),
                sep=delimiter,
                header=None,
                names=range(len(names)),
                usecols=positions,
                index_col=False,
                dtype=str,
                na_filter=False,
                chunksize=max(200, CELLS_PER_CHUNK // len(names)),
            )
            for chunk in chunks:
                eids = pd.to_numeric(chunk[eid_at[0]].str.strip(' "'), errors="coerce")
                good = (eids > 0) & (eids == np.floor(eids)) & (eids < 1e10)
                problems.add("unreadable_eid", 0, (~good).sum())
                chunk, eids = chunk[good], eids[good].astype("int64").to_numpy()
                decoded = {
                    column: decode(chunk[position], column, problems).to_numpy()
                    for position, column in wanted.items()
                    if column.field != DIAGNOSES
                }
                values.append(pd.DataFrame(decoded).set_axis(eids, axis=0))
                if arrays:
                    diagnoses.append(decode_diagnoses(eids, chunk[arrays], problems))
    except pd.errors.EmptyDataError:
        pass
    except (pd.errors.ParserError, csv.Error, EOFError, OSError) as error:
        raise InputError(f"phenotype table {path.name}: {str(error).strip()}") from error
    if not any(len(part) for part in values):
        raise InputError(f"phenotype table {path.name}: a header and no participant")
    frame = pd.concat(values)
    frame.columns = [Column(*column) for column in frame.columns]
    frame, conflicts = _merge_duplicates(frame, problems)
    return _Table(frame, _concat_diagnoses(diagnoses), conflicts)


def _merge_duplicates(frame: pd.DataFrame, problems: Problems):
    """Rows of the same participant become one where they agree; the others are named conflicts."""
    twice = frame.index.duplicated(keep=False)
    empty = pd.Series(dtype=bool)
    if not twice.any():
        return frame, empty
    groups = frame[twice].groupby(level=0)
    clashes = groups.nunique(dropna=True) > 1  # noqa: PD101 - a group, not a series
    for column in clashes.columns:
        problems.add("conflicting_duplicates", Column(*column).field, clashes[column].sum())
    conflicts = clashes.any(axis=1)
    problems.add("duplicate_rows_merged", 0, (~conflicts).sum())
    merged = groups.first()
    merged.columns = frame.columns
    frame = pd.concat([frame[~twice], merged])
    return frame, conflicts[conflicts]


def _join(left: pd.DataFrame | None, right: pd.DataFrame, problems: Problems):
    """Outer join by eid; a column both tables have must not contradict itself."""
    if left is None:
        return right, []
    clashing = set()
    shared = [column for column in right.columns if column in set(left.columns)]
    both = left.index.intersection(right.index)
    for column in shared:
        one, two = left.loc[both, [column]].iloc[:, 0], right.loc[both, [column]].iloc[:, 0]
        differs = one.notna() & two.notna() & (one != two)
        problems.add("conflicting_tables", column.field, differs.sum())
        clashing |= set(both[differs])
    joined = left.combine_first(right)
    joined.columns = [Column(*column) for column in joined.columns]
    return joined, clashing


def _concat_diagnoses(parts) -> pd.DataFrame:
    parts = [part for part in parts if len(part)]
    if not parts:
        return pd.DataFrame({"eid": np.array([], "int64"), "icd10": pd.Categorical([])})
    codes = pd.api.types.union_categoricals([part["icd10"] for part in parts])
    return pd.DataFrame({"eid": np.concatenate([part["eid"] for part in parts]), "icd10": codes})


def _join_diagnoses(parts, known) -> pd.DataFrame:
    table = _concat_diagnoses(parts)
    table = table[table["eid"].isin(known)].astype({"icd10": str}).drop_duplicates()
    table = table.sort_values(["eid", "icd10"]).reset_index(drop=True)
    return table.assign(eid=table["eid"].astype(str))


def _require(joined, required, instances, paths) -> None:
    present = {(column.field, column.instance) for column in joined.columns}
    for role in required:
        wanted = FIELDS[ROLES[role]]
        options = [(wanted.field, i) for i in (instances if wanted.instanced else [0])]
        if not present.intersection(options):
            names = ", ".join(Path(path).name for path in paths)
            raise InputError(
                f"phenotype tables {names}: no column of field {wanted.field} ({role})"
                + (f" at instance {' or '.join(map(str, instances))}" if wanted.instanced else "")
            )


def _get(joined: pd.DataFrame, role: str, instance: int) -> pd.Series:
    """The first array of a role at an instance; missing everywhere where there is no column."""
    number = ROLES[role]
    column = Column(number, instance if FIELDS[number].instanced else 0, 0)
    if column in joined.columns:
        return joined[[column]].iloc[:, 0]
    kind = "datetime64[s]" if FIELDS[number].kind == "date" else float
    return pd.Series(np.nan if kind is float else pd.NaT, index=joined.index, dtype=kind)


def _answer(joined: pd.DataFrame, role: str, instance: int) -> pd.Series:
    """The visit's answer, else the latest earlier one, else a later one; -1 and -3 are none."""
    order = [*range(instance, -1, -1), *range(instance + 1, 4)]
    result = pd.Series(np.nan, index=joined.index)
    for other in order:
        codes = _get(joined, role, other)
        result = result.where(result.notna(), codes.where(codes >= 0))
    return result


def _names(codes: pd.Series, role: str) -> pd.Series:
    values = CODINGS[ROLES[role]][0]
    return codes.map(values).astype(object).where(codes.notna(), None)


def _visit(joined: pd.DataFrame, instance: int, problems: Problems) -> pd.DataFrame:
    """One row per participant who came at `instance`."""
    came = pd.concat([_get(joined, role, instance).notna() for role in VISIT_ROLES], axis=1)
    joined = joined[came.any(axis=1)]
    standing, entered = (_get(joined, r, instance) for r in ("height_cm", "height_imaging_cm"))
    height = standing.where(standing.notna(), entered)
    weight = _get(joined, "weight_kg", instance)
    weight = weight.where(weight.notna(), _get(joined, "weight_imaging_kg", instance))
    problems.add("heights_differ_by_5_cm", 12144, ((standing - entered).abs() >= 5).sum())

    bmi = _get(joined, "bmi", instance)
    computed = weight / (height / 100) ** 2
    low, high = (float(getattr(FIELDS[ROLES["bmi"]], end)) for end in ("low", "high"))
    computed = computed.where(computed.between(low, high))
    problems.add("recomputed", 21001, (bmi.isna() & computed.notna()).sum())
    problems.add("bmi_differs_by_1", 21001, ((bmi - computed).abs() >= 1).sum())
    bmi = bmi.where(bmi.notna(), computed)

    centre_codes = _get(joined, "centre", instance)
    centre = _names(centre_codes, "centre")
    other = centre_codes.notna() & centre.isna()
    centre = centre.where(~other, centre_codes.map(lambda code: f"{code:.0f}", na_action="ignore"))
    dates = _get(joined, "visit_date", instance)
    recruited = _get(joined, "age_at_recruitment", 0)
    recruited = recruited.where(recruited.notna(), _get(joined, "age", 0))
    ethnicity = _names(_answer(joined, "ethnicity", instance), "ethnicity")
    return pd.DataFrame(
        {
            "eid": joined.index,
            "instance": instance,
            "sex": _names(_get(joined, "sex", 0), "sex"),
            "age": np.floor(_get(joined, "age", instance)).astype("Int64"),
            "age_at_recruitment": np.floor(recruited).astype("Int64"),
            "height_cm": height,
            "weight_kg": weight,
            "bmi": bmi.round(4),
            "ethnicity": ethnicity.where(ethnicity.notna(), "Not reported"),
            "handedness": _names(_answer(joined, "handedness", instance), "handedness"),
            "centre": centre,
            "visit_date": dates.dt.strftime("%Y-%m-%d").astype(object).where(dates.notna(), None),
            "scan_listed": _get(joined, "scan", instance).notna(),
        }
    )
