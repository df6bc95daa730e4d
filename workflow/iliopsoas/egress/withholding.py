"""What tables withhold beyond small counts: what follows from sums, differences and sizes.

Every public function changes `table` in place; `exact` is the table as it was.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from iliopsoas.statistics.cohort import MEASURES, SEXES, TRAITS
from iliopsoas.statistics.disclosure import suppress_margins

MANY = 1000  # participants from which three digits of an interval or a p do not tell n from n - 4


@dataclass(frozen=True)
class Context:
    """What a table's protection takes from beside it.

    Attributes
    ----------
    ages : tuple of float
        Ages between which curves may be shown: at either end there are enough participants.
    sizes : dict of str to int
        Participants analysed, by sex.
    unmeasured : dict of str to int
        Participants sampled and not analysed, by sex.
    few_missing : bool
        Some measure or trait is missing in few participants of a sex, but in some.
    few_elsewhere : bool
        Few scans of a sex, but some, are of other visits than the main one.
    """

    ages: tuple = (None, None)
    sizes: dict = field(default_factory=dict)
    unmeasured: dict = field(default_factory=dict)
    few_missing: bool = False
    few_elsewhere: bool = False

    @property
    def participants(self) -> float:
        """Participants analysed."""
        return sum(self.sizes.values()) if self.sizes else np.nan

    def few_unmeasured(self, minimum: int) -> bool:
        """Whether few, but some, of a sex or of both were sampled and not analysed."""
        gaps = [*self.unmeasured.values(), sum(self.unmeasured.values())]
        return bool(few(pd.Series(gaps, dtype=float), minimum).any())

    def small_sex(self, minimum: int) -> bool:
        """Whether one sex has too few participants to be shown."""
        return bool(self.sizes) and min(self.sizes.values()) < minimum


def context(main, visits, sampled, minimum: int, ages=(None, None), instance=2) -> Context:
    """The context of a cohort.

    Parameters
    ----------
    main : DataFrame
        One row per participant analysed, from `cohort.main_visit`.
    visits, sampled : DataFrame
        sample.tsv: every visit of the cohort, and those that were drawn.
    minimum : int
        Smallest count that may be shown.
    """
    asked = sampled[sampled["instance"].astype(str) == str(instance)]
    numbers = {
        name: {sex: int((table["sex"] == sex).sum()) for sex in SEXES}
        for name, table in (("main", main), ("drawn", asked), ("all", visits))
    }
    columns = [c.column for c in (*MEASURES, *TRAITS) if c.column in main]
    absent = main[columns].isna().groupby(main["sex"]).sum()
    elsewhere = [numbers["all"][sex] - numbers["drawn"][sex] for sex in SEXES]
    return Context(
        ages,
        numbers["main"],
        {sex: numbers["drawn"][sex] - numbers["main"][sex] for sex in SEXES},
        bool(few(absent, minimum).any(axis=None)),
        bool(few(pd.Series(elsewhere), minimum).any()),
    )


def few(counts, minimum: int):
    """Where a count is small but not 0."""
    return (counts >= 1) & (counts < minimum)


def significant(value, digits: int = 4):
    """A number to significant digits."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else value


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


# --- sizes ----------------------------------------------------------------------------------------

# parts of the names of estimates that do not tell how many they rest on
_ESTIMATES = {
    "mean", "sd", "median", "rho", "value", "estimate", "shift", "intercept", "pseudomedian",
    "difference", "ratio", "bias", "lower", "upper", "change", "slope", "break", "smoothing",
    "skewness", "years",
}  # fmt: skip
_EXACT = ("statistic", "log10_p", "effect", "rank_biserial")  # with what else is shown, they give n


def sizes(table, exact, declared, context) -> None:
    """Hide an n that is short of everybody where few lack a value, and what gives it away.

    How many participants there are is known, so such an n tells how many had no value. A p,
    an interval, a standard error or a statistic give n exactly: they go too, or keep three digits
    where there are `MANY` participants.
    """
    if not context.sizes:
        return
    for count in [count for count in declared.rests_on if count in exact]:
        prefix = count.split("_")[0]
        sex = exact["sex"] if "sex" in exact else pd.Series("both", index=exact.index)
        sex = (
            pd.Series(prefix, index=exact.index)
            if prefix in SEXES
            else sex.astype(object).fillna("both")
        )
        resting = declared.resting(count, list(table.columns))
        _hide_sizes(table, _short(exact[count], sex, context), count, resting, context)


def _short(n, sex, context) -> np.ndarray:
    """Where n is short of the participants and its gap could be one of few, or a sum with it."""
    absent = sex.map(context.sizes).astype(float).fillna(context.participants) - n.astype(float)
    return np.asarray((absent >= 1) & context.few_missing)


def _hide_sizes(table, rows, count, resting, context) -> None:
    prefix = count.removesuffix("n")  # "" or such as "female_"
    counts = [count, f"{prefix}missing"]
    telling = [
        name
        for name in resting
        if name.endswith(("_low", "_high", "_se")) or not _ESTIMATES & set(name.split("_"))
    ]
    withhold(table, rows, [*counts, *(name for name in telling if name in _EXACT)])
    telling = [name for name in telling if name not in _EXACT]
    if context.participants < MANY:
        withhold(table, rows, telling)
        return
    for name in telling:
        values = pd.to_numeric(table[name], errors="coerce")
        table[name] = values.mask(rows, values.map(lambda value: significant(value, 3)))


def both_sexes(table, exact, minimum, context):
    """Nothing of both sexes together where one is small: the other's part is known."""
    if not context.small_sex(minimum):
        return
    rows = ~exact["sex"].isin(SEXES) if "sex" in exact else np.ones(len(exact), bool)
    words = ("measure", "height_correction", "method", "note", "sex", "effect_name", "result")
    withhold(table, rows, [column for column in table if column not in words])


# --- sums -----------------------------------------------------------------------------------------


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


def rounded(table, exact, minimum, context):
    """n down to a multiple of `minimum`: a difference of two n's tells nobody apart."""
    step = max(minimum, 1)
    n = pd.to_numeric(table["n"], errors="coerce")
    table["n"] = (n // step * step).where(n.notna())
    if "note" in table and step > 1:
        counts = table["note"].astype(str).str.contains(r"\d+ without")
        table.loc[counts, "note"] = ""


def slices(table, exact, minimum, context):
    """A level's line gives the mean volume of those who have both muscles there: levels that few
    have less than another, or than the sex, are withheld.
    """
    lumped = [name for name in table if name not in ("axis", "level", "sex", "note", "best")]
    for sex in SEXES:
        mine = (exact["sex"] == sex).to_numpy()
        last = context.sizes.get(sex, exact.loc[mine, "n"].max())
        for n in sorted(exact.loc[mine, "n"].dropna().unique(), reverse=True):
            if 0 < last - n < minimum:
                withhold(table, mine & (exact["n"] == n), lumped)
            else:
                last = n
    rounded(table, exact, minimum, context)


def flow(table, exact, minimum, context):
    """Every other table tells who was analysed: where the rest is few, the sampled are hidden."""
    columns = ["n", *SEXES]
    counts = exact.set_index("step")[columns].astype(float)
    rest = counts.drop(index=["sampled", "analysed"])
    rest.loc["rest"] = counts.loc["sampled"] - counts.loc["analysed"]
    shown = suppress_margins(rest, minimum, total="n", whole="rest")
    hidden = shown.loc["rest"].isna() & (rest.loc["rest"] > 0)
    for step in ("sampled", "analysed"):
        own = counts.loc[step].where(counts.loc[step] >= minimum)
        shown.loc[step] = own.mask(hidden) if step == "sampled" else own
        if shown.loc[step, list(SEXES)].isna().any():  # the other sex's is known
            shown.loc[step, "n"] = np.nan
    table[columns] = shown.loc[exact["step"]].to_numpy()


def exclusions(table, exact, minimum, context):
    for column in ("visits", "participants"):
        table[column] = suppress_margins(exact[[column]].T, minimum, total="sum").T.to_numpy()


def balance(table, exact, minimum, context):
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
    if context.few_unmeasured(minimum):  # less Table 1: those who were drawn and not measured
        names = [column for column in table if column.endswith("_drawn")]
        names += ["quota", "kept", "drawn", "shortfall", "filled", "bmi_ks", "within_limit"]
        withhold(table, rows, names)


# --- single tables --------------------------------------------------------------------------------


def table2(table, exact, minimum, context):
    tests = ["statistic", "p", "log10_p", "q", "shift", "shift_low", "shift_high", "rank_biserial"]
    small = ~(exact[["female_n", "male_n"]].min(axis=1) >= minimum)
    withhold(table, small, tests)
    hidden = table[["female_n", "male_n"]].isna().any(axis=1)
    _hide_sizes(table, hidden & ~small, "n", tests, context)


def asymmetry(table, exact, minimum, context):
    right = exact["n"] * exact["right_larger_share"]
    enough = (right >= minimum) & (exact["n"] - right >= minimum)
    table["right_larger_share"] = table["right_larger_share"].where(enough | (minimum <= 1))


def bland_altman(table, exact, minimum, context):
    outside = exact["n"] * (1 - exact["share_within"])
    table["share_within"] = table["share_within"].mask((outside < minimum - 1e-6) & (minimum > 1))


def sensitivity(table, exact, minimum, context):
    if "n_unflagged" not in exact:  # no flags were given: every result once
        exact = exact.assign(n_unflagged=exact["n_all"])
    both = exact["sex"].astype(str).str.contains("-")
    means = exact[exact["result"].str.startswith("mean ")]
    for end in ("all", "unflagged") if len(means) else ():
        fewest = means.groupby("result")[f"n_{end}"].min()
        of_row = exact["result"].str.replace("shift of ", "mean ").map(fewest)
        columns = [column for column in table if column.endswith(f"_{end}")]
        withhold(table, both & (of_row < minimum), [*columns, "difference"])
    gap = few(exact["n_all"] - exact["n_unflagged"], minimum)
    unflagged = [column for column in table if column.endswith("_unflagged")]
    withhold(table, gap, [*unflagged, "difference"])
    # both sexes' number less one sex's is the other's; of all, less those with a flag, the missing
    withhold(table, table["n_all"].isna() | (both & gap.any()), ["n_unflagged"], note=False)
    both_sexes(table, exact, minimum, context)
    table["note"] = table["note"].where(table["note"] == "withheld", "")


def curve(table, exact, minimum, context):
    low, high = context.ages
    outside = table["x"].notna() if low is None else ~table["x"].between(low, high)
    withhold(table, outside, list(table.columns))


def acceleration(table, exact, minimum, context):
    low, high = context.ages
    for column in [column for column in table if column.endswith(("_from", "_to"))]:
        values = pd.to_numeric(table[column], errors="coerce")
        inside = values.between(low, high) if low is not None else values.isna() & False
        table[column] = values.where(inside)
    both_sexes(table, exact, minimum, context)


def comparison(table, exact, minimum, context):
    run = ["run_value", "difference", "standard_error", "z", "within_sampling_error"]
    value = pd.to_numeric(exact["run_value"], errors="coerce")
    n = exact["run_n"].astype(float)
    one = exact["sex"].isin(SEXES)
    share = exact["id"] == "cohort.measured_percent"
    out = ((exact["kind"] == "count") | exact["id"].isin(["annotated.n", "cohort.n"])) & (
        value < minimum
    )
    out |= n < minimum
    out |= share & (n * (1 - value / 100) < minimum - 1e-6)
    out |= share & context.few_unmeasured(minimum)
    out |= context.small_sex(minimum) & (~one | exact["id"].str.startswith("participants."))
    out &= minimum > 1
    out |= exact["kind"].isin(["extreme", "example"])
    withhold(table, out & exact["run_n"].notna(), [*run, "run_n"])
    of_folds = exact["id"].str.contains("dice|folds|agreement|annotated", regex=True)
    if context.sizes and minimum > 1:
        short = _short(n, exact["sex"], context) & ~share & ~of_folds
        _hide_sizes(table, short, "run_n", ["standard_error", "z"], context)


def shares(table, exact, minimum, context):
    after = ["flagged_after", "flagged_after_percent"]
    flagged = ["flagged", "flagged_percent", "low", "high", *after]
    resting = {
        "participants": ["no_volume", "excluded", *flagged],
        "no_volume": ["flagged_percent", "low", "high", "flagged_after_percent"],
        "flagged": flagged[1:],
        "excluded": after,
        "flagged_after": after[1:],
    }
    whole = exact[exact["group"] == "all"]
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
            if group == "visit" and mask.any():  # other tables are of the main visit
                mask[:] = True
            withhold(table, mask, [count, *others])
    if context.few_unmeasured(minimum):  # less Table 1, as in the balance
        withhold(table, exact["group"].notna(), ["participants", "no_volume"])
    if context.few_elsewhere and minimum > 1:  # less the flow by sex: scans of other visits
        counts = ["participants", "no_volume", "excluded", *flagged]
        withhold(table, exact["group"].isin(["sex", "age"]), counts)


def summary(table, exact, minimum, context):
    table.loc[few(exact["not_evaluable"], minimum), "evaluated"] = np.nan
