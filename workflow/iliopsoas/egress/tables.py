"""Which result tables may leave, and what of them.

Only tables and columns listed here leave. Counts below the smallest cell are withheld, and
those that would give them away; what rests on fewer participants than that is withheld with
its count. Minima, maxima and the ends of ranges are single participants' values: they never
leave. A quantile leaves where enough participants lie on both sides of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas.egress import withholding
from iliopsoas.status import InputError

# counts that tables protect in a way of their own
WHOLE = ("n", "female", "male", "visits", "participants", "eligible", "drawn", "quota", "raised")


@dataclass(frozen=True)
class Spec:
    """How one table leaves.

    Attributes
    ----------
    columns : tuple of str
        Every column it may have; another one stops the collection.
    blocks : dict of str to tuple of str
        A count, and the columns that rest on its participants.
    counts : tuple of str
        Further counts, withheld where small and nothing else with them.
    single : tuple of str
        Columns with values of single participants; always emptied.
    quantiles : dict of str to (str, float)
        A quantile's column, its count and its share.
    special : function, optional
        Called with the table, the smallest cell and the context, after everything else.
    """

    columns: tuple[str, ...]
    blocks: dict
    counts: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    quantiles: dict | None = None
    special: Callable | None = None


def release(
    name: str, table: pd.DataFrame, minimum: int, context: withholding.Context | None = None
) -> pd.DataFrame:
    """The table as it may leave.

    Parameters
    ----------
    name : str
        Key of `SPECS`.
    table : DataFrame
        As written by the workflow.
    minimum : int
        Smallest count that may be shown; 1 shows every count.
    context : Context, optional

    Raises
    ------
    InputError
        The table has a column that is not on the list.
    """
    spec = SPECS[name]
    others = [column for column in table.columns if column not in spec.columns]
    if others:
        raise InputError(
            f"{name}.tsv has {len(others)} columns that are not on the list of what may leave "
            "(iliopsoas.egress.tables)"
        )
    table = table.copy()
    exact = table.copy()
    for column in [*spec.blocks, *spec.counts, *spec.single, *(spec.quantiles or {})]:
        if column in table:
            table[column] = table[column].astype(float)
    for column in spec.single:
        table[column] = np.nan
    if minimum > 1:
        for count, resting in spec.blocks.items():
            if count not in exact:
                continue
            small = ~(exact[count].astype(float) >= minimum)
            withholding.withhold(table, small, [count, *resting], note=exact[count].notna())
        for count in spec.counts:
            table[count] = table[count].where(table[count] >= minimum)
        for column, (count, share) in (spec.quantiles or {}).items():
            beside = exact[count].astype(float) * min(share, 1 - share)
            table[column] = table[column].where(beside >= minimum)
    if spec.special:
        spec.special(table, exact, minimum, context or withholding.Context())
    table = table.dropna(how="all")
    for column in [*spec.blocks, *spec.counts, *WHOLE]:
        if column in table:
            table[column] = table[column].astype(float).astype("Int64")
    if "statistic" in table:  # a sum of ranks with seven digits would look like an id
        values = pd.to_numeric(table["statistic"])
        table["statistic"] = [f"{value:.6e}" if np.isfinite(value) else None for value in values]
    return table


def _described(*columns):
    return {"n": columns}


SPECS = {
    "statistics/flow": Spec(("step", "n", "female", "male"), {}, special=withholding.flow),
    "statistics/table1": Spec(
        ("variable", "level", "unit", "sex", "n", "percent", "mean", "sd", "min", "max", "missing",
         "note"),
        _described("percent", "mean", "sd"),
        counts=("missing",),
        single=("min", "max"),
        special=withholding.missing,
    ),
    "statistics/table2": Spec(
        ("measure", "label", "unit", "female_n", "female_missing", "female_mean", "female_sd",
         "female_min", "female_max", "male_n", "male_missing", "male_mean", "male_sd", "male_min",
         "male_max", "statistic", "p", "log10_p", "q", "shift", "shift_low", "shift_high",
         "rank_biserial", "method", "note"),
        {"female_n": ("female_mean", "female_sd"), "male_n": ("male_mean", "male_sd")},
        counts=("female_missing", "male_missing"),
        single=("female_min", "female_max", "male_min", "male_max"),
        special=withholding.table2,
    ),
    "statistics/table_s1": Spec(
        ("level", "chapter", "block", "title", "female_n", "female_percent", "male_n",
         "male_percent", "all_n", "all_percent", "note"),
        {f"{who}_n": (f"{who}_percent",) for who in ("female", "male", "all")},
    ),
    "statistics/cross_validation": Spec(
        ("fold", "subjects", "dice_mean", "dice_sd", "dice_min", "dice_max", "left_dice_mean",
         "left_dice_sd", "right_dice_mean", "right_dice_sd", "bias_ml", "bias_percent", "note"),
        {"subjects": ("dice_mean", "dice_sd", "left_dice_mean", "left_dice_sd", "right_dice_mean",
                      "right_dice_sd", "bias_ml", "bias_percent")},
        single=("dice_min", "dice_max"),
    ),
    "statistics/normality": Spec(
        ("variable", "sex", "n", "missing", "statistic", "p", "q", "log10_p", "skewness",
         "excess_kurtosis", "method", "note"),
        _described("statistic", "p", "q", "log10_p", "skewness", "excess_kurtosis"),
        counts=("missing",),
        special=withholding.missing,
    ),
    "statistics/correlations": Spec(
        ("name", "x", "y", "sex", "n", "missing", "rho", "rho_low", "rho_high", "statistic", "p",
         "q", "log10_p", "method", "note"),
        _described("rho", "rho_low", "rho_high", "statistic", "p", "q", "log10_p"),
        counts=("missing",),
        special=withholding.missing,
    ),
    "statistics/sex_differences": Spec(
        ("measure", "height_correction", "method", "n", "missing", "statistic", "p", "q",
         "log10_p", "estimate", "low", "high", "effect", "effect_name", "note"),
        _described("statistic", "p", "q", "log10_p", "estimate", "low", "high", "effect"),
        counts=("missing",),
        special=withholding.sex_differences,
    ),
    "statistics/asymmetry": Spec(
        ("sex", "n", "missing", "difference_ml", "difference_ml_low", "difference_ml_high",
         "difference_ml_sd", "difference_percent", "difference_percent_low",
         "difference_percent_high", "ratio_percent", "right_larger_share", "statistic", "p", "q",
         "log10_p", "pseudomedian_ml", "pseudomedian_ml_low", "pseudomedian_ml_high",
         "rank_biserial", "method", "note"),
        _described("difference_ml", "difference_ml_low", "difference_ml_high", "difference_ml_sd",
                   "difference_percent", "difference_percent_low", "difference_percent_high",
                   "ratio_percent", "right_larger_share", "statistic", "p", "q", "log10_p",
                   "pseudomedian_ml", "pseudomedian_ml_low", "pseudomedian_ml_high",
                   "rank_biserial"),
        counts=("missing",),
        special=withholding.asymmetry,
    ),
    "statistics/handedness": Spec(
        ("sex", "kind", "hand", "n", "missing", "mean", "sd", "median", "statistic", "p", "q",
         "log10_p", "estimate", "low", "high", "effect", "effect_name", "method", "note"),
        _described("mean", "sd", "median", "statistic", "p", "q", "log10_p", "estimate", "low",
                   "high", "effect"),
        counts=("missing",),
        quantiles={"median": ("n", 0.5)},
        special=withholding.handedness,
    ),
    "statistics/gam": Spec(
        ("sex", "y", "x", "n", "k", "edf", "intercept", "intercept_se", "scale", "smoothing",
         "r_squared", "deviance_explained", "x_min", "x_max", "method", "note"),
        _described("k", "edf", "intercept", "intercept_se", "scale", "smoothing", "r_squared",
                   "deviance_explained"),
        single=("x_min", "x_max"),
        special=withholding.gam,
    ),
    "statistics/gam_curve": Spec(
        ("sex", "x", "fit", "fit_se", "fit_low", "fit_high", "fit_all_low", "fit_all_high",
         "slope", "slope_se", "slope_low", "slope_high", "slope_all_low", "slope_all_high", "bend",
         "bend_se", "bend_low", "bend_high", "bend_all_low", "bend_all_high"),
        {},
        special=withholding.curve,
    ),
    "statistics/acceleration": Spec(
        ("sex", "n", "break_x", "break_low", "break_high", "slope_before", "slope_before_low",
         "slope_before_high", "slope_after", "slope_after_low", "slope_after_high", "change",
         "change_low", "change_high", "p", "log10_p", "note", "slope_below_0_from",
         "slope_below_0_to", "bend_below_0_from", "bend_below_0_to", "accelerates", "statement",
         "method"),
        _described("break_x", "break_low", "break_high", "slope_before", "slope_before_low",
                   "slope_before_high", "slope_after", "slope_after_low", "slope_after_high",
                   "change", "change_low", "change_high", "p", "log10_p", "accelerates",
                   "statement"),
        special=withholding.acceleration,
    ),
    "statistics/repeat": Spec(
        ("measure", "unit", "sex", "age_group", "n", "years_mean", "change_mean", "change_sd",
         "per_year_mean", "per_year_sd", "percent_per_year_mean", "percent_per_year_sd",
         "statistic", "p", "q", "log10_p", "pseudomedian", "pseudomedian_low",
         "pseudomedian_high", "rank_biserial", "method", "note"),
        _described("years_mean", "change_mean", "change_sd", "per_year_mean", "per_year_sd",
                   "percent_per_year_mean", "percent_per_year_sd", "statistic", "p", "q",
                   "log10_p", "pseudomedian", "pseudomedian_low", "pseudomedian_high",
                   "rank_biserial"),
        special=withholding.repeat,
    ),
    "statistics/bland_altman": Spec(
        ("comparison", "measure", "unit", "n", "missing", "bias", "bias_low", "bias_high", "sd",
         "lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high", "share_within",
         "trend_rho", "trend_p", "limits_method", "note"),
        _described("bias", "bias_low", "bias_high", "sd", "lower", "lower_low", "lower_high",
                   "upper", "upper_low", "upper_high", "share_within", "trend_rho", "trend_p"),
        counts=("missing",),
        special=withholding.bland_altman,
    ),
    "statistics/sensitivity": Spec(
        ("result", "sex", "n_all", "value_all", "low_all", "high_all", "p_all", "n_unflagged",
         "value_unflagged", "low_unflagged", "high_unflagged", "p_unflagged", "difference",
         "note"),
        {"n_all": ("value_all", "low_all", "high_all", "p_all", "difference"),
         "n_unflagged": ("value_unflagged", "low_unflagged", "high_unflagged", "p_unflagged",
                         "difference")},
        special=withholding.sensitivity,
    ),
    "statistics/paper_comparison": Spec(
        ("id", "place", "quantity", "sex", "kind", "unit", "paper_value", "paper_n", "run_value",
         "run_n", "difference", "standard_error", "z", "within_sampling_error", "rule", "note"),
        {},
        special=withholding.comparison,
    ),
    "cohort/balance": Spec(
        ("sex", "age_group", "eligible", "quota", "kept", "drawn", "shortfall", "filled",
         "share_eligible", "share_drawn", "bmi_ks", "within_limit",
         *(f"bmi_{what}_{who}" for who in ("eligible", "drawn")
           for what in ("mean", "sd", "p5", "p25", "p50", "p75", "p95"))),
        {},
        counts=("kept", "shortfall", "filled"),
        quantiles={f"bmi_p{share}_{who}": (who, share / 100)
                   for who in ("eligible", "drawn") for share in (5, 25, 50, 75, 95)},
        special=withholding.balance,
    ),
    "cohort/exclusions": Spec(
        ("reason", "visits", "participants"), {}, special=withholding.exclusions
    ),
    "qc/summary": Spec(
        ("flag", "severity", "direction", "limit", "unit", "evaluated", "raised",
         "not_evaluable", "reason", "method", "definition", "source"),
        {},
        counts=("evaluated", "raised", "not_evaluable"),
        special=withholding.summary,
    ),
    "qc/shares": Spec(
        ("group", "level", "participants", "no_volume", "flagged", "flagged_percent", "low",
         "high", "excluded", "flagged_after", "flagged_after_percent"),
        {},
        counts=("participants", "no_volume", "flagged", "excluded", "flagged_after"),
        special=withholding.shares,
    ),
}  # fmt: skip
