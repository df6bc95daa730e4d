"""What left before: two exports of nearly the same people give those few away.

After each collection the shown counts are kept in ``results/egress_record/``. A count that differs
from an earlier one by few participants is a leak: so would be every mean that rests on it.
"""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from iliopsoas import files, tables
from iliopsoas.egress.tables import released as declared_tables

FOLDER = "egress_record"
COLUMNS = ["table", "row", "column", "count"]
_LONG = ("note", "method", "statement", "definition", "source", "reason", "rule")


def counts(released: dict) -> pd.DataFrame:
    """Every shown count of participants: table, row (its words), column, count."""
    rows = []
    for name, table in released.items():
        declared = declared_tables()[name]
        units = {column: declared.unit(column) for column in table}
        words = [c for c, unit in units.items() if unit in tables.WORDS and c not in _LONG]
        for place in table.to_dict("records"):
            row = " | ".join("" if pd.isna(place[word]) else str(place[word]) for word in words)
            rows += [
                {"table": name, "row": row, "column": column, "count": int(place[column])}
                for column, unit in units.items()
                if unit == "count" and pd.notna(place[column])
            ]
    return pd.DataFrame(rows, columns=COLUMNS).drop_duplicates(COLUMNS[:3])


def differences(results, now: pd.DataFrame, minimum: int) -> list[str]:
    """Where a count differs from an earlier export by 1 to `minimum` - 1 participants."""
    found = []
    for path in sorted((Path(results) / FOLDER).glob("*.tsv")):
        before = files.read_tsv(path, dtype={"row": str}, keep_default_na=False)
        both = before.merge(now, on=COLUMNS[:3], suffixes=("_before", "_now"))
        gap = (both["count_now"] - both["count_before"]).abs()
        few = both[(gap >= 1) & (gap < minimum)]
        found += [
            f"tables/{table}.tsv: {len(rows)} counts differ by fewer than {minimum} from the "
            f"export of {path.stem}"
            for table, rows in few.groupby("table")
        ]
    return found


def keep(results, now: pd.DataFrame) -> None:
    """Keep the counts of an export, where they are not those of an earlier one."""
    folder = Path(results) / FOLDER
    for path in folder.glob("*.tsv"):
        before = files.read_tsv(path, dtype={"row": str}, keep_default_na=False)
        if before.to_dict("records") == now.to_dict("records"):
            return
    files.write_tsv(folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.tsv", now)
