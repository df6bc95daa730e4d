"""All statistical figures of a run."""

import pandas as pd

from iliopsoas.figures import against_paper, measures, scatter, style, validation
from iliopsoas.statistics import cohort, formats


def draw(tables: dict, main: pd.DataFrame, folds=None, examples=(), age_column="age") -> dict:
    """The figures that need tables only, by file name.

    Parameters
    ----------
    tables : dict of DataFrame
        From statistics.compute (or its TSVs read back).
    main : DataFrame
        One row per participant, from statistics.cohort.main_visit.
    folds : DataFrame, optional
        As results/model/cross_validation.tsv; without it figures 2 and S2 say so.
    examples : sequence of dict
        Overlays of figure 2, see `validation.figure2`.

    Returns
    -------
    dict of Figure
        figure2, figure4, figure5, figure6, figure7, figureS2 and, where the tables
        exist, slices, centiles, paper_comparison.
    """
    label = "Age at imaging (years)" if age_column == "age" else "Age at recruitment (years)"
    none = "There was no cross-validation in this run."
    if folds is not None and folds.empty:
        folds = None
    figures = {
        "figure2": style.empty(none) if folds is None else validation.figure2(folds, examples),
        "figure4": scatter.figure4(main, tables["asymmetry"]),
        "figure5": scatter.figure5(main, tables["correlations"]),
        "figure6": scatter.figure6(main, tables["correlations"]),
        "figure7": scatter.figure7(
            main,
            tables["gam_curve"],
            tables["acceleration"],
            tables["correlations"],
            age_column,
            label,
        ),
        "figureS2": style.empty(none) if folds is None else validation.figure_s2(folds),
    }
    if "slices" in tables:
        figures["slices"] = measures.slices(tables["slices"])
    if "centiles" in tables:
        figures["centiles"] = measures.reference_centiles(tables["centiles"], tables["calibration"])
    if "paper_comparison" in tables:
        figures["paper_comparison"] = against_paper.paper_comparison(tables["paper_comparison"])
    return figures


def draw_all(
    tables: dict,
    volumes: pd.DataFrame,
    sample: pd.DataFrame,
    folds=None,
    folder="results/figures",
    instance: int = 2,
    repeat_instance: int = 3,
    age_column: str = "age",
    dpi: int = style.DPI,
    examples=(),
) -> list:
    """Draw and write every statistical figure as <name>.png and <name>.svg.

    Parameters
    ----------
    tables : dict of DataFrame
        From statistics.compute.
    volumes, sample : DataFrame
        As results/volumes.tsv and results/cohort/sample.tsv.
    folder : path
        Where the figures are written.

    Returns
    -------
    list of Path
    """
    from iliopsoas.statistics import repeat

    everyone = cohort.measured(volumes, sample)
    main = cohort.main_visit(everyone, instance)
    figures = draw(tables, main, folds, examples, age_column)
    both = repeat.pairs(everyone, instance, repeat_instance)
    figures["repeat_visits"] = repeat_figure(both)
    paths = []
    for name, drawing in figures.items():
        paths += style.save(drawing, folder, name, dpi)
    return paths


@style.styled
def repeat_figure(both):
    """Second against first visit, as Bland-Altman plots in ml and percent, coloured by sex."""
    if len(both) < 3:
        return style.empty("Fewer than three participants have both visits.")
    drawing = style.figure(style.DOUBLE_MM, 72)
    for panel, percent in zip(drawing.subplots(1, 2), (False, True), strict=True):
        validation.draw_bland_altman(
            panel,
            both["total_ml_second"],
            both["total_ml_first"],
            percent,
            "%" if percent else "ml",
            f"Second {formats.MINUS} first visit",
            both["sex"].map(style.SEX),
        )
    present = [sex for sex in style.SEX if (both["sex"] == sex).any()]
    handles = [style.dot(style.SEX[sex], style.SEX_NAME[sex].lower()) for sex in present]
    drawing.legend(handles=handles, loc="outside upper right", ncols=2)
    return drawing
