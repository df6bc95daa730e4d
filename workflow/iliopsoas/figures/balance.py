"""How well the sample is balanced: people per stratum, and BMI drawn beside BMI eligible."""

import numpy as np

from iliopsoas.figures import style


@style.styled
def sample_balance(balance, min_cell: int = 5):
    """A figure of results/cohort/balance.tsv.

    Parameters
    ----------
    balance : DataFrame
        `iliopsoas.sampling.draw.Draw.balance`.
    min_cell : int
        BMI is not shown where fewer people were drawn.

    Returns
    -------
    Figure
        Left: participants drawn in each stratum, and the number wanted. Right: BMI's 5th, 25th,
        50th, 75th and 95th percentile in each stratum, among the eligible and among the drawn.
    """
    strata = balance[balance["age_group"] != "all"]
    if not strata["eligible"].sum():
        return style.empty("Nobody is eligible.")
    groups = list(dict.fromkeys(strata["age_group"]))
    drawing = style.figure(style.DOUBLE_MM, 70)
    people, bmi = drawing.subplots(1, 2)
    top = 1.15 * max(strata["drawn"].max(), 1)
    offsets = {"female": -0.2, "male": 0.2}
    for sex, offset in offsets.items():
        rows = strata[strata["sex"] == sex].set_index("age_group").reindex(groups)
        place = np.arange(len(groups)) + offset
        people.bar(place, rows["drawn"], 0.36, color=style.SEX[sex], label=style.SEX_NAME[sex])
        people.hlines(
            rows["quota"],
            place - 0.2,
            place + 0.2,
            color=style.OKABE_ITO["black"],
            linewidth=1.2,
            label="Wanted" if sex == "male" and rows["quota"].min() <= top else None,
        )
        rows = rows.where(rows["drawn"] >= min_cell)
        _percentiles(bmi, place - 0.07, rows, "eligible", style.GREY)
        _percentiles(bmi, place + 0.07, rows, "drawn", style.SEX[sex])
    for axes in (people, bmi):
        axes.set_xticks(range(len(groups)), [group.replace("-", "\N{EN DASH}") for group in groups])
        axes.set_xlabel("Age (years)")
    bmi.set_xlim(people.get_xlim())
    people.set_ylabel("Participants drawn")
    people.set_ylim(0, top)
    people.legend(ncols=3, loc="upper left")
    wanted, drawn = int(strata["quota"].sum()), int(strata["drawn"].sum())
    if wanted > drawn:
        people.set_title(f"{drawn:,} of {wanted:,} wanted")
    bmi.set_ylabel("BMI (kg/m²)")
    bmi.plot([], [], color=style.GREY, marker="o", markersize=3, label="Eligible")
    for sex in offsets:
        bmi.plot(
            [],
            [],
            color=style.SEX[sex],
            marker="o",
            markersize=3,
            label=style.SEX_NAME[sex] + " drawn",
        )
    bmi.legend(ncols=3, loc="upper left")
    low, high = bmi.get_ylim()
    bmi.set_ylim(low, high + 0.12 * (high - low))
    style.letter(people, "a")
    style.letter(bmi, "b")
    return drawing


def _percentiles(axes, place, rows, name, color):
    """Median as a point, quartiles as a thick line, 5th to 95th percentile as a thin one."""
    value = {p: rows[f"bmi_p{p}_{name}"].to_numpy(float) for p in (5, 25, 50, 75, 95)}
    axes.vlines(place, value[5], value[95], color=color, linewidth=0.8)
    axes.vlines(place, value[25], value[75], color=color, linewidth=2.6)
    axes.plot(place, value[50], "o", color=color, markersize=3.2, markeredgecolor="white",
              markeredgewidth=0.5)  # fmt: skip
