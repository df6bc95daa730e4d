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

from iliopsoas.statistics.disclosure import suppress_margins
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


@dataclass(frozen=True)
class Context:
    """What a table's protection takes from beside it.

    Attributes
    ----------
    ages : tuple of float
        Ages between which curves may be shown: at either end there are enough participants.
    smaller_sex : float
        Participants of the sex with fewer, of those analysed.
    """

    ages: tuple = (None, None)
    smaller_sex: float = float("inf")


def release(
    name: str, table: pd.DataFrame, minimum: int, context: Context | None = None
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
            withhold(table, small, [count, *resting], note=exact[count].notna())
        for count in spec.counts:
            table[count] = table[count].where(table[count] >= minimum)
        for column, (count, share) in (spec.quantiles or {}).items():
            beside = exact[count].astype(float) * min(share, 1 - share)
            table[column] = table[column].where(beside >= minimum)
    if spec.special:
        spec.special(table, exact, minimum, context or Context())
    table = table.dropna(how="all")
    for column in [*spec.blocks, *spec.counts, *WHOLE]:
        if column in table:
            table[column] = table[column].astype(float).astype("Int64")
    if "statistic" in table:  # a sum of ranks with seven digits would look like an id
        values = pd.to_numeric(table["statistic"])
        table["statistic"] = [f"{value:.6e}" if np.isfinite(value) else None for value in values]
    return table


def withhold(table: pd.DataFrame, rows, columns, note=True) -> None:
    """Empty cells in place; the rows' note says so where there is one and `note` is true."""
    rows = np.asarray(rows, bool)
    for column in columns:
        if column not in table:
            continue
        if table[column].dtype == bool or not pd.api.types.is_float_dtype(table[column]):
            table[column] = table[column].astype(object)
        table.loc[rows, column] = np.nan
    if "note" in table:
        table["note"] = table["note"].astype(object)
        table.loc[rows & note, "note"] = "withheld"


def _margins(table, exact, minimum, rows, columns, count, resting, total, whole):
    """Protect a count whose groups add up over two columns of the table."""
    frame = exact.loc[rows].pivot_table(
        index=columns[0], columns=columns[1], values=count, aggfunc="first", dropna=False
    )
    shown = suppress_margins(
        frame.fillna(0),
        minimum,
        total=total if total in frame.columns else None,
        whole=whole if whole in frame.index else None,
    )
    places = exact.loc[rows, columns].itertuples(index=False)
    hidden = [np.isnan(shown.loc[a, b]) for a, b in places]
    mask = pd.Series(False, index=table.index)
    mask[rows] = hidden
    withhold(table, mask, [count, *resting])


def _complement(table, exact, minimum, small="missing", other="n"):
    """Where few are missing, n less those expected would tell how many: n goes too."""
    few = exact[small].between(1, minimum - 1)
    table.loc[few, other] = np.nan


def _missing(table, exact, minimum, context):
    _complement(table, exact, minimum)


def _flow(table, exact, minimum, context):
    counts = exact.set_index("step")[["n", "female", "male"]]
    shown = suppress_margins(counts, minimum, total="n", whole="sampled")
    table[["n", "female", "male"]] = shown.to_numpy()


def _exclusions(table, exact, minimum, context):
    for column in ("visits", "participants"):
        table[column] = suppress_margins(exact[[column]].T, minimum, total="sum").T.to_numpy()


def _balance(table, exact, minimum, context):
    rows = pd.Series(True, index=table.index)
    for count in ("eligible", "drawn"):
        resting = [
            *("kept", "shortfall", "filled", "share_eligible", "share_drawn", "bmi_ks"),
            *(column for column in table if column.endswith(f"_{count}")),
            *(("drawn",) if count == "eligible" else ()),
        ]
        _margins(
            table, exact, minimum, rows, ["sex", "age_group"], count, resting, "all",
            "all" if "all" in set(exact["sex"]) else "both",
        )  # fmt: skip


def _table2(table, exact, minimum, context):
    tests = ["statistic", "p", "log10_p", "q", "shift", "shift_low", "shift_high", "rank_biserial"]
    small = ~(exact[["female_n", "male_n"]].min(axis=1) >= minimum)
    withhold(table, small, tests)
    for sex in ("female", "male"):
        _complement(table, exact, minimum, f"{sex}_missing", f"{sex}_n")


def _asymmetry(table, exact, minimum, context):
    _complement(table, exact, minimum)
    right = exact["n"] * exact["right_larger_share"]
    few = ~((right >= minimum) & (exact["n"] - right >= minimum))
    table["right_larger_share"] = table["right_larger_share"].mask(few & (minimum > 1))


def _bland_altman(table, exact, minimum, context):
    _complement(table, exact, minimum)
    outside = exact["n"] * (1 - exact["share_within"])
    table["share_within"] = table["share_within"].mask((outside < minimum - 1e-6) & (minimum > 1))


def _handedness(table, exact, minimum, context):
    described = ["missing", "mean", "sd", "median"]
    for sex in exact["sex"].unique():
        rows = (exact["sex"] == sex) & (exact["kind"] == "group")
        counts = exact.loc[rows, ["n"]].T.astype(float).fillna(0)
        hidden = suppress_margins(counts, minimum, total="sum").T["n"].isna()
        mask = pd.Series(False, index=table.index)
        mask[hidden[hidden].index] = True
        withhold(table, mask, ["n", *described])
        if mask.any():  # the groups tested add up to the tests' numbers
            table.loc[(exact["sex"] == sex) & (exact["kind"] == "test"), "n"] = np.nan


def _repeat(table, exact, minimum, context):
    resting = [c for c in table if c not in ("measure", "unit", "sex", "age_group", "method")]
    resting = [c for c in resting if c not in ("n", "note")]
    for measure in exact["measure"].unique():
        rows = exact["measure"] == measure
        _margins(
            table, exact.assign(n=exact["n"].fillna(0)), minimum, rows, ["sex", "age_group"], "n",
            resting, "all", "both",
        )  # fmt: skip


def _sex_differences(table, exact, minimum, context):
    _complement(table, exact, minimum)
    if context.smaller_sex < minimum:
        rest = [c for c in table if c not in ("measure", "height_correction", "method", "note")]
        withhold(table, np.ones(len(table), bool), [c for c in rest if c != "effect_name"])


def _sensitivity(table, exact, minimum, context):
    if "n_unflagged" not in exact:  # no flags were given: every result once
        exact = exact.assign(n_unflagged=exact["n_all"])
    means = exact[exact["result"].str.startswith("mean ")]
    for end in ("all", "unflagged") if len(means) else ():
        fewest = means.groupby("result")[f"n_{end}"].min()
        of_row = exact["result"].str.replace("shift of ", "mean ").map(fewest)
        both = exact["sex"].astype(str).str.contains("-")
        columns = [column for column in table if column.endswith(f"_{end}")]
        withhold(table, both & (of_row < minimum), [*columns, "difference"])
    few = (minimum > 1) & (exact["n_all"] - exact["n_unflagged"]).between(1, minimum - 1)
    unflagged = [column for column in table if column.endswith("_unflagged")]
    withhold(table, few, [*unflagged, "difference"])
    table["note"] = table["note"].where(table["note"] == "withheld", "")


def _gam(table, exact, minimum, context):
    table[["x_min", "x_max"]] = np.nan


def _curve(table, exact, minimum, context):
    low, high = context.ages
    outside = table["x"].notna() if low is None else ~table["x"].between(low, high)
    withhold(table, outside, list(table.columns))


def _acceleration(table, exact, minimum, context):
    low, high = context.ages
    for column in [column for column in table if column.endswith(("_from", "_to"))]:
        values = pd.to_numeric(table[column], errors="coerce")
        inside = values.between(low, high) if low is not None else values.isna() & False
        table[column] = values.where(inside)


def _comparison(table, exact, minimum, context):
    run = ["run_value", "difference", "standard_error", "z", "within_sampling_error"]
    value = pd.to_numeric(exact["run_value"], errors="coerce")
    people = (exact["kind"] == "count") | exact["id"].isin(["annotated.n", "cohort.n"])
    share = exact["id"] == "cohort.measured_percent"
    rest = exact["run_n"] * (1 - value / 100)
    few = (people & (value < minimum)) | (share & (rest < minimum - 1e-6))
    few |= exact["run_n"] < minimum
    few &= minimum > 1
    few |= exact["kind"].isin(["extreme", "example"])
    withhold(table, few & exact["run_n"].notna(), [*run, "run_n"])


def _shares(table, exact, minimum, context):
    flagged = [
        "flagged",
        "flagged_percent",
        "low",
        "high",
        "flagged_after",
        "flagged_after_percent",
    ]
    after = ["flagged_after", "flagged_after_percent"]
    whole = exact[exact["group"] == "all"]
    resting = {
        "participants": ["no_volume", "excluded", *flagged],
        "no_volume": ["flagged_percent", "low", "high", "flagged_after_percent"],
        "flagged": flagged[1:],
        "excluded": after,
        "flagged_after": after[1:],
    }
    for group in exact["group"].unique():
        rows = exact["group"] == group
        for count, others in resting.items():
            parts = exact.loc[rows, count].tolist()
            if group == "all":
                shown = suppress_margins(pd.DataFrame([parts]), minimum)
            else:  # the last column is the sum
                frame = pd.DataFrame([[*parts, float(whole[count].iloc[0])]])
                shown = suppress_margins(frame, minimum, total=len(parts))
            mask = pd.Series(False, index=table.index)
            mask[rows] = shown.isna().to_numpy()[0, : len(parts)]
            withhold(table, mask, [count, *others])


def _summary(table, exact, minimum, context):
    _complement(table, exact, minimum, "not_evaluable", "evaluated")


def _described(*columns):
    return {"n": columns}


SPECS = {
    "statistics/flow": Spec(("step", "n", "female", "male"), {}, special=_flow),
    "statistics/table1": Spec(
        ("variable", "level", "unit", "sex", "n", "percent", "mean", "sd", "min", "max", "missing",
         "note"),
        _described("percent", "mean", "sd"),
        counts=("missing",),
        single=("min", "max"),
        special=_missing,
    ),
    "statistics/table2": Spec(
        ("measure", "label", "unit", "female_n", "female_missing", "female_mean", "female_sd",
         "female_min", "female_max", "male_n", "male_missing", "male_mean", "male_sd", "male_min",
         "male_max", "statistic", "p", "log10_p", "q", "shift", "shift_low", "shift_high",
         "rank_biserial", "method", "note"),
        {"female_n": ("female_mean", "female_sd"), "male_n": ("male_mean", "male_sd")},
        counts=("female_missing", "male_missing"),
        single=("female_min", "female_max", "male_min", "male_max"),
        special=_table2,
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
        special=_missing,
    ),
    "statistics/correlations": Spec(
        ("name", "x", "y", "sex", "n", "missing", "rho", "rho_low", "rho_high", "statistic", "p",
         "q", "log10_p", "method", "note"),
        _described("rho", "rho_low", "rho_high", "statistic", "p", "q", "log10_p"),
        counts=("missing",),
        special=_missing,
    ),
    "statistics/sex_differences": Spec(
        ("measure", "height_correction", "method", "n", "missing", "statistic", "p", "q",
         "log10_p", "estimate", "low", "high", "effect", "effect_name", "note"),
        _described("statistic", "p", "q", "log10_p", "estimate", "low", "high", "effect"),
        counts=("missing",),
        special=_sex_differences,
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
        special=_asymmetry,
    ),
    "statistics/handedness": Spec(
        ("sex", "kind", "hand", "n", "missing", "mean", "sd", "median", "statistic", "p", "q",
         "log10_p", "estimate", "low", "high", "effect", "effect_name", "method", "note"),
        _described("mean", "sd", "median", "statistic", "p", "q", "log10_p", "estimate", "low",
                   "high", "effect"),
        counts=("missing",),
        quantiles={"median": ("n", 0.5)},
        special=_handedness,
    ),
    "statistics/gam": Spec(
        ("sex", "y", "x", "n", "k", "edf", "intercept", "intercept_se", "scale", "smoothing",
         "r_squared", "deviance_explained", "x_min", "x_max", "method", "note"),
        _described("k", "edf", "intercept", "intercept_se", "scale", "smoothing", "r_squared",
                   "deviance_explained"),
        single=("x_min", "x_max"),
        special=_gam,
    ),
    "statistics/gam_curve": Spec(
        ("sex", "x", "fit", "fit_se", "fit_low", "fit_high", "fit_all_low", "fit_all_high",
         "slope", "slope_se", "slope_low", "slope_high", "slope_all_low", "slope_all_high", "bend",
         "bend_se", "bend_low", "bend_high", "bend_all_low", "bend_all_high"),
        {},
        special=_curve,
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
        special=_acceleration,
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
        special=_repeat,
    ),
    "statistics/bland_altman": Spec(
        ("comparison", "measure", "unit", "n", "missing", "bias", "bias_low", "bias_high", "sd",
         "lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high", "share_within",
         "trend_rho", "trend_p", "limits_method", "note"),
        _described("bias", "bias_low", "bias_high", "sd", "lower", "lower_low", "lower_high",
                   "upper", "upper_low", "upper_high", "share_within", "trend_rho", "trend_p"),
        counts=("missing",),
        special=_bland_altman,
    ),
    "statistics/sensitivity": Spec(
        ("result", "sex", "n_all", "value_all", "low_all", "high_all", "p_all", "n_unflagged",
         "value_unflagged", "low_unflagged", "high_unflagged", "p_unflagged", "difference",
         "note"),
        {"n_all": ("value_all", "low_all", "high_all", "p_all", "difference"),
         "n_unflagged": ("value_unflagged", "low_unflagged", "high_unflagged", "p_unflagged",
                         "difference")},
        special=_sensitivity,
    ),
    "statistics/paper_comparison": Spec(
        ("id", "place", "quantity", "sex", "kind", "unit", "paper_value", "paper_n", "run_value",
         "run_n", "difference", "standard_error", "z", "within_sampling_error", "rule", "note"),
        {},
        special=_comparison,
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
        special=_balance,
    ),
    "cohort/exclusions": Spec(("reason", "visits", "participants"), {}, special=_exclusions),
    "qc/summary": Spec(
        ("flag", "severity", "direction", "limit", "unit", "evaluated", "raised",
         "not_evaluable", "reason", "method", "definition", "source"),
        {},
        counts=("evaluated", "raised", "not_evaluable"),
        special=_summary,
    ),
    "qc/shares": Spec(
        ("group", "level", "participants", "no_volume", "flagged", "flagged_percent", "low",
         "high", "excluded", "flagged_after", "flagged_after_percent"),
        {},
        counts=("participants", "no_volume", "flagged", "excluded", "flagged_after"),
        special=_shares,
    ),
}  # fmt: skip
