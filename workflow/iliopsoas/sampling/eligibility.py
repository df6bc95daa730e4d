"""Which visits can be measured, and why the others cannot."""

import numpy as np
import pandas as pd

from iliopsoas import files

# in this order: a visit counts for its first reason
REASONS = (
    "withdrawn",
    "excluded",
    "left_the_tables",
    "conflicting_rows",
    "no_zip",
    "no_phenotypes",
    "no_sex",
    "no_age",
    "outside_age_groups",
)


def age_group_name(low: int, high: int) -> str:
    """``44-53``."""
    return f"{low}-{high}"


def age_groups_of(ages: pd.Series, groups) -> pd.Series:
    """The group of each age in completed years; missing outside all groups.

    Parameters
    ----------
    ages : Series
    groups : list of (int, int)
        Inclusive ranges in years.
    """
    years = np.floor(ages.astype("Float64")).astype("Int64")
    names = pd.Series(None, index=ages.index, dtype=object)
    for low, high in groups:
        names[years.between(low, high).fillna(False).astype(bool)] = age_group_name(low, high)
    return names


def eligible(
    phenotypes: pd.DataFrame,
    scans: pd.DataFrame,
    *,
    age_groups,
    withdrawn=(),
    excluded=(),
    left=(),
    conflicting=(),
    always=(),
    stratified: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Visits with a zip and what the sample needs to know of them.

    Parameters
    ----------
    phenotypes : DataFrame
        `iliopsoas.ukb.tables.Phenotypes.table`.
    scans : DataFrame
        `iliopsoas.sampling.inputs.index_visits`: eid, instance, scan; further columns are kept.
    age_groups : list of (int, int)
        Inclusive, in years.
    withdrawn, excluded, left, conflicting : collections of str
        EIDs that withdrew, that the user leaves out, that are no longer in any table, whose rows
        contradict each other.
    always : collection of str
        EIDs wanted for their scan (annotated participants) or drawn earlier: only the first
        three reasons and a missing zip keep them out.
    stratified : bool
        Whether a stratum is needed: without, a missing sex or age does not exclude.

    Returns
    -------
    table : DataFrame
        eid, instance, the columns of both tables, age_group.
    counts : DataFrame
        reason, visits, participants: in the order of REASONS, then ``eligible``.
        A visit counts once, for its first reason.
    """
    table = phenotypes.merge(scans, on=files.KEY, how="outer", indicator="_found")
    table["age_group"] = age_groups_of(table["age"], age_groups)
    checks = {
        "withdrawn": table["eid"].isin(set(withdrawn)),
        "excluded": table["eid"].isin(set(excluded)),
        "left_the_tables": table["eid"].isin(set(left)),
        "conflicting_rows": table["eid"].isin(set(conflicting)),
        "no_zip": table["_found"] == "left_only",
        "no_phenotypes": table["_found"] == "right_only",
    }
    if stratified:
        checks |= {
            "no_sex": table["sex"].isna(),
            "no_age": table["age"].isna(),
            "outside_age_groups": table["age_group"].isna(),
        }
    reason = pd.Series("eligible", index=table.index)
    wanted = table["eid"].isin(set(always))
    for name, hit in reversed(checks.items()):
        if name not in ("withdrawn", "excluded", "left_the_tables", "no_zip"):
            hit = hit & ~wanted
        reason = reason.mask(hit.astype(bool), name)
    rows = [
        {
            "reason": name,
            "visits": int((reason == name).sum()),
            "participants": int(table.loc[reason == name, "eid"].nunique()),
        }
        for name in (*REASONS, "eligible")
    ]
    table = table[reason == "eligible"].drop(columns="_found")
    table = table.sort_values(files.KEY).reset_index(drop=True)
    return table, pd.DataFrame(rows)
