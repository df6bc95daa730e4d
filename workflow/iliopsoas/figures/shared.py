"""Figures 4 to 7 as they may leave a secure environment: no point, no extreme, no small cell."""

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from iliopsoas.figures import style
from iliopsoas.figures.scatter import correlation_label
from iliopsoas.statistics import formats
from iliopsoas.statistics.disclosure import suppress_partition

# cell width and height of the densities, in the axes' units; round, so that they tell no extreme
CELLS = {"height_cm": 2.0, "bmi": 1.0, "age": 2.0, "total_ml": 25.0, "imi_ml_m2": 8.0}
BIN_ML = 4.0


def density(x, y, width: float, height: float, minimum: int):
    """Counts of participants on a grid of round edges, small counts withheld.

    Parameters
    ----------
    x, y : array_like
    width, height : float
        Of a cell.
    minimum : int
        Cells with fewer participants are withheld; where only one cell or fewer than `minimum`
        participants would be, the smallest shown cell is too.

    Returns
    -------
    DataFrame
        x, y (lower edges) and n of the cells that are shown.
    """
    cells = pd.DataFrame({"x": np.floor(x / width) * width, "y": np.floor(y / height) * height})
    counts = cells.value_counts().rename("n").reset_index()
    counts["n"] = withhold(counts["n"], minimum)
    return counts.dropna().sort_values(["x", "y"], ignore_index=True)


def withhold(counts: pd.Series, minimum: int) -> pd.Series:
    """A partition's counts with the small ones withheld, and never few people in all of them."""
    shown = suppress_partition(counts, minimum)
    while 0 < counts[shown.isna()].sum() < minimum and shown.notna().any():
        shown = shown.copy()
        shown[shown.idxmin()] = np.nan
    return shown


def _two_panels(table, x, y, xlabel, ylabel, minimum):
    drawing = style.figure(style.DOUBLE_MM, 72)
    axes = drawing.subplots(1, 2, sharex=True, sharey=True)
    _densities(drawing, axes, table, x, y, minimum)
    for panel in axes:
        panel.set_xlabel(xlabel)
    axes[0].set_ylabel(ylabel)
    return drawing, axes


def _densities(drawing, axes, table, x, y, minimum):
    width, height = CELLS.get(x, 2.0), CELLS[y]
    found, people = {}, {}
    for sex in style.SEX:
        rows = table.loc[table["sex"] == sex, [x, y]].dropna()
        people[sex] = len(rows)
        found[sex] = density(
            rows[x].to_numpy(float), rows[y].to_numpy(float), width, height, minimum
        )
    every = pd.concat(found.values())
    for panel, (sex, cells) in zip(axes, found.items(), strict=True):
        n = people[sex]
        # short of everybody, it would tell how many few have no value
        told = n >= minimum and n == (table["sex"] == sex).sum()
        panel.set_title(f"{style.SEX_NAME[sex]} (n = {n:,})" if told else style.SEX_NAME[sex])
        if every.empty:
            panel.set(xticks=[], yticks=[])
        else:
            panel.set_xlim(every["x"].min(), every["x"].max() + width)
            panel.set_ylim(every["y"].min(), every["y"].max() + height)
        if cells.empty:
            text = f"every cell has fewer than {minimum} participants"
            panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", color=style.GREY)
            continue
        columns = np.arange(cells["x"].min(), cells["x"].max() + 1.5 * width, width)
        rows = np.arange(cells["y"].min(), cells["y"].max() + 1.5 * height, height)
        grid = np.full((len(rows) - 1, len(columns) - 1), np.nan)
        at = np.rint((cells["y"] - rows[0]) / height), np.rint((cells["x"] - columns[0]) / width)
        grid[at[0].astype(int), at[1].astype(int)] = cells["n"]
        mesh = panel.pcolormesh(
            columns, rows, np.ma.masked_invalid(grid), cmap=style.counts(sex), lw=0
        )
        mesh.set_clim(minimum, max(np.nanmax(grid), minimum + 1))
        bar = drawing.colorbar(mesh, ax=panel, pad=0.01, aspect=30)
        bar.set_label(f"Participants (cells of {minimum} or more)")
        bar.outline.set_visible(False)
    return found


@style.styled
def figure4(table, asymmetry, minimum: int = 5):
    """Left - right difference by sex: histograms without small bins (Figure 4).

    Parameters
    ----------
    table : DataFrame
        One row per participant: sex, difference_ml.
    asymmetry : DataFrame
        As it may leave; a mean that is withheld there is not drawn.
    minimum : int
        Bins of fewer participants are not shown.
    """
    drawing = style.figure(style.DOUBLE_MM, 68)
    axes = drawing.subplots(1, 2, sharex=True, sharey=True)
    for panel, sex in zip(axes, style.SEX, strict=True):
        values = table.loc[table["sex"] == sex, "difference_ml"].dropna().to_numpy(float)
        counts = pd.Series(np.floor(values / BIN_ML) * BIN_ML).value_counts().sort_index()
        shown = withhold(counts, minimum).dropna()
        name = style.SEX_NAME[sex]
        panel.set_title(f"{name} (n = {len(values):,})" if len(values) >= minimum else name)
        panel.bar(shown.index, shown, BIN_ML, align="edge", color=style.SEX[sex], alpha=0.75, lw=0)
        if shown.empty:
            text = f"every bin has fewer than {minimum} participants"
            panel.text(0.5, 0.5, text, transform=panel.transAxes, ha="center", color=style.GREY)
        else:
            panel.axvline(0, color="black", lw=0.6)
        row = asymmetry[asymmetry["sex"] == sex].iloc[0]
        if np.isfinite(row["difference_ml"]) and not shown.empty:
            panel.axvline(row["difference_ml"], color="black", lw=1, ls=(0, (1, 1)))
            ends = [row[f"difference_ml_{end}"] for end in ("low", "high")]
            if np.isfinite(ends).all():
                panel.axvspan(*ends, color="black", alpha=0.2, lw=0)
            mean = formats.interval(row["difference_ml"], *ends, 1)
            text = f"mean [95 % interval]\n{mean} ml\n{formats.p_equals(row['p'])}"
            panel.text(
                0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=6.5
            )
        panel.set_xlabel(f"Left {formats.MINUS} right volume (ml)")
    if not any(panel.patches for panel in axes):
        axes[0].set(xticks=[], yticks=[])
    axes[0].set_ylabel(f"Participants (bins of {minimum} or more)")
    return drawing


@style.styled
def figure5(table, correlations, minimum: int = 5):
    """Total volume against height by sex, as counts in cells (Figure 5)."""
    drawing, axes = _two_panels(
        table, "height_cm", "total_ml", "Height (cm)", "Total iliopsoas volume (ml)", minimum
    )
    for panel, sex in zip(axes, style.SEX, strict=True):
        correlation_label(panel, correlations, "height_cm", sex)
    return drawing


@style.styled
def figure6(table, correlations, minimum: int = 5):
    """Iliopsoas muscle index against BMI by sex, as counts in cells (Figure 6)."""
    drawing, axes = _two_panels(
        table, "bmi", "imi_ml_m2", "BMI (kg/m²)", "Iliopsoas muscle index (ml/m²)", minimum
    )
    for panel, sex in zip(axes, style.SEX, strict=True):
        correlation_label(panel, correlations, "bmi", sex)
    return drawing


@style.styled
def figure7(
    table, curve, minimum: int = 5, age="age", label="Age at imaging (years)", correlations=None
):
    """Muscle index against age as counts in cells, with the fitted curves (Figure 7).

    Parameters
    ----------
    curve : DataFrame
        As it may leave: without the ages of the youngest and oldest.
    correlations : DataFrame, optional
        As it may leave, for rho and p.
    """
    drawing, axes = _two_panels(
        table, age, "imi_ml_m2", label, "Iliopsoas muscle index (ml/m²)", minimum
    )
    for panel, sex in zip(axes, style.SEX, strict=True):
        if correlations is not None:
            correlation_label(panel, correlations, age, sex)
        part = curve[curve["sex"] == sex].astype({"x": float})
        if part.empty:
            continue
        panel.fill_between(
            part["x"], part["fit_low"], part["fit_high"], color="black", alpha=0.25, lw=0
        )
        panel.plot(part["x"], part["fit"], color="black", lw=1.4)
    band = Patch(color="black", alpha=0.25, lw=0, label="fitted curve, 95 % band at each age")
    drawing.legend(handles=[band], loc="outside lower right")
    return drawing
