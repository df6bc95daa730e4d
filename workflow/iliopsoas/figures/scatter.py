"""Figures 4 to 7: differences of the sides, and volume against height, BMI and age."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Patch

from iliopsoas.figures import style
from iliopsoas.statistics import formats

BREAK = {"color": "black", "alpha": 0.07, "lw": 0}  # where the slope changes
CROWDED = 3000  # points in a panel from which counts are shown instead


def _rows(table, sex, *columns):
    part = table.loc[table["sex"] == sex, list(columns)].dropna()
    return [part[column].to_numpy(float) for column in columns]


def points(axes, x, y, sex, limits):
    """Points, or hexagons coloured by their count where points would hide each other.

    Parameters
    ----------
    limits : tuple
        (x low, x high, y low, y high): both panels share them, and so the hexagons' size.

    Returns
    -------
    Hexagons' collection for a colour bar, or None.
    """
    axes.set(xlim=limits[:2], ylim=limits[2:])
    if len(x) <= CROWDED:
        size = 6 if len(x) < 200 else 3
        axes.scatter(
            x, y, s=size, color=style.SEX[sex], alpha=0.45 if len(x) < 500 else 0.3, linewidths=0
        )
        return None
    return axes.hexbin(
        x,
        y,
        gridsize=(45, 32),
        extent=limits,
        mincnt=1,
        linewidths=0.1,
        cmap=style.counts(sex),
        norm=LogNorm(),
    )


def _limits(*arrays, margin=0.04):
    values = np.concatenate([a for a in arrays if len(a)]) if any(map(len, arrays)) else np.zeros(0)
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = margin * (high - low) or 1.0
    return low - pad, high + pad


def _two_panels(table, x, y, xlabel, ylabel, height_mm=72):
    drawing = style.figure(style.DOUBLE_MM, height_mm)
    axes = drawing.subplots(1, 2, sharex=True, sharey=True)
    data = {sex: _rows(table, sex, x, y) for sex in style.SEX}
    limits = (*_limits(*(d[0] for d in data.values())), *_limits(*(d[1] for d in data.values())))
    for panel, (sex, (a, b)) in zip(axes, data.items(), strict=True):
        hexagons = points(panel, a, b, sex, limits)
        if hexagons is not None:
            style.counts_bar(drawing, hexagons, panel)
        panel.set(xlabel=xlabel, title=f"{style.SEX_NAME[sex]} (n = {len(a):,})")
    axes[0].set_ylabel(ylabel)
    return drawing, axes, data


def correlation_label(panel, correlations, x, sex):
    """Write rho with its interval and p into a panel, where they are known."""
    rows = correlations[(correlations["x"] == x) & (correlations["sex"] == sex)]
    if len(rows) and np.isfinite(rows["rho"].iloc[0]):
        row = rows.iloc[0]
        text = f"$\\rho$ = {formats.interval(row['rho'], row['rho_low'], row['rho_high'])}"
        text += f"\n{formats.p_equals(row['p'])}"
        panel.text(
            0.03,
            0.97,
            text,
            transform=panel.transAxes,
            va="top",
            fontsize=6.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
        )


@style.styled
def figure4(table, asymmetry):
    """Left - right volume difference by sex (Figure 4): histograms, means, their intervals.

    The axis spans six robust standard deviations; who lies beyond is counted at its end.

    Parameters
    ----------
    table : DataFrame
        One row per participant: sex, difference_ml.
    asymmetry : DataFrame
        statistics.associations.asymmetry of it.
    """
    data = {sex: _rows(table, sex, "difference_ml")[0] for sex in style.SEX}
    if not any(map(len, data.values())):
        return style.empty("No participant has both volumes.")
    drawing = style.figure(style.DOUBLE_MM, 68)
    axes = drawing.subplots(1, 2, sharex=True, sharey=True)
    reach = max(_reach(values) for values in data.values() if len(values)) or 1.0
    width = max(2.0, 2 * reach / 60) if max(map(len, data.values())) > 200 else 2 * reach / 16
    edges = width * np.arange(-np.ceil(reach / width), np.ceil(reach / width) + 1)
    for panel, (sex, values) in zip(axes, data.items(), strict=True):
        if len(values):
            share = np.full(len(values), 100 / len(values))
            panel.hist(values, edges, weights=share, color=style.SEX[sex], alpha=0.75, lw=0)
        panel.axvline(0, color="black", lw=0.6)
        row = asymmetry[asymmetry["sex"] == sex].iloc[0]
        if np.isfinite(row["difference_ml"]):
            panel.axvline(row["difference_ml"], color="black", lw=1, ls=(0, (1, 1)))
            panel.axvspan(
                row["difference_ml_low"], row["difference_ml_high"], color="black", alpha=0.2, lw=0
            )
            text = (
                f"mean [95 % interval]\n{_with_interval(row, 'difference_ml')} ml\n"
                f"{_with_interval(row, 'difference_percent')} %\n{formats.p_equals(row['p'])}"
            )
            panel.text(
                0.98, 0.97, text, transform=panel.transAxes, ha="right", va="top", fontsize=6.5
            )
        panel.set(
            xlabel=f"Left {formats.MINUS} right volume (ml)",
            xlim=(-reach * 1.04, reach * 1.04),
        )
        panel.set_title(f"{style.SEX_NAME[sex]} (n = {len(values):,})", pad=14)
        below, above = int((values < edges[0]).sum()), int((values > edges[-1]).sum())
        for edge, align, words in (
            (0.0, "left", "\u25c2 right larger" + (f", {below} beyond" if below else "")),
            (1.0, "right", (f"{above} beyond, " if above else "") + "left larger \u25b8"),
        ):
            panel.text(
                edge,
                1.0,
                words,
                transform=panel.transAxes,
                ha=align,
                va="bottom",
                fontsize=6,
                color=style.GREY,
            )
    axes[0].set_ylabel("Participants (%)")
    return drawing


def _reach(values) -> float:
    """How far from 0 the axis of differences goes: six robust SDs, not to single extremes."""
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    furthest = np.abs(values).max()
    return min(furthest, abs(middle) + 6 * spread) if spread else furthest


def _with_interval(row, name):
    return formats.interval(row[name], row[f"{name}_low"], row[f"{name}_high"], 1)


@style.styled
def figure5(table, correlations):
    """Total volume against height by sex (Figure 5)."""
    drawing, axes, _ = _two_panels(
        table, "height_cm", "total_ml", "Height (cm)", "Total iliopsoas volume (ml)"
    )
    for panel, sex in zip(axes, style.SEX, strict=True):
        correlation_label(panel, correlations, "height_cm", sex)
    return drawing


@style.styled
def figure6(table, correlations):
    """Iliopsoas muscle index against BMI by sex (Figure 6)."""
    drawing, axes, _ = _two_panels(
        table, "bmi", "imi_ml_m2", "BMI (kg/m²)", "Iliopsoas muscle index (ml/m²)"
    )
    for panel, sex in zip(axes, style.SEX, strict=True):
        correlation_label(panel, correlations, "bmi", sex)
    return drawing


@style.styled
def figure7(
    table,
    curve,
    acceleration,
    correlations,
    age="age",
    label="Age at imaging (years)",
    seed=2020,
):
    """Muscle index against age with the fitted curves, and the curves' slopes (Figure 7).

    Parameters
    ----------
    table : DataFrame
        One row per participant.
    curve, acceleration : DataFrame
        From statistics.trend.
    correlations : DataFrame
        statistics.associations.correlations, for rho and p.
    age, label : str
        Column of age, and its axis label.
    seed : int
        Where ages are whole years, points are spread over the year for the eye, and the figure
        says so.
    """
    data = {sex: _rows(table, sex, age, "imi_ml_m2") for sex in style.SEX}
    rng = np.random.default_rng(seed)
    drawing = style.figure(style.DOUBLE_MM, 118)
    axes = drawing.subplots(2, 2, sharex=True, sharey="row", height_ratios=(1.6, 1))
    limits = [*_limits(*(d[0] for d in data.values())), *_limits(*(d[1] for d in data.values()))]
    limits[3] += 0.22 * (limits[3] - limits[2])  # room for the text
    spread = broken = False
    for column, (sex, (x, y)) in enumerate(data.items()):
        upper, lower = axes[:, column]
        whole = len(x) > 0 and np.all(x == np.round(x))
        jittered = whole and len(x) <= CROWDED
        spread |= jittered
        shown = x + rng.uniform(-0.4, 0.4, len(x)) if jittered else x
        if whole and len(x) > CROWDED:
            _years(drawing, upper, x, y, sex, limits)
        else:
            hexagons = points(upper, shown, y, sex, limits)
            if hexagons is not None:
                style.counts_bar(drawing, hexagons, upper)
        upper.set_title(f"{style.SEX_NAME[sex]} (n = {len(x):,})")
        correlation_label(upper, correlations, age, sex)
        part = curve[curve["sex"] == sex]
        lower.axhline(0, color="black", lw=0.6)
        lower.set_xlabel(label)
        if not len(part):
            upper.text(
                0.5,
                0.9,
                "too few ages for a curve",
                transform=upper.transAxes,
                ha="center",
                color=style.GREY,
            )
            continue
        upper.fill_between(
            part["x"], part["fit_low"], part["fit_high"], color="black", alpha=0.25, lw=0
        )
        upper.plot(part["x"], part["fit"], color="black", lw=1.4)
        lower.fill_between(
            part["x"],
            part["slope_all_low"],
            part["slope_all_high"],
            color=style.SEX[sex],
            alpha=0.2,
            lw=0,
        )
        lower.fill_between(
            part["x"],
            part["slope_low"],
            part["slope_high"],
            color=style.SEX[sex],
            alpha=0.35,
            lw=0,
        )
        lower.plot(part["x"], part["slope"], color=style.SEX[sex])
        row = acceleration[acceleration["sex"] == sex].iloc[0]
        if str(row["accelerates"]) == "True":
            broken = True
            for panel, top in ((upper, 0.82), (lower, 1)):
                panel.axvspan(row["break_low"], row["break_high"], ymax=top, **BREAK)
                panel.axvline(row["break_x"], ymax=top, color="black", lw=0.8, ls=(0, (4, 2)))
        if np.isfinite(row["p"]):
            text = "No steepening found"
            if str(row["accelerates"]) == "True":
                found = formats.interval(row["break_x"], row["break_low"], row["break_high"], 1)
                text = f"Steeper from age {found}"
            lower.set_title(f"{text}, {formats.p_equals(row['p'])}", fontsize=6.5)
    axes[0, 0].set_ylabel("Iliopsoas muscle index (ml/m²)")
    shades = {"95 % band, each age": 0.48, "95 % band, whole curve": 0.2}  # the inner lies on both
    handles = [Patch(color="black", alpha=a, lw=0, label=label) for label, a in shades.items()]
    if broken:
        handles.append(Patch(**BREAK, label="95 % interval of the age of the change"))
    if spread:
        grey = style.dot(style.GREY, "points spread at random within their year")
        handles.append(grey)
    drawing.legend(handles=handles, loc="outside lower right", ncols=2)
    axes[1, 0].set_ylabel("Slope (ml/m² per year)")
    return drawing


def _years(drawing, panel, x, y, sex, limits):
    """Counts in cells one year wide: whole ages would stripe hexagons."""
    ages = np.arange(x.min() - 0.5, x.max() + 1)
    height = np.linspace(limits[2], limits[3], 45)
    counts, _, _ = np.histogram2d(x, y, (ages, height))
    mesh = panel.pcolormesh(
        ages,
        height,
        np.ma.masked_less(counts.T, 1),
        rasterized=True,
        cmap=style.counts(sex),
        norm=LogNorm(),
    )
    panel.set(xlim=limits[:2], ylim=limits[2:])
    style.counts_bar(drawing, mesh, panel)
