"""Quality figure: which flags were raised, in whom, and what exclusion changes."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from iliopsoas.figures import style
from iliopsoas.qc.report import GROUPS

SEVERITY = {
    "no_volume": style.GREY,
    "serious": style.OKABE_ITO["vermilion"],
    "review": style.OKABE_ITO["orange"],
    "note": style.OKABE_ITO["sky"],
}
MOST_BARS = 24
LEVELS = {("visit", "2"): "first visit", ("visit", "3"): "repeat visit"} | {
    ("sex", name): shown for name, shown in style.SEX_NAME.items()
}


def _counts(axes, flags):
    """Participants per flag, the commonest first, coloured by severity."""
    counts = flags.groupby(["flag", "severity"]).size().reset_index(name="n")
    counts = counts.sort_values("n", ascending=False).head(MOST_BARS)[::-1]
    if not len(counts):
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No flag was raised", ha="center", va="center", color=style.GREY)
        return
    place = np.arange(len(counts))
    axes.barh(place, counts["n"], color=[SEVERITY[name] for name in counts["severity"]], height=0.7)
    axes.set_yticks(place, [name.replace("_", " ") for name in counts["flag"]])
    axes.bar_label(axes.containers[0], fmt="{:,.0f}", padding=2, fontsize=6)
    axes.set(xlabel="Participants", title="Flags raised", ylim=(-0.6, len(counts) - 0.4))
    axes.set_xlim(0, counts["n"].max() * 1.15)
    used = [name for name in SEVERITY if name in set(counts["severity"])]
    handles = [axes.barh([0], [0], color=SEVERITY[name])[0] for name in used]
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    # below the axes: bars of any length stay free
    axes.legend(
        handles,
        [name.replace("_", " ") for name in used],
        loc="upper center",
        bbox_to_anchor=(0.4, -0.12),
        ncols=len(used),
        handlelength=1.2,
        columnspacing=1.2,
    )


def _shares(axes, shares):
    """Flagged share with its interval, by group."""
    labels, place = [], 0.0
    whole = shares.loc[shares["group"] == "all", "flagged_percent"]
    if len(whole) and np.isfinite(whole.iloc[0]):
        axes.axvline(whole.iloc[0], color=style.GREY, linewidth=0.6, linestyle=":")
    for group in GROUPS:
        rows = shares[(shares["group"] == group) & shares["flagged_percent"].notna()]
        for row in rows.itertuples():
            axes.plot([row.low, row.high], [place, place], color=style.GREY, linewidth=0.9)
            axes.plot(
                row.flagged_percent, place, "o", color=style.OKABE_ITO["blue"], markersize=3.2
            )
            if row.excluded:
                axes.plot(row.flagged_after_percent, place, "o", markersize=3.2,
                          markerfacecolor="white", markeredgecolor=style.OKABE_ITO["blue"],
                          markeredgewidth=0.8)  # fmt: skip
            level = LEVELS.get((group, row.level), row.level)
            labels.append((place, f"{level} (n = {row.participants:,})"))
            place += 1
        place += 0.7 if len(rows) else 0
    if labels:
        axes.set_yticks([at for at, _ in labels], [text for _, text in labels])
    axes.set_ylim(place, -1)
    axes.set_xlim(left=0)
    axes.set(xlabel="Flagged (%)", title="Flagged share, 95 % interval")


def _distributions(axes, cohort, excluded, sex):
    """Total volume of everyone and of those left."""
    values = cohort.loc[cohort["sex"] == sex, ["eid", "instance", "total_ml"]].dropna()
    gone = set(zip(excluded["eid"], excluded["instance"], strict=True))
    out = np.array(
        [key in gone for key in zip(values["eid"], values["instance"], strict=True)], bool
    )
    totals = values["total_ml"].to_numpy(float)
    if len(totals):
        bins = np.histogram_bin_edges(totals, bins=min(40, max(8, int(np.sqrt(len(totals))))))
        axes.hist(totals, bins, color="#D0D0D0", label=f"everyone, n = {len(totals):,}")
        axes.hist(totals[~out], bins, histtype="step", color=style.SEX[sex], linewidth=1.0,
                  label=f"after exclusion, n = {int((~out).sum()):,}")  # fmt: skip
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
        axes.legend(loc="upper right")
    axes.set(xlabel="Total volume (ml)", ylabel="Participants", title=style.SEX_NAME[sex])
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))


@style.styled
def quality(cohort, flags, shares, excluded):
    """The quality report's figure.

    Parameters
    ----------
    cohort : DataFrame
        From `qc.evidence.cohort`: eid, instance, sex, total_ml.
    flags, shares, excluded : DataFrame
        results/qc/flags.tsv; from `qc.report.shares`; eid and instance of the excluded.

    Returns
    -------
    Figure
        (a) flags raised by severity, (b) flagged share by site, scanner, sex, age and visit
        (filled: all; open: after exclusion, where it differs), (c, d) total volume before and
        after exclusion.
    """
    drawing = style.figure(style.DOUBLE_MM, 150)
    panels = drawing.subplot_mosaic([["a", "b"], ["c", "d"]], height_ratios=[1.7, 1])
    _counts(panels["a"], flags)
    _shares(panels["b"], shares)
    for panel, sex in (("c", "female"), ("d", "male")):
        _distributions(panels[panel], cohort, excluded, sex)
    for name, axes in panels.items():
        style.letter(axes, name)
    return drawing
