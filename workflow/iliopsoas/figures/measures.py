"""Figures of what the volume stands for: one slice instead of it, and reference centiles."""

import numpy as np
from scipy import special

from iliopsoas.figures import style
from iliopsoas.statistics import centiles


@style.styled
def slices(table):
    """One cross-section for the volume: the profile, what it tells, and what a wrong level costs.

    Parameters
    ----------
    table : DataFrame
        statistics.slices.slices.

    Returns
    -------
    Figure
        Against the height above the femoral heads, by sex: a mean cross-section of both muscles
        with its SD, b r squared of cross-section and volume, c error of the predicted volume per
        cm. Dotted: the lumbar levels, where most people's lie.
    """
    rows = table[(table["axis"] == "mm") & table["r_squared"].notna()]
    if rows.empty:
        return style.empty("No profile along the muscle was measured in this run.")
    drawing = style.figure(style.DOUBLE_MM, 66)
    panels = drawing.subplots(1, 3, sharex=True)
    most = rows.groupby("sex")["n"].transform("max")
    rows = rows[rows["n"] >= most / 2]  # ends that half of the muscles do not reach
    for sex, part in rows.groupby("sex"):
        colour, name = style.SEX[sex], style.SEX_NAME[sex]
        height = part["level"].astype(float)
        area, sd = part["area_cm2"], part["area_cm2_sd"]
        panels[0].fill_between(height, area - sd, area + sd, color=colour, alpha=0.2, lw=0)
        panels[0].plot(
            height, area, color=colour, label=f"{name}, n up to {int(part['n'].max()):,}"
        )
        low, high = part["r_low"].clip(lower=0) ** 2, part["r_high"] ** 2
        panels[1].fill_between(height, low, high, color=colour, alpha=0.2, lw=0)
        panels[1].plot(height, part["r_squared"], color=colour)
        off = part["r_squared_misplaced"]
        panels[1].plot(height, off, color=colour, lw=0.8, ls=(0, (4, 2)))
        panels[2].plot(height, part["error_percent_per_cm"], color=colour)
    lumbar = table[(table["axis"] == "lumbar") & table["height_mm"].notna()]
    for level, part in lumbar.groupby("level"):
        if "/" in level:
            continue
        for panel in panels:
            panel.axvline(part["height_mm"].mean(), color="black", lw=0.6, ls=(0, (1, 2)))
        panels[1].annotate(
            level, (part["height_mm"].mean(), 1), xycoords=("data", "axes fraction"),
            xytext=(0, 1), textcoords="offset points", ha="center", va="bottom", fontsize=6,
        )  # fmt: skip
    error = float(rows["level_error_mm"].mean())
    for panel, letter, label in zip(
        panels,
        "abc",
        (
            "Cross-section (cm², mean ± SD)",
            "r² with the volume (95 % band)",
            "Error of the volume (% per cm)",
        ),
        strict=True,
    ):
        panel.set(xlabel="Height above the femoral heads (mm)", ylabel=label)
        panel.set_ylim(bottom=0)
        style.letter(panel, letter)
    handles, _ = panels[0].get_legend_handles_labels()
    if np.isfinite(error):
        handles.append(style.line("black", f"level off by {error:.0f} mm (SD)"))
    drawing.legend(handles=handles, loc="outside lower left", ncols=3)
    return drawing


@style.styled
def reference_centiles(curves, calibration):
    """Reference centiles by age and sex, and their calibration.

    Parameters
    ----------
    curves, calibration : DataFrame
        statistics.centiles.curves and calibration.

    Returns
    -------
    Figure
        Per measure: 3rd, 10th, 25th, 50th, 75th, 90th and 97th centile by age for women and men;
        below, how many participants of each band of age lie below each centile, less the centile.
    """
    known = curves[curves["c50"].notna()]
    shown = [name for name in centiles.MEASURES if (known["measure"] == name).any()]
    if not shown:
        return style.empty("Too few participants for centiles.")
    drawing = style.figure(style.DOUBLE_MM, 110)
    panels = drawing.subplots(2, len(shown), squeeze=False, height_ratios=(1.5, 1))
    for (upper, lower), name in zip(panels.T, shown, strict=True):
        label, unit = centiles.MEASURES[name]
        for sex in style.SEX:
            part = known[(known["measure"] == name) & (known["sex"] == sex)]
            if part.empty:
                continue
            for centile in (3, 10, 25, 50, 75, 90, 97):
                upper.plot(part["age"], part[f"c{centile}"], color=style.SEX[sex],
                           lw=1.4 if centile == 50 else 0.6)  # fmt: skip
                if centile in (3, 50, 97):
                    last = part.iloc[-1]
                    upper.annotate(
                        str(centile), (last["age"], last[f"c{centile}"]), xytext=(2, 0),
                        textcoords="offset points", va="center", fontsize=5,
                        color=style.SEX[sex],
                    )  # fmt: skip
            bands = calibration[(calibration["measure"] == name) & (calibration["sex"] == sex)]
            for age, band in bands.groupby("ages"):
                if age == "all":
                    continue
                place = special.ndtri(band["centile"].astype(float) / 100)
                lower.plot(place, band["below_percent"] - band["centile"], color=style.SEX[sex],
                           lw=0.7, marker="o", ms=1.6)  # fmt: skip
        upper.set(title=label, xlabel="Age (years)", ylabel=unit.replace("m2", "m²"))
        lower.axhline(0, color="black", lw=0.6)
        ticks = (3, 10, 25, 50, 75, 90, 97)
        lower.set_xticks(special.ndtri(np.array(ticks) / 100), [str(tick) for tick in ticks])
        lower.set(xlabel="Centile")
        reach = max(np.abs(lower.get_ylim()))
        lower.set_ylim(-max(reach, 2), max(reach, 2))
    panels[1, 0].set_ylabel("Below it, less the centile (points)")
    for panel, letter in zip(panels[:, 0], "ab", strict=True):
        style.letter(panel, letter)
    handles = [style.line(style.SEX[sex], style.SEX_NAME[sex].lower(), "-") for sex in style.SEX]
    handles.append(style.dot(style.GREY, "one band of age each (below 55, 55-64, 65-74, 75 on)"))
    drawing.legend(handles=handles, loc="outside lower right", ncols=3)
    return drawing
