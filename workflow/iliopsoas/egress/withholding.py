"""What single tables withhold beyond small counts: what follows from sums and differences.

Every public function changes `table` in place; `exact` is the table as it was.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas.statistics.disclosure import suppress_margins


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


def missing(table, exact, minimum, context):
    _complement(table, exact, minimum)


def rounded(table, exact, minimum, context):
    """n down to a multiple of `minimum`: a difference of two n's tells nobody apart."""
    step = max(minimum, 1)
    n = pd.to_numeric(table["n"], errors="coerce")
    table["n"] = (n // step * step).where(n.notna())
    if "note" in table and step > 1:
        counts = table["note"].astype(str).str.contains(r"\d+ without")
        table.loc[counts, "note"] = ""


def flow(table, exact, minimum, context):
    counts = exact.set_index("step")[["n", "female", "male"]]
    shown = suppress_margins(counts, minimum, total="n", whole="sampled")
    table[["n", "female", "male"]] = shown.to_numpy()


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


def table2(table, exact, minimum, context):
    tests = ["statistic", "p", "log10_p", "q", "shift", "shift_low", "shift_high", "rank_biserial"]
    small = ~(exact[["female_n", "male_n"]].min(axis=1) >= minimum)
    withhold(table, small, tests)
    for sex in ("female", "male"):
        _complement(table, exact, minimum, f"{sex}_missing", f"{sex}_n")


def asymmetry(table, exact, minimum, context):
    _complement(table, exact, minimum)
    right = exact["n"] * exact["right_larger_share"]
    few = ~((right >= minimum) & (exact["n"] - right >= minimum))
    table["right_larger_share"] = table["right_larger_share"].mask(few & (minimum > 1))


def bland_altman(table, exact, minimum, context):
    _complement(table, exact, minimum)
    outside = exact["n"] * (1 - exact["share_within"])
    table["share_within"] = table["share_within"].mask((outside < minimum - 1e-6) & (minimum > 1))


def handedness(table, exact, minimum, context):
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


def repeat(table, exact, minimum, context):
    resting = [c for c in table if c not in ("measure", "unit", "sex", "age_group", "method")]
    resting = [c for c in resting if c not in ("n", "note")]
    for measure in exact["measure"].unique():
        rows = exact["measure"] == measure
        _margins(
            table, exact.assign(n=exact["n"].fillna(0)), minimum, rows, ["sex", "age_group"], "n",
            resting, "all", "both",
        )  # fmt: skip


def sex_differences(table, exact, minimum, context):
    _complement(table, exact, minimum)
    if context.smaller_sex < minimum:
        rest = [c for c in table if c not in ("measure", "height_correction", "method", "note")]
        withhold(table, np.ones(len(table), bool), [c for c in rest if c != "effect_name"])


def sensitivity(table, exact, minimum, context):
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


def gam(table, exact, minimum, context):
    table[["x_min", "x_max"]] = np.nan


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


def comparison(table, exact, minimum, context):
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


def shares(table, exact, minimum, context):
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


def summary(table, exact, minimum, context):
    _complement(table, exact, minimum, "not_evaluable", "evaluated")
