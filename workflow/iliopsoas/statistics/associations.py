"""The paper's tests on one cohort table: normality, correlations, sexes, sides, handedness."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas.statistics import hypotheses
from iliopsoas.statistics.cohort import MEASURES, SEXES, TRAITS, by_sex
from iliopsoas.statistics.disclosure import suppress_partition
from iliopsoas.statistics.tables import describe

# (name, x, y): the three of the paper's text
CORRELATIONS = (
    ("Total volume and height", "height_cm", "total_ml"),
    ("IMI and BMI", "bmi", "imi_ml_m2"),
    ("IMI and age", "age", "imi_ml_m2"),
)


def with_q(rows) -> pd.DataFrame:
    """Rows as a table, with Benjamini-Hochberg q over all its p, beside p."""
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "q", hypotheses.benjamini_hochberg(table["p"]))
    return table


def normality(table: pd.DataFrame, seed: int = 2020) -> pd.DataFrame:
    """Shapiro-Wilk per measure and trait and sex, with skewness and excess kurtosis."""
    rows = []
    for variable in (*MEASURES, *TRAITS):
        for sex, group in by_sex(table):
            values = group[variable.column]
            test = hypotheses.shapiro(values, seed)
            rows.append(
                {
                    "variable": variable.column,
                    "sex": sex,
                    "n": test.n,
                    "missing": test.missing,
                    "statistic": test.statistic,
                    "p": test.p,
                    "log10_p": test.log10_p,
                    "skewness": float(values.skew()),
                    "excess_kurtosis": float(values.kurt()),
                    "method": test.method,
                    "note": test.note,
                }
            )
    return with_q(rows)


def correlations(table: pd.DataFrame, pairs=CORRELATIONS) -> pd.DataFrame:
    """Spearman's rho with interval of the paper's three pairs, by sex.

    Returns
    -------
    DataFrame
        name, x, y, sex, n, missing, rho, rho_low, rho_high, statistic (S), p, q, log10_p,
        method, note.
    """
    rows = []
    for name, x, y in pairs:
        for sex, group in by_sex(table):
            test = hypotheses.spearman(group[x], group[y])
            rows.append(
                {
                    "name": name,
                    "x": x,
                    "y": y,
                    "sex": sex,
                    "n": test.n,
                    "missing": test.missing,
                    "rho": test.estimate,
                    "rho_low": test.low,
                    "rho_high": test.high,
                    "statistic": test.statistic,
                    "p": test.p,
                    "log10_p": test.log10_p,
                    "method": test.method,
                    "note": test.note,
                }
            )
    return with_q(rows)


def sex_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Men against women before and after correction for height.

    Returns
    -------
    DataFrame
        Three rows, all male - female: rank-sum of the total volume; of the index (volume
        over height squared); of the volume moved to the mean height along the slope that
        both sexes share; and the linear model's coefficient of sex at equal height.
    """
    male = (table["sex"] == "male").to_numpy()
    model, adjusted = hypotheses.adjusted_difference(table["total_ml"], table["height_cm"], male)

    def compare(values):
        values = np.asarray(values, dtype=float)
        return hypotheses.rank_sum(values[male], values[~male])

    results = [
        ("total_ml", "none", compare(table["total_ml"])),
        ("imi_ml_m2", "divided by height squared", compare(table["imi_ml_m2"])),
        ("total_ml", "moved to the mean height, one slope", compare(adjusted)),
        ("total_ml", "height in a linear model", model),
    ]
    rows = [
        {"measure": measure, "height_correction": correction} | result.row()
        for measure, correction, result in results
    ]
    return with_q(rows)


def asymmetry(table: pd.DataFrame) -> pd.DataFrame:
    """Left against right by sex: signed-rank test, difference in ml and percent.

    Returns
    -------
    DataFrame
        Per sex: n; mean difference left - right in ml and in percent of the participant's
        mean volume, each with SD and t interval; percent of the means' ratio; the
        pseudomedian with its interval; share with the right larger; V, p, q; effect.
    """
    rows = []
    for sex, group in by_sex(table):
        left, right = group["left_ml"], group["right_ml"]
        test = hypotheses.signed_rank(left, right)
        both = left.notna() & right.notna()
        difference = (left - right)[both]
        mean = ((left + right) / 2)[both]
        ml = mean_interval(difference)
        percent = mean_interval((100 * difference / mean.where(mean != 0)).dropna())
        rows.append(
            {
                "sex": sex,
                "n": test.n,
                "missing": test.missing,
                "difference_ml": ml[0],
                "difference_ml_low": ml[1],
                "difference_ml_high": ml[2],
                "difference_ml_sd": describe(difference)["sd"],
                "difference_percent": percent[0],
                "difference_percent_low": percent[1],
                "difference_percent_high": percent[2],
                "ratio_percent": 100 * difference.mean() / mean.mean() if len(mean) else math.nan,
                "right_larger_share": float((difference < 0).mean()) if len(mean) else math.nan,
                "statistic": test.statistic,
                "p": test.p,
                "log10_p": test.log10_p,
                "pseudomedian_ml": test.estimate,
                "pseudomedian_ml_low": test.low,
                "pseudomedian_ml_high": test.high,
                "rank_biserial": test.effect,
                "method": test.method,
                "note": test.note,
            }
        )
    return with_q(rows)


def mean_interval(values):
    """Mean and its 95 % t interval; the ends are NaN below two values."""
    values = np.asarray(values, dtype=float)
    n = len(values)
    if n < 2:
        return (float(values.mean()) if n else math.nan), math.nan, math.nan
    half = stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def handedness(table: pd.DataFrame, min_cell: int = 5) -> pd.DataFrame:
    """Left-right difference by handedness and sex.

    Returns
    -------
    DataFrame
        Rows ``group``: n, mean, SD and median of left - right in ml per hand; then rows
        ``test``: right- against left-handed (rank-sum) and all hands (Kruskal-Wallis).
        "Not reported" and missing hands are described and not tested. A group below
        `min_cell` is withheld, with what would give it away: a further group, tests of it, and
        in tests of the further group all that tells sizes.
    """
    rows = []
    for sex, group in by_sex(table):
        hands = group["handedness"].fillna("not reported").astype(str)
        values = {hand: group.loc[hands == hand, "difference_ml"] for hand in sorted(set(hands))}
        sizes = pd.Series({hand: len(v) for hand, v in values.items()}, dtype=float)
        withheld = set(sizes.index[suppress_partition(sizes, min_cell).isna()])
        small = set(sizes.index[sizes < min_cell])
        reason = f"withheld: fewer than {min_cell}, or would give such a group away"
        for hand, difference in values.items():
            row = {"sex": sex, "kind": "group", "hand": hand}
            if hand in withheld:
                rows.append(row | {"note": reason})
                continue
            numbers = describe(difference) | {"median": difference.median()}
            rows.append(row | numbers)
        empty = pd.Series(dtype=float)
        pair = hypotheses.rank_sum(values.get("right", empty), values.get("left", empty)).row()
        reported = [hand for hand in values if hand.lower() not in UNREPORTED]
        every = hypotheses.kruskal([values[hand] for hand in reported]).row()
        tests = (
            ("right against left", pair, {"right", "left"} & set(values)),
            ("all hands", every, set(reported)),
        )
        for hand, result, tested in tests:
            if small & tested:
                result = {"note": reason}
            elif withheld & tested:
                result |= _without_sizes(result) | {"note": reason}
            rows.append({"sex": sex, "kind": "test", "hand": hand} | result)
    columns = [
        "sex",
        "kind",
        "hand",
        "n",
        "missing",
        "mean",
        "sd",
        "median",
        "statistic",
        "p",
        "log10_p",
        "estimate",
        "low",
        "high",
        "effect",
        "effect_name",
        "method",
        "note",
    ]
    result = pd.DataFrame(rows).reindex(columns=columns)
    words = ["effect_name", "method", "note"]  # of tests alone; without one, columns of numbers
    result[words] = result[words].astype(object).fillna("")
    result.insert(result.columns.get_loc("p") + 1, "q", hypotheses.benjamini_hochberg(result["p"]))
    return result


def _without_sizes(result: dict) -> dict:
    """A rank test without what gives the sizes of its groups: those, the statistic, an exact p."""
    p = float(f"{result['p']:.1e}")
    return dict.fromkeys(["n", "statistic", "effect", "log10_p"], math.nan) | {"p": p}


UNREPORTED = {"not reported", "prefer not to answer", "unknown", ""}

__all__ = [
    "CORRELATIONS",
    "SEXES",
    "asymmetry",
    "correlations",
    "handedness",
    "normality",
    "sex_differences",
    "with_q",
]
