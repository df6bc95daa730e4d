"""Result tables as they may leave: small cells withheld, nothing of single people.

Which tables leave, and what rests on which count, is declared in `iliopsoas.tables`. Counts below
the smallest cell are withheld, and those that would give them away; what rests on fewer
participants than that is withheld with its count. Minima, maxima and the ends of ranges are single
participants' values: they never leave. A quantile leaves where enough participants lie on both
sides of it.
"""

import numpy as np
import pandas as pd

from iliopsoas import tables
from iliopsoas.egress import withholding


def released() -> dict[str, tables.Table]:
    """The tables that may leave, by path without ending."""
    return {
        table.path.removesuffix(".tsv"): table
        for table in tables.every()
        if table.access == "released"
    }


def release(
    name: str, table: pd.DataFrame, minimum: int, context: withholding.Context | None = None
) -> pd.DataFrame:
    """The table as it may leave.

    Parameters
    ----------
    name : str
        Key of `released`.
    table : DataFrame
        As written by the workflow.
    minimum : int
        Smallest count that may be shown; 1 shows every count.
    context : Context, optional

    Raises
    ------
    InputError
        The table has a column that is not declared.
    """
    declared = released()[name]
    tables.check(declared.path, table.columns)
    exact, table = table.copy(), table.copy()
    header = list(table.columns)
    quantiles = {c: of for c, of in declared.quantiles.items() if c in table}
    counts = [c for c in header if declared.unit(c) == "count"]
    alone = [c for c in counts if c not in declared.rests_on and c not in declared.summed]
    single = [c for c in header if declared.declared(c) in declared.single]
    for column in [*counts, *single, *quantiles]:
        table[column] = table[column].astype(float)
    table[single] = np.nan
    if minimum > 1:
        for count in declared.rests_on:
            if count not in exact:
                continue
            small = ~(exact[count].astype(float) >= minimum)
            resting = declared.resting(count, header)
            withholding.withhold(table, small, [count, *resting], note=exact[count].notna())
        for count in alone:
            table[count] = table[count].where(table[count] >= minimum)
        for column, (count, share) in quantiles.items():
            beside = exact[count].astype(float) * min(share, 1 - share)
            table[column] = table[column].where(beside >= minimum)
    context = context or withholding.Context()
    if minimum > 1:
        withholding.sizes(table, exact, declared, context)
    if declared.protect:
        getattr(withholding, declared.protect)(table, exact, minimum, context)
    table = table.dropna(how="all")
    for column in table.select_dtypes("float").columns.difference(counts):
        table[column] = table[column].map(withholding.significant)
    if "note" in table:  # words tell small numbers too
        table["note"] = table["note"].map(_without_numbers)
    for column in counts:
        table[column] = table[column].astype(float).astype("Int64")
    if "statistic" in table:  # a sum of ranks with seven digits would look like an id
        values = pd.to_numeric(table["statistic"])
        table["statistic"] = [f"{value:.6e}" if np.isfinite(value) else None for value in values]
    return table


def _without_numbers(note) -> str:
    note = "" if pd.isna(note) else str(note)
    return "" if any(character.isdigit() for character in note) else note
