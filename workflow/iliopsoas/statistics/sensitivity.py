"""The main results with and without participants that carry a quality flag."""

import numpy as np
import pandas as pd

from iliopsoas.files import KEY
from iliopsoas.statistics import associations, hypotheses
from iliopsoas.statistics.cohort import MEASURES, SEXES, require


def flagged(table: pd.DataFrame, flags: pd.DataFrame, severities=None) -> np.ndarray:
    """Which rows of `table` have a flag, as a boolean array.

    Parameters
    ----------
    flags : DataFrame
        As results/qc/flags.tsv: eid, instance, flag; severity where `severities` is given.
    severities : collection of str, optional
        Which severities count; default all.
    """
    require(flags, [*KEY, "flag"], "flags.tsv")
    if severities is not None and "severity" in flags:
        flags = flags[flags["severity"].isin(list(severities))]
    keys = pd.MultiIndex.from_frame(flags[KEY].astype(str))
    return np.asarray(pd.MultiIndex.from_frame(table[KEY].astype(str)).isin(keys))


def main_results(table: pd.DataFrame) -> pd.DataFrame:
    """The paper's main numbers, one a row: result, sex, n, value, low, high, p."""
    rows = []
    for measure in MEASURES:
        for sex in SEXES:
            values = table.loc[table["sex"] == sex, measure.column]
            mean, low, high = associations.mean_interval(values.dropna())
            rows.append(
                {
                    "result": f"mean {measure.column}",
                    "sex": sex,
                    "n": int(values.notna().sum()),
                    "value": mean,
                    "low": low,
                    "high": high,
                }
            )
        groups = [table.loc[table["sex"] == sex, measure.column] for sex in SEXES]
        test = hypotheses.rank_sum(*groups)
        rows.append(
            {
                "result": f"shift of {measure.column}",
                "sex": "female - male",
                "n": test.n,
                "value": test.estimate,
                "low": test.low,
                "high": test.high,
                "p": test.p,
            }
        )
    for _, row in associations.correlations(table).iterrows():
        rows.append(
            {
                "result": f"rho of {row['name']}",
                "sex": row["sex"],
                "n": row["n"],
                "value": row["rho"],
                "low": row["rho_low"],
                "high": row["rho_high"],
                "p": row["p"],
            }
        )
    for _, row in associations.asymmetry(table).iterrows():
        rows.append(
            {
                "result": "left - right, ml",
                "sex": row["sex"],
                "n": row["n"],
                "value": row["difference_ml"],
                "low": row["difference_ml_low"],
                "high": row["difference_ml_high"],
                "p": row["p"],
            }
        )
    return pd.DataFrame(rows).reindex(columns=["result", "sex", "n", "value", "low", "high", "p"])


def sensitivity(table: pd.DataFrame, flags, severities=None) -> pd.DataFrame:
    """Every main result for everyone and for the unflagged, side by side.

    Returns
    -------
    DataFrame
        result, sex, then n, value, low, high, p with suffixes _all and _unflagged,
        difference, note.
    """
    everyone = main_results(table)
    if flags is None:
        return everyone.rename(columns={c: f"{c}_all" for c in everyone.columns[2:]}).assign(
            note="no quality flags were given"
        )
    marked = flagged(table, flags, severities)
    rest = main_results(table[~marked])
    joined = everyone.merge(rest, on=["result", "sex"], suffixes=("_all", "_unflagged"))
    joined["difference"] = joined["value_unflagged"] - joined["value_all"]
    joined["note"] = f"{int(marked.sum())} of {len(table)} participants flagged"
    return joined
