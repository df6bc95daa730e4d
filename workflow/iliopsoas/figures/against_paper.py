"""The figure of paper_comparison.tsv: how far this run is from every number of the paper."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MultipleLocator

from iliopsoas.figures import style
from iliopsoas.statistics import formats

SECTIONS = (
    ("Table 1: participants", ("cohort.", "participants.", "ethnicity.", "trait.")),
    ("Validation", ("dice.", "agreement.")),
    ("Table 2: volumes", ("measure.",)),
    ("Results: sides, correlations", ("asymmetry.", "rho.")),
)
DODGE = {"female": -0.15, "male": 0.15, "all": 0.0}  # of markers, in lines
SHAPES = {"female": "o", "male": "s", "all": "D"}
DRAWN = ("mean", "sd", "percent", "rho", "p", "fold_mean", "bias", "limit")  # kinds of number
LIMIT = 8.0  # standard errors; further ones stand at the edge with their value


def rows_of(comparison):
    """Numbers that have a standard error, or would have one if they were known.

    Counts are left out, their percentages are shown; so are bounds of p, which are one-sided.
    What is not judged here (withheld, too few, not measured) stays, with z missing.
    """
    rows = comparison[comparison["kind"].isin(DRAWN)]
    return rows.assign(name=rows["quantity"], z=pd.to_numeric(rows["z"], errors="coerce"))


@style.styled
def paper_comparison(comparison):
    """Differences from the paper in standard errors, one line per number.

    Parameters
    ----------
    comparison : DataFrame
        From statistics.comparison.paper_comparison.
    """
    rows = rows_of(comparison)
    if not np.isfinite(rows["z"]).any():
        return style.empty("No number of this run can be compared with the paper.")
    lines = []  # (section heading or None, name, rows)
    for title, starts in SECTIONS:
        part = rows[rows["id"].str.startswith(starts)]
        if part.empty:
            continue
        lines.append((title, None))
        lines += [(name, group) for name, group in part.groupby("name", sort=False)]
    cut = _cut(lines)
    columns = [lines[:cut], lines[cut:]] if cut < len(lines) else [lines]
    longest = max(map(len, columns))
    drawing = style.figure(style.DOUBLE_MM, 16 + 4.6 * longest)
    axes = drawing.subplots(1, len(columns), squeeze=False)[0]
    reach = min(LIMIT, max(3.0, 1.15 * rows["z"].abs().max()))
    for panel, part in zip(axes, columns, strict=True):
        _column(panel, part, longest, reach)
    handles = [panel_handle(sex) for sex in SHAPES if (rows["sex"] == sex).any()]
    unknown = int((~np.isfinite(rows["z"])).sum())
    if unknown:
        handles.append(style.dot(style.GREY, f"not available or withheld ({unknown})", "x"))
    drawing.legend(handles=handles, loc="outside upper left", ncols=len(handles))
    judged = comparison["within_sampling_error"].astype(str)
    outside, total = int((judged == "False").sum()), int(judged.isin(["True", "False"]).sum())
    drawing.suptitle(
        f"{total - outside} of {total} judged numbers lie within sampling error",
        fontsize=7,
        x=0.99,
        ha="right",
    )
    return drawing


def panel_handle(sex):
    name = {"all": "both sexes"}.get(sex, style.SEX_NAME.get(sex, sex).lower())
    return style.dot(style.SEX.get(sex, "black"), name, SHAPES[sex])


def _cut(lines):
    """Where the second column starts: at the heading nearest to the middle, if one is near."""
    heads = [i for i, (_, group) in enumerate(lines) if group is None and i]
    if len(lines) < 20 or not heads:
        return len(lines)
    return min(heads, key=lambda i: abs(i - len(lines) / 2))


def _column(panel, lines, longest, reach):
    panel.axvspan(-1.96, 1.96, color="black", alpha=0.07, lw=0)
    panel.axvline(0, color="black", lw=0.6)
    labels = []
    for position, (name, group) in enumerate(lines):
        labels.append(name)
        if group is None:
            continue
        panel.axhline(position, color="black", alpha=0.08, lw=0.4)
        for _, row in group.iterrows():
            sex = row["sex"] if row["sex"] in SHAPES else "all"
            if not np.isfinite(row["z"]):
                colour = style.SEX.get(sex, "black")
                panel.plot(-reach, position + DODGE[sex], "x", ms=3, color=colour, clip_on=False)
                continue
            z = float(np.clip(row["z"], -reach, reach))
            inside = str(row["within_sampling_error"]) == "True"
            height = position + DODGE[sex]
            panel.plot(
                z,
                height,
                marker=SHAPES[sex],
                ms=3.2,
                ls="",
                clip_on=False,
                color=style.SEX.get(sex, "black"),
                markeredgewidth=0.8,
                markerfacecolor=style.SEX.get(sex, "black") if inside else "white",
            )
            if abs(row["z"]) > reach:
                panel.annotate(
                    f"{row['z']:.0f}",
                    (z, height),
                    xytext=(0, 3),
                    textcoords="offset points",
                    fontsize=5,
                    ha="center",
                )
    panel.set(
        yticks=range(len(lines)),
        yticklabels=labels,
        xlim=(-reach, reach),
        ylim=(longest - 0.4, -0.8),
    )
    panel.xaxis.set_major_locator(MultipleLocator(2 if reach > 4 else 1))
    panel.set_xlabel(f"(this run {formats.MINUS} paper) / standard error")
    panel.tick_params(axis="y", length=0, labelsize=6)
    panel.spines["left"].set_visible(False)
    for tick, (_, group) in zip(panel.get_yticklabels(), lines, strict=True):
        if group is None:
            tick.set_fontweight("bold")
