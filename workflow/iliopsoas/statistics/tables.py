"""Table 1, Table 2 and the cross-validation table (S2): exact values and formatted text."""

import math

import numpy as np
import pandas as pd

from iliopsoas.statistics import formats, hypotheses
from iliopsoas.statistics.cohort import (
    CONFIGURED_FOLD,
    ETHNICITIES,
    MEASURES,
    SEXES,
    TRAITS,
    by_sex,
    require,
)
from iliopsoas.statistics.disclosure import suppress_partition


def describe(values) -> dict:
    """n, missing, mean, sd, min, max of the values present (NaN where there are none)."""
    values = np.asarray(values, dtype=float)
    known = values[np.isfinite(values)]
    n = len(known)
    return {
        "n": n,
        "missing": len(values) - n,
        "mean": float(known.mean()) if n else math.nan,
        "sd": float(known.std(ddof=1)) if n > 1 else math.nan,
        "min": float(known.min()) if n else math.nan,
        "max": float(known.max()) if n else math.nan,
    }


def table1(table: pd.DataFrame, min_cell: int = 5) -> pd.DataFrame:
    """Demographics by sex (Table 1).

    Parameters
    ----------
    table : DataFrame
        One row per participant, from `cohort.main_visit`.
    min_cell : int
        Ethnicity counts below it are withheld.

    Returns
    -------
    DataFrame
        A row per variable, level and sex: n and percent of the whole cohort, both sexes
        together, as in the paper; mean, sd, min, max of continuous variables; note.
    """
    whole = len(table)
    rows = []

    def share(count):
        return 100 * count / whole if whole else math.nan

    for sex, group in by_sex(table):
        rows.append(
            {
                "variable": "Participants",
                "level": "",
                "unit": "",
                "sex": sex,
                "n": float(len(group)),
                "percent": share(len(group)),
            }
        )
    ethnicity = table["ethnicity"].fillna("Not reported")
    others = sorted(set(ethnicity) - set(ETHNICITIES))
    levels = [level for level in ETHNICITIES if (ethnicity == level).any()] + others
    for sex in SEXES:
        counts = ethnicity[table["sex"] == sex].value_counts().reindex(levels, fill_value=0)
        shown = suppress_partition(counts, min_cell)
        for level in levels:
            withheld = not math.isfinite(shown[level])
            rows.append(
                {
                    "variable": "Ethnicity",
                    "level": level,
                    "unit": "",
                    "sex": sex,
                    "n": shown[level],
                    "percent": share(shown[level]),
                    "note": f"withheld: below {min_cell}, or would reveal such a count"
                    if withheld
                    else "",
                }
            )
    for trait in TRAITS:
        for sex, group in by_sex(table):
            numbers = describe(group[trait.column])
            rows.append(
                {"variable": trait.label, "level": "", "unit": trait.unit, "sex": sex}
                | numbers
                | {"note": "" if numbers["n"] else "no values"}
            )
    columns = [
        "variable",
        "level",
        "unit",
        "sex",
        "n",
        "percent",
        "mean",
        "sd",
        "min",
        "max",
        "missing",
        "note",
    ]
    result = pd.DataFrame(rows).reindex(columns=columns)
    return result.assign(note=result["note"].astype(object).fillna(""))


def table1_formatted(exact: pd.DataFrame) -> pd.DataFrame:
    """Table 1 as text: a row per variable or level, a column per sex."""
    rows = []
    for (variable, level, unit), group in exact.groupby(["variable", "level", "unit"], sort=False):
        name = level or (f"{variable} ({unit})" if unit else variable)
        row = {"": name}
        for _, item in group.iterrows():
            if math.isfinite(item["mean"]):
                text = formats.mean_sd(item["mean"], item["sd"])
            elif variable in ("Participants", "Ethnicity") and math.isfinite(item["n"]):
                digits = 1 if variable == "Participants" else 2
                text = f"{int(item['n'])} ({formats.number(item['percent'], digits)})"
            else:
                text = "withheld" if "withheld" in item["note"] else formats.MISSING
            row[item["sex"].capitalize()] = text
        if variable == "Ethnicity" and not any(r[""] == "Ethnicity of total cohort" for r in rows):
            rows.append({"": "Ethnicity of total cohort", "Female": "", "Male": ""})
        rows.append(row)
    return pd.DataFrame(rows)


def table2(table: pd.DataFrame) -> pd.DataFrame:
    """The six measures by sex (Table 2), with rank-sum tests of women against men.

    Returns
    -------
    DataFrame
        A row per measure: n, mean, sd, min, max of each sex; W, p, log10_p and
        Benjamini-Hochberg q over the six; the Hodges-Lehmann shift (female - male) with
        its interval; rank-biserial correlation; method; note.
    """
    rows = []
    for measure in MEASURES:
        row = {"measure": measure.column, "label": measure.label, "unit": measure.unit}
        values = {}
        for sex, group in by_sex(table):
            values[sex] = group[measure.column]
            row |= {f"{sex}_{name}": value for name, value in describe(values[sex]).items()}
        test = hypotheses.rank_sum(values["female"], values["male"])
        row |= {
            "statistic": test.statistic,
            "p": test.p,
            "log10_p": test.log10_p,
            "q": math.nan,
            "shift": test.estimate,
            "shift_low": test.low,
            "shift_high": test.high,
            "rank_biserial": test.effect,
            "method": test.method,
            "note": test.note,
        }
        rows.append(row)
    result = pd.DataFrame(rows)
    return result.assign(q=hypotheses.benjamini_hochberg(result["p"]))


def table2_formatted(exact: pd.DataFrame) -> pd.DataFrame:
    """Table 2 as text."""
    rows = []
    for _, row in exact.iterrows():
        text = {"": f"{row['label']} ({row['unit']})"}
        for sex in SEXES:
            name = sex.capitalize()
            text[f"{name}, mean ± SD"] = formats.mean_sd(row[f"{sex}_mean"], row[f"{sex}_sd"])
            ends = (formats.number(row[f"{sex}_{end}"]) for end in ("min", "max"))
            text[f"{name}, range"] = ", ".join(ends)
        text["p"] = formats.p_value(row["p"])
        text["q"] = formats.p_value(row["q"])
        text["Rank-biserial"] = formats.number(row["rank_biserial"], 2)
        rows.append(text)
    return pd.DataFrame(rows)


def cross_validation(folds: pd.DataFrame | None) -> pd.DataFrame:
    """Cross-validation by fold (Table S2).

    Parameters
    ----------
    folds : DataFrame or None
        As results/model/cross_validation.tsv: fold, eid, instance, side, dice,
        automatic_ml, manual_ml. None or no rows: one row that says so.

    Returns
    -------
    DataFrame
        A row per fold with subjects and Dice (mean, sd, min, max; also of each side),
        bias of the volume in ml and percent; then ``all muscles``, and ``mean of folds``,
        whose ``dice_sd`` is the SD between the folds' means: the paper's 0.9046 +- 0.0058.
        Weights from elsewhere (fold 0) have ``all muscles`` alone.
    """
    if folds is None or folds.empty:
        columns = ["fold", "subjects", *(f"dice_{key}" for key in ("mean", "sd", "min", "max"))]
        columns += ["left_dice_mean", "right_dice_mean", "bias_percent"]
        row = dict.fromkeys(columns, math.nan)
        row |= {"fold": "none", "subjects": 0, "note": "no cross-validation in this run"}
        return pd.DataFrame([row])
    needed = ["fold", "eid", "instance", "side", "dice", "automatic_ml", "manual_ml"]
    require(folds, needed, "cross_validation.tsv")

    def summary(name, rows):
        dice = describe(rows["dice"])
        row = {"fold": name, "subjects": len(rows[["eid", "instance"]].drop_duplicates())}
        row |= {f"dice_{key}": dice[key] for key in ("mean", "sd", "min", "max")}
        for side in ("left", "right"):
            part = describe(rows.loc[rows["side"] == side, "dice"])
            row |= {f"{side}_dice_mean": part["mean"], f"{side}_dice_sd": part["sd"]}
        difference = rows["automatic_ml"] - rows["manual_ml"]
        row["bias_ml"] = describe(difference)["mean"]
        mean = (rows["automatic_ml"] + rows["manual_ml"]) / 2
        row["bias_percent"] = describe(100 * difference / mean.where(mean > 0))["mean"]
        missing = int(rows["dice"].isna().sum())
        row["note"] = f"{missing} muscles without Dice" if missing else ""
        return row

    everything = summary("all muscles", folds)
    if (folds["fold"] == CONFIGURED_FOLD).all():
        said = "weights from elsewhere: whether they were trained on these scans is not known"
        everything["note"] = "; ".join(filter(None, (said, everything["note"])))
        return pd.DataFrame([everything])
    rows = [summary(str(fold), group) for fold, group in folds.groupby("fold")]
    means = describe([row["dice_mean"] for row in rows])
    overall = {"fold": "mean of folds", "subjects": everything["subjects"]}
    overall |= {f"dice_{key}": means[key] for key in ("mean", "sd", "min", "max")}
    for side in ("left", "right"):
        part = describe([row[f"{side}_dice_mean"] for row in rows])
        overall |= {f"{side}_dice_mean": part["mean"], f"{side}_dice_sd": part["sd"]}
    overall["note"] = f"mean and SD of {len(rows)} folds' means"
    return pd.DataFrame([*rows, everything, overall])


def cross_validation_formatted(exact: pd.DataFrame) -> pd.DataFrame:
    """Table S2 as text."""
    return pd.DataFrame(
        {
            "Fold": exact["fold"],
            "Subjects": exact["subjects"],
            "Dice": [
                formats.mean_sd(m, s, 4)
                for m, s in zip(exact["dice_mean"], exact["dice_sd"], strict=True)
            ],
            "Left": [formats.number(m, 4) for m in exact["left_dice_mean"]],
            "Right": [formats.number(m, 4) for m in exact["right_dice_mean"]],
            "Range": [
                f"{formats.number(a, 3)}, {formats.number(b, 3)}"
                for a, b in zip(exact["dice_min"], exact["dice_max"], strict=True)
            ],
            "Volume bias (%)": [formats.number(b) for b in exact["bias_percent"]],
        }
    )
