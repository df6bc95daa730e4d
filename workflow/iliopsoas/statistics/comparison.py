"""This run beside the paper: every number it prints, and whether the two agree."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas.files import read_tsv
from iliopsoas.statistics.cohort import MEASURES, SEXES, TRAITS, require

COLUMNS = ["id", "place", "quantity", "sex", "kind", "value", "unit", "n", "sd", "note"]
Z = stats.norm.ppf(0.975)

# how "within sampling error" is decided, by kind of number
RULES = {
    "mean": "|difference| <= 1.96 sqrt(sd²/n + sd²/n), each with its own sd and n",
    "sd": "|difference| <= 1.96 sqrt(sd²/(2(n-1)) + sd²/(2(n-1)))",
    "count": "shares of the two cohorts: |difference| <= 1.96 binomial standard errors",
    "percent": "|difference| <= 1.96 sqrt(p(1-p)/n + p(1-p)/n)",
    "rho": "Fisher z: |difference| <= 1.96 Bonett-Wright standard errors of the two",
    "p": "|difference of the normal scores of p| <= 1.96 sqrt(2), the paper's scaled to this n",
    "p_below": "p below the paper's bound, or its score at most 1.96 sqrt(2) short of it, scaled",
    "fold_mean": "|difference| <= 1.96 sqrt(sd²/folds + sd²/folds)",
    "bias": "|difference| <= 1.96 sqrt(sd²/n + sd²/n)",
    "limit": "|difference| <= 1.96 sqrt of both sd²(1/n + 1.96²/(2(n-1)))",
    "approximate": "this run's 95 % interval meets the paper's value rounded to a whole number",
    "age_range": "this run's 95 % interval of the age meets the paper's range",
    "claim": "the claim holds in this run",
    "extreme": "not judged: the extreme of a sample grows with its size",
    "example": "not judged: chosen examples",
    "design": "not judged: set by the method, not found by it",
}


@dataclass(frozen=True)
class Found:
    """A number of this run: value, and n, sd or an interval where its kind needs them."""

    value: float | bool | None
    n: float = math.nan
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    note: str = ""


def read_paper(path) -> pd.DataFrame:
    """resources/paper.tsv: the paper's numbers; value stays text.

    Raises
    ------
    InputError
        A column is absent.
    """
    paper = read_tsv(path, dtype={"value": str, "note": str, "unit": str, "sex": str})
    require(paper, COLUMNS, "resources/paper.tsv")
    text = ["place", "sex", "unit", "note"]
    return paper.assign(**{name: paper[name].astype(object).fillna("") for name in text})


def _described(found, prefix, table, column):
    for sex in (*SEXES, "all"):
        values = table[column] if sex == "all" else table.loc[table["sex"] == sex, column]
        values = values.dropna()
        n = len(values)
        if not n:
            continue
        sd = values.std(ddof=1) if n > 1 else math.nan
        found[f"{prefix}.{sex}.mean"] = Found(values.mean(), n, sd)
        found[f"{prefix}.{sex}.sd"] = Found(sd, n, sd)
        found[f"{prefix}.{sex}.min"] = Found(values.min(), n)
        found[f"{prefix}.{sex}.max"] = Found(values.max(), n)


def run_values(tables: dict, table: pd.DataFrame, folds=None, alpha: float = 0.05) -> dict:
    """This run's counterpart of every id of resources/paper.tsv that it has.

    Parameters
    ----------
    tables : dict of DataFrame
        The tables of `run.compute` by name.
    table : DataFrame
        One row per participant, from `cohort.main_visit`.
    folds : DataFrame, optional
        As results/model/cross_validation.tsv.
    """
    found = {"cohort.n": Found(len(table), len(table))}
    steps = tables["flow"].set_index("step")["n"]
    if steps["sampled"]:
        share = 100 * steps["analysed"] / steps["sampled"]
        found["cohort.measured_percent"] = Found(share, steps["sampled"])
    demographics = tables["table1"]
    for _, row in demographics[demographics["variable"] == "Participants"].iterrows():
        found[f"participants.{row['sex']}.count"] = Found(row["n"], len(table))
        found[f"participants.{row['sex']}.percent"] = Found(row["percent"], len(table))
    ethnic = demographics[demographics["variable"] == "Ethnicity"]
    for _, row in ethnic.iterrows():
        note = "" if math.isfinite(row["n"]) else row["note"]
        key = f"ethnicity.{row['level']}.{row['sex']}"
        found[f"{key}.count"] = Found(row["n"], len(table), note=note)
        found[f"{key}.percent"] = Found(row["percent"], len(table), note=note)
    for level, rows in ethnic.groupby("level"):
        found[f"ethnicity.{level}.all.percent"] = Found(
            rows["percent"].sum(skipna=False), len(table)
        )
    for trait in TRAITS:
        _described(found, f"trait.{trait.column}", table, trait.column)
    for measure in MEASURES:
        _described(found, f"measure.{measure.column}", table, measure.column)
    for _, row in tables["table2"].iterrows():
        n = row["female_n"] + row["male_n"]
        found[f"measure.{row['measure']}.p"] = Found(row["p"], n)
    for _, row in tables["asymmetry"].iterrows():
        found[f"asymmetry.{row['sex']}.p"] = Found(row["p"], row["n"])
        found[f"asymmetry.{row['sex']}.percent"] = Found(
            abs(row["difference_percent"]),
            row["n"],
            low=min(abs(row["difference_percent_low"]), abs(row["difference_percent_high"])),
            high=max(abs(row["difference_percent_low"]), abs(row["difference_percent_high"])),
        )
    for _, row in tables["correlations"].iterrows():
        found[f"rho.{row['x']}.{row['sex']}"] = Found(row["rho"], row["n"])
        found[f"rho.{row['x']}.{row['sex']}.p"] = Found(row["p"], row["n"])
    hands = tables["handedness"]
    for _, row in hands[hands["hand"] == "right against left"].iterrows():
        found[f"handedness.{row['sex']}"] = _claim(row["p"] >= alpha, row["p"], row["n"])
    corrected = tables["sex_differences"]
    p = corrected.loc[corrected["height_correction"] != "none", "p"].max(skipna=False)
    found["height_corrected"] = _claim(p < alpha, p, len(table))
    normal = tables["normality"]
    measures = [measure.column for measure in MEASURES]
    p = normal.loc[normal["variable"].isin(measures), "p"].max(skipna=False)
    found["normality"] = _claim(p < alpha, p, len(table))
    for _, row in tables["acceleration"].iterrows():
        if row["sex"] == "male":
            usable = row["accelerates"] is True or row["accelerates"] == True  # noqa: E712
            found["acceleration.male.age"] = Found(
                row["break_x"] if usable else None,
                row["n"],
                low=row["break_low"],
                high=row["break_high"],
                note=row["statement"],
            )
        elif row["sex"] == "female":
            found["acceleration.female"] = _claim(not row["accelerates"], row["p"], row["n"])
    if folds is not None and not folds.empty:
        found |= _validation(tables, folds)
    return found


def _claim(holds, p, n):
    if not math.isfinite(p):
        return Found(None, n, note="the test could not be made")
    return Found(bool(holds), n, note=f"p = {p:.3g}")


def _validation(tables, folds):
    found = {}
    summary = tables["cross_validation"].set_index("fold")
    found["annotated.n"] = Found(summary.loc["all muscles", "subjects"])
    if "mean of folds" in summary.index:  # weights from elsewhere have no folds to compare
        overall = summary.loc["mean of folds"]
        sizes = summary.drop(["mean of folds", "all muscles"])["subjects"]
        found["dice.mean"] = Found(overall["dice_mean"], len(sizes), overall["dice_sd"])
        found["dice.sd"] = Found(overall["dice_sd"], len(sizes), overall["dice_sd"])
        found["folds.n"] = Found(len(sizes))
        found["folds.test"] = Found(sizes.max())
        found["folds.train"] = Found(overall["subjects"] - sizes.max())
    rows = tables["bland_altman"]
    rows = rows[(rows["comparison"] == "network - manual") & (rows["unit"] == "%")]
    rows = rows[rows["measure"] == "total volume"]
    for _, row in rows.iterrows():
        for name in ("bias", "upper", "lower"):
            found[f"agreement.{name}"] = Found(row[name], row["n"], row["sd"])
    return found


def compare(paper, found: dict, table, folds=None, alpha: float = 0.05) -> pd.DataFrame | None:
    """paper_comparison.tsv of this run, from the other tables of `run.compute`.

    Parameters
    ----------
    paper : path or DataFrame or None
        resources/paper.tsv; None: there is no comparison.
    found, table, folds, alpha
        See `run_values`.
    """
    if paper is None:
        return None
    numbers = paper if isinstance(paper, pd.DataFrame) else read_paper(paper)
    return paper_comparison(numbers, run_values(found, table, folds, alpha))


def paper_comparison(paper: pd.DataFrame, found: dict) -> pd.DataFrame:
    """paper_comparison.tsv.

    Parameters
    ----------
    paper : DataFrame
        From `read_paper`.
    found : dict
        From `run_values`.

    Returns
    -------
    DataFrame
        The paper's columns (value, n as paper_value, paper_n), then run_value, run_n,
        difference (run - paper), standard_error (of the difference, on the scale of the
        rule), z, within_sampling_error (True, False, or empty where not judged), rule,
        note.
    """
    rows = []
    for item in paper.itertuples(index=False):
        run = found.get(item.id, Found(None))
        row = {
            "id": item.id,
            "place": item.place,
            "quantity": item.quantity,
            "sex": item.sex,
            "kind": item.kind,
            "unit": item.unit,
            "paper_value": ("< " if item.kind == "p_below" else "") + item.value,
            "paper_n": item.n,
            "run_value": _text(run.value),
            "run_n": run.n,
            "difference": math.nan,
            "standard_error": math.nan,
            "z": math.nan,
            "within_sampling_error": "",
            "rule": RULES[item.kind],
            "note": "; ".join(note for note in (item.note, run.note) if note),
        }
        missing = run.value is None or (isinstance(run.value, float) and math.isnan(run.value))
        if not missing:
            row |= _judge(item, run)
        elif item.kind not in ("design", "example", "extreme"):
            row["note"] = "; ".join(filter(None, [row["note"], "not available in this run"]))
        rows.append(row)
    return pd.DataFrame(rows)


def _text(value):
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return "" if math.isnan(value) else f"{value:.10g}"


def _score(p):
    return stats.norm.isf(min(max(p, 1e-300), 1.0) / 2)


def _proportions(a, n, b, m):
    """Difference b - a and its standard error; shares of 0 and 1 get Agresti-Caffo's +1/+2."""
    p, q = (a * n + 1) / (n + 2), (b * m + 1) / (m + 2)
    return b - a, math.sqrt(p * (1 - p) / n + q * (1 - q) / m)


def _judge(item, run) -> dict:
    kind, n = item.kind, item.n
    if kind == "claim":
        return {"within_sampling_error": bool(run.value) == (item.value == "true")}
    if kind == "age_range":
        low, high = (float(part) for part in item.value.split("-"))
        return {"within_sampling_error": bool(run.low <= high and run.high >= low)}
    value = float(item.value)
    result = {"difference": float(run.value) - value}
    if kind in ("extreme", "example", "design"):
        return result
    if kind == "approximate":
        meets = run.low <= value + 0.5 and run.high >= value - 0.5
        return result | {"within_sampling_error": bool(meets)}
    gap, error = result["difference"], math.nan
    if run.n < (4 if kind == "rho" else 2) or (kind == "rho" and abs(run.value) >= 1):
        return result | {"note": "no standard error: too few participants"}
    if kind in ("mean", "fold_mean", "bias"):
        error = math.sqrt(item.sd**2 / n + run.sd**2 / run.n)
    elif kind == "sd":
        error = math.sqrt(item.sd**2 / (2 * (n - 1)) + run.sd**2 / (2 * (run.n - 1)))
    elif kind == "limit":
        parts = ((item.sd, n), (run.sd, run.n))
        error = math.sqrt(sum(s**2 * (1 / k + Z**2 / (2 * (k - 1))) for s, k in parts))
    elif kind == "percent":
        gap, error = _proportions(value / 100, n, run.value / 100, run.n)
        gap, error = 100 * gap, 100 * error
    elif kind == "count":
        gap, error = _proportions(value / n, n, run.value / run.n, run.n)
    elif kind == "rho":
        gap = math.atanh(run.value) - math.atanh(value)
        parts = ((value, n), (run.value, run.n))
        error = math.sqrt(sum((1 + r**2 / 2) / (k - 3) for r, k in parts))
    elif kind in ("p", "p_below"):
        if kind == "p_below" and run.value < value:
            return {"difference": math.nan, "within_sampling_error": True}
        gap = _score(run.value) - _score(value) * math.sqrt(run.n / n)
        error = math.sqrt(2)
        result["difference"] = math.nan if kind == "p_below" else result["difference"]
    if not (math.isfinite(error) and error > 0):
        return result | {"note": "no standard error: too few participants"}
    # a bound is one-sided: the paper's own p may lie anywhere below it
    outside = gap < -Z * error if kind == "p_below" else abs(gap) > Z * error
    return result | {
        "standard_error": error,
        "z": gap / error,
        "within_sampling_error": not bool(outside),
    }
