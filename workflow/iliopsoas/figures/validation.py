"""Figure 2 (agreement with manual annotation) and Figure S2 (cross-validation)."""

import numpy as np
from matplotlib.colors import to_rgb

from iliopsoas.figures import style
from iliopsoas.statistics import formats
from iliopsoas.statistics.agreement import bland_altman, differences
from iliopsoas.statistics.cohort import CONFIGURED_FOLD
from iliopsoas.statistics.repeat import both_methods

FEWEST = 10  # pairs from which the limits' intervals are narrow enough to show


def draw_bland_altman(
    axes, a, b, percent=True, unit="%", what=f"Network {formats.MINUS} manual", color=None
):
    """Differences against means with bias, limits and their intervals; n in the title.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        Volumes in ml of two methods or visits.
    color : colour or sequence of n colours, optional
        Of the points.
    """
    used, mean, difference = differences(a, b, percent)
    if color is not None and not isinstance(color, str):
        color = np.asarray(color)[used]
    axes.scatter(
        mean,
        difference,
        s=8 if len(mean) < 300 else 2,
        color=style.GREY if color is None else color,
        alpha=0.7 if len(mean) < 300 else 0.25,
        lw=0,
        rasterized=len(mean) > 3000,
    )
    axes.set(xlabel="Mean of both (ml)", ylabel=f"{what} ({unit})", title=f"n = {len(mean):,}")
    result = bland_altman(a, b, percent)
    if not np.isfinite(result["bias"]):
        axes.set_title(result["note"], color=style.GREY)
        return
    for name, label in (("upper", "upper limit"), ("bias", "bias"), ("lower", "lower limit")):
        value = result[name]
        if result["n"] >= FEWEST:
            axes.axhspan(
                result[f"{name}_low"], result[f"{name}_high"], color="black", alpha=0.08, lw=0
            )
        axes.axhline(value, color="black", lw=0.9, ls="-" if name == "bias" else (0, (1, 1)))
        axes.annotate(
            f"{label}\n{formats.number(value)} {unit}",
            (1, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=6,
        )
    axes.axhline(0, color=style.GREY, lw=0.4)
    ends = ("lower_low", "upper_high") if result["n"] >= FEWEST else ("lower", "upper")
    low, high = min(difference.min(), result[ends[0]]), max(difference.max(), result[ends[1]])
    pad = 0.08 * (high - low) or 1
    axes.set_ylim(low - pad, high + pad)


def totals(folds):
    """Network's and manual total volume of each participant, both sides known."""
    both = [table.sum(axis=1, skipna=False) for table in both_methods(folds)]
    known = both[0].notna() & both[1].notna()
    return both[0][known].to_numpy(), both[1][known].to_numpy()


def overlay(image, manual, automatic) -> np.ndarray:
    """Colours of manual only, network only and both over a grey image.

    Parameters
    ----------
    image : ndarray, shape (rows, columns)
        Intensities from 0; shown up to their 99.5th percentile.
    manual, automatic : ndarray of bool, shape (rows, columns)

    Returns
    -------
    ndarray, shape (rows, columns, 3)
    """
    from iliopsoas.figures.images import grey

    picture = np.repeat(grey(image)[..., None], 3, axis=2)
    manual, automatic = np.asarray(manual, bool), np.asarray(automatic, bool)
    parts = {
        style.MANUAL: manual & ~automatic,
        style.AUTOMATIC: automatic & ~manual,
        style.BOTH: manual & automatic,
    }
    for colour, where in parts.items():
        picture[where] = 0.45 * picture[where] + 0.55 * np.array(to_rgb(colour))
    return picture


@style.styled
def figure2(folds, examples=()):
    """Bland-Altman plot of the cross-validation, and overlays of examples (Figure 2).

    Parameters
    ----------
    folds : DataFrame
        As results/model/cross_validation.tsv.
    examples : sequence of dict
        Up to two: ``image``, ``manual``, ``automatic`` (2-D arrays, rows from head to
        feet, columns from the image's left), ``dice`` (dict of side to number), ``aspect``
        (row height over column width).
    """
    a, b = totals(folds)
    examples = list(examples)[:2]
    if not len(a):
        return style.empty("The cross-validation has no pair of volumes.")
    if not examples:
        drawing = style.figure(style.SINGLE_MM * 1.25, 72)
        draw_bland_altman(drawing.subplots(), a, b)
        return drawing
    drawing = style.figure(style.DOUBLE_MM, 78)
    axes = drawing.subplots(1, 1 + len(examples), width_ratios=[2.1] + [1] * len(examples))
    draw_bland_altman(axes[0], a, b)
    style.letter(axes[0], "a")
    for name, panel, example in zip("bc", axes[1:], examples, strict=False):
        panel.imshow(
            overlay(example["image"], example["manual"], example["automatic"]),
            aspect=example.get("aspect", 1.0),
            interpolation="nearest",
        )
        panel.set_axis_off()
        dice = ", ".join(f"{s} {v:.2f}" for s, v in example.get("dice", {}).items())
        panel.set_title(f"Dice: {dice}" if dice else "", fontsize=6.5)
        style.letter(panel, name)
    colours = {style.MANUAL: "manual only", style.AUTOMATIC: "network only", style.BOTH: "both"}
    handles = [_patch(colour, label) for colour, label in colours.items()]
    drawing.legend(handles=handles, loc="outside lower right", ncols=3)
    return drawing


def _patch(colour, label):
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


@style.styled
def figure_s2(folds):
    """The cross-validation in detail (Figure S2): Dice by fold and size, volumes of both methods.

    Parameters
    ----------
    folds : DataFrame
        As results/model/cross_validation.tsv.
    """
    known = folds.dropna(subset=["dice"])
    if known.empty:
        return style.empty("The cross-validation has no Dice coefficient.")
    drawing = style.figure(style.DOUBLE_MM, 68)
    by_fold, volumes, by_size = drawing.subplots(1, 3, width_ratios=(1.25, 1, 1))
    names = sorted(known["fold"].unique())
    rng = np.random.default_rng(0)
    for position, fold in enumerate(names):
        for side, shift in (("left", -0.18), ("right", 0.18)):
            values = known.loc[(known["fold"] == fold) & (known["side"] == side), "dice"]
            spread = rng.uniform(-0.1, 0.1, len(values))
            label = side if position == 0 else None
            by_fold.scatter(
                position + shift + spread,
                values,
                s=6,
                lw=0,
                alpha=0.75,
                color=style.SIDE[side],
                label=label,
            )
        mean = known.loc[known["fold"] == fold, "dice"].mean()
        by_fold.plot([position - 0.36, position + 0.36], [mean, mean], color="black", lw=1)
    fold_means = known.groupby("fold")["dice"].mean()
    by_fold.set(xticks=range(len(names)), xticklabels=names, xlabel="Fold", ylabel="Dice")
    title = f"Mean of folds {fold_means.mean():.4f}"
    if len(names) > 1:
        title += f" ± {fold_means.std():.4f}"
    elif names[0] == CONFIGURED_FOLD:
        title = f"Mean {fold_means.iloc[0]:.4f}"
        by_fold.set(xticks=[], xlabel="Weights from elsewhere")
    by_fold.set_title(title)
    drawing.legend(
        *by_fold.get_legend_handles_labels(), loc="outside upper right", ncols=2, handletextpad=0.1
    )
    ends = known[["manual_ml", "automatic_ml"]].to_numpy(float)
    low, high = np.nanmin(ends), np.nanmax(ends)
    pad = 0.04 * (high - low) or 1
    volumes.plot([low - pad, high + pad], [low - pad, high + pad], color=style.GREY, lw=0.6)
    for side in ("left", "right"):
        part = known[known["side"] == side]
        volumes.scatter(
            part["manual_ml"], part["automatic_ml"], s=6, lw=0, alpha=0.75, color=style.SIDE[side]
        )
        by_size.scatter(
            part["manual_ml"], part["dice"], s=6, lw=0, alpha=0.75, color=style.SIDE[side]
        )
    volumes.set(
        xlabel="Manual volume (ml)",
        ylabel="Network volume (ml)",
        xlim=(low - pad, high + pad),
        ylim=(low - pad, high + pad),
    )
    by_size.set(xlabel="Manual volume (ml)", ylabel="Dice")
    for panel, name in zip((by_fold, volumes, by_size), "abc", strict=True):
        style.letter(panel, name)
    return drawing
