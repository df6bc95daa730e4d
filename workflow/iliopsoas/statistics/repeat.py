"""Repeat imaging: participants measured at instances 2 and 3."""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from iliopsoas.files import KEY
from iliopsoas.grid import SIDES
from iliopsoas.statistics import hypotheses
from iliopsoas.statistics.agreement import bland_altman
from iliopsoas.statistics.cohort import FURTHER, MEASURES, SEXES, require
from iliopsoas.statistics.disclosure import suppress_margins
from iliopsoas.statistics.tables import describe
from iliopsoas.status import Verdict

YEAR_DAYS = 365.25
THIS = "this run"  # among the methods


def pairs(table: pd.DataFrame, first=2, second=3) -> pd.DataFrame:
    """Both visits of everyone who has both, with the years between them.

    Parameters
    ----------
    table : DataFrame
        All measured visits, from `cohort.measured`.

    Returns
    -------
    DataFrame
        eid, sex, age and age_group at the first visit, years, and each measure with
        suffixes _first and _second; lean volume and fat fraction are NaN where they were not
        measured. Years are NaN where a date is missing or the second visit is not later.
    """
    columns = [*(measure.column for measure in MEASURES), *FURTHER]
    keep = ["eid", "visit_date", *columns]
    table = table.reindex(columns=list(dict.fromkeys([*table, *columns])))
    a = table[table["instance"] == str(first)]
    b = table[table["instance"] == str(second)]
    traits = a[["eid", "sex", "age", *(["age_group"] if "age_group" in a else [])]]
    both = traits.merge(a[keep].merge(b[keep], on="eid", suffixes=("_first", "_second")), on="eid")
    if "age_group" not in both:
        both["age_group"] = ""
    days = [
        pd.to_datetime(both[f"visit_date_{end}"], errors="coerce") for end in ("second", "first")
    ]
    years = (days[0] - days[1]).dt.days / YEAR_DAYS
    both["years"] = years.where(years > 0)
    return both


def repeat(both: pd.DataFrame, min_cell: int = 5) -> pd.DataFrame:
    """Change between the visits, by sex and age group.

    Returns
    -------
    DataFrame
        A row per measure, sex (or ``both``) and age group (or ``all``): n, years between
        visits, change (second - first; mean, SD), change per year in the measure's unit
        and in percent of the first visit (mean, SD), signed-rank test of second against
        first with pseudomedian and interval, q over all rows. Groups below `min_cell` are
        withheld, and those from which such a one would follow by subtraction.
    """
    rows = []
    groups = both["age_group"].fillna("").astype(str)
    ages = sorted(set(groups) - {""})
    shown = _shown(both["sex"], groups, min_cell)
    for measure in MEASURES:
        for sex in ("both", *SEXES):
            for age in ("all", *ages):
                part = both
                if sex != "both":
                    part = part[part["sex"] == sex]
                if age != "all":
                    part = part[part["age_group"] == age]
                row = {
                    "measure": measure.column,
                    "unit": measure.unit,
                    "sex": sex,
                    "age_group": age,
                }
                if np.isnan(shown.loc[sex, age]):
                    row |= _change(part.iloc[:0], measure)
                    reason = f"withheld: fewer than {min_cell}, or would give such a group away"
                    row |= {"n": math.nan, "note": reason}
                else:
                    row |= _change(part, measure)
                rows.append(row)
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "q", hypotheses.benjamini_hochberg(table["p"]))
    return table


def _shown(sex, age_group, min_cell) -> pd.DataFrame:
    """Participants by sex and age group, with sums; NaN where withheld."""
    counts = pd.crosstab(sex, age_group).reindex(SEXES, fill_value=0)
    counts["all"] = counts.sum(axis=1)
    counts.loc["both"] = counts.sum()
    return suppress_margins(counts, min_cell, total="all", whole="both")


def _change(part, measure):
    first, second = part[f"{measure.column}_first"], part[f"{measure.column}_second"]
    change = second - first
    test = hypotheses.signed_rank(second, first)
    yearly = describe(change / part["years"])
    # a percentage of a difference that may be 0 says nothing
    base = first.where(first > 0) if measure.column != "difference_ml" else first * math.nan
    percent = describe(100 * change / base / part["years"])
    undated = int(part["years"].isna().sum())
    notes = [test.note, f"{undated} without a time between visits" if undated else ""]
    return {
        "n": test.n,
        "years_mean": describe(part["years"])["mean"],
        "change_mean": describe(change)["mean"],
        "change_sd": describe(change)["sd"],
        "per_year_mean": yearly["mean"],
        "per_year_sd": yearly["sd"],
        "percent_per_year_mean": percent["mean"],
        "percent_per_year_sd": percent["sd"],
        "statistic": test.statistic,
        "p": test.p,
        "log10_p": test.log10_p,
        "pseudomedian": test.estimate,
        "pseudomedian_low": test.low,
        "pseudomedian_high": test.high,
        "rank_biserial": test.effect,
        "method": test.method,
        "note": "; ".join(note for note in notes if note),
    }


def both_methods(folds) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Network's and manual volumes in ml: a row per participant, columns left and right."""
    keys = ["fold", "eid", "instance", "side"]
    wide = folds.groupby(keys)[["automatic_ml", "manual_ml"]].first().unstack("side")  # noqa: PD010
    return tuple(
        wide[name].reindex(columns=["left", "right"]) for name in ("automatic_ml", "manual_ml")
    )


def comparisons(folds, both) -> list[tuple[str, str, str, np.ndarray, np.ndarray]]:
    """What bland_altman.tsv compares: (comparison, subject of it, unit, a, b).

    Network against manual over both muscles of a participant (the paper's n = 90) and per
    side; second visit against first for the same three volumes.
    """
    found = []
    if folds is not None and not folds.empty:
        automatic, manual = both_methods(folds)
        name = "network - manual"
        totals = (table.sum(axis=1, skipna=False) for table in (automatic, manual))
        found.append((name, "total volume", *totals))
        found += [(name, f"{side} volume", automatic[side], manual[side]) for side in automatic]
    for column, label in (
        ("total_ml", "total volume"),
        ("left_ml", "left volume"),
        ("right_ml", "right volume"),
    ):
        found.append(
            ("second visit - first visit", label, both[f"{column}_second"], both[f"{column}_first"])
        )
    return found


def other_methods(volumes, others, folds=None) -> list[tuple]:
    """Comparisons of the volumes that several methods found of the same visits.

    Parameters
    ----------
    volumes : DataFrame
        As results/volumes.tsv; rows with status ``ok`` count.
    others : dict of DataFrame
        Name of the method to a table of the same columns: eid, instance, left_ml,
        right_ml, and status where it has one.
    folds : DataFrame, optional
        As results/model/cross_validation.tsv: the manual volumes.

    Returns
    -------
    list of tuple
        As `comparisons`: every two methods (``NAME - this run``, ``NAME - OTHER``); where there
        are three or more, the bias of each (``NAME - mean of the others``) over visits that all
        of them measured; and ``NAME - manual``.
    """
    columns = [*KEY, "left_ml", "right_ml"]

    def usable(table, role):
        require(table, columns, role)
        if "status" in table:
            table = table[table["status"] == Verdict.OK]
        table = table[columns].astype(dict.fromkeys(KEY, str))
        return table.assign(total_ml=table["left_ml"] + table["right_ml"])

    if not others:
        return []
    named = {THIS: usable(volumes, "volumes.tsv")}
    named |= {name: usable(table, f"volumes of {name}") for name, table in others.items()}
    wide = pd.concat({name: table.set_index(KEY) for name, table in named.items()}, axis=1)
    compared = [(b, a, wide[b], wide[a]) for a, b in combinations(named, 2)]
    if len(named) > 2:
        complete = wide.dropna()
        for name in named:
            rest = sum(complete[other] for other in named if other != name) / (len(named) - 1)
            compared.append((name, "mean of the others", complete[name], rest))
    if folds is not None and not folds.empty:
        manual = both_methods(folds)[1].groupby(KEY).first().add_suffix("_ml")
        manual["total_ml"] = manual["left_ml"] + manual["right_ml"]
        manual = manual.reindex(wide.index)
        compared += [(name, "manual", wide[name], manual) for name in others]
    return [
        (f"{name} - {reference}", f"{column.removesuffix('_ml')} volume", a[column], b[column])
        for name, reference, a, b in compared
        for column in ("total_ml", "left_ml", "right_ml")
    ]


def method_overlap(others, methods) -> pd.DataFrame:
    """method_overlap.tsv: Dice of every two methods' masks, by side.

    Parameters
    ----------
    others : collection of str
        Names of the other methods.
    methods : DataFrame
        The ledgers of `iliopsoas.stages.methods`: ``dice_<a>_<b>_<side>``, ``own`` for this run.

    Returns
    -------
    DataFrame
        method_a, method_b, side, n, mean, sd, p5, median.
    """
    rows = []
    for a, b in combinations(["own", *(others or ())], 2):
        for side in SIDES:
            column = f"dice_{a}_{b}_{side}"
            known = pd.Series(dtype=float)
            if methods is not None and column in methods:
                known = pd.to_numeric(methods[column], errors="coerce").dropna()
            rows.append(
                {"method_a": THIS if a == "own" else a, "method_b": b, "side": side}
                | {"n": len(known), "mean": known.mean(), "sd": known.std()}
                | {"p5": known.quantile(0.05), "median": known.median()}
            )
    columns = ["method_a", "method_b", "side", "n", "mean", "sd", "p5", "median"]
    return pd.DataFrame(rows, columns=columns)


def bland_altman_table(found) -> pd.DataFrame:
    """bland_altman.tsv: bias and limits of every comparison, in ml and in percent."""
    rows = []
    for comparison, what, a, b in found:
        for percent in (False, True):
            row = {"comparison": comparison, "measure": what, "unit": "%" if percent else "ml"}
            rows.append(row | bland_altman(a, b, percent))
    return pd.DataFrame(rows)


def agreement_table(folds, both, volumes, others=None) -> pd.DataFrame:
    """bland_altman.tsv of this run: see `comparisons` and `other_methods`."""
    return bland_altman_table(comparisons(folds, both) + other_methods(volumes, others, folds))
