"""All statistics of a run: tables in, tables and report pages out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from iliopsoas import machine
from iliopsoas.files import write_text, write_tsv
from iliopsoas.statistics import (
    associations,
    cohort,
    comparison,
    diagnoses,
    formats,
    repeat,
    sensitivity,
    tables,
    trend,
)


@dataclass(frozen=True)
class Options:
    """Choices of the statistics; the paper's, where it states them.

    Attributes
    ----------
    instance, repeat_instance : int
        Visit of the main statistics, and the repeat visit.
    min_cell : int
        Counts below this are withheld from shared tables.
    basis : int
        Size of the spline basis of IMI by age.
    age_column : str
        Column of sample.tsv that the correlation and curve use as age: ``age`` (at imaging)
        or ``age_at_recruitment``, as the paper's figure 7 says.
    alpha : float
        Level below which a p is called significant.
    flag_severities : sequence of str, optional
        QC severities that the sensitivity analysis leaves out; None: every flag.
    seed : int
        Of Shapiro-Wilk's subsample above 5,000.
    """

    instance: int = 2
    repeat_instance: int = 3
    min_cell: int = 5
    basis: int = 10
    age_column: str = "age"
    alpha: float = 0.05
    flag_severities: tuple[str, ...] | None = ("serious", "review")
    seed: int = 2020


CAPTIONS = {
    "table1": "Table 1. Demographics of the {n:,} participants. Counts with percent of the whole "
    "cohort, both sexes together; mean ± standard deviation.",
    "table2": "Table 2. Iliopsoas muscle volumes of {n:,} participants. p: Wilcoxon rank-sum test "
    "of women against men (normal approximation, tie and continuity correction); q: "
    "Benjamini-Hochberg over the six tests; rank-biserial correlation, positive where women "
    "have more.",
    "table_s1": "Table S1. Participants with a diagnosis in each ICD-10 chapter and block (UK "
    "Biobank field 41270), with percent of their sex. Counts below {min_cell} are withheld, and "
    "totals that would reveal them.",
    "cross_validation": "Table S2. Cross-validation by fold: Dice coefficient over both muscles "
    "(mean ± standard deviation). Last row: mean and standard deviation of the folds' means.",
}
FORMATTERS = {
    "table1": tables.table1_formatted,
    "table2": tables.table2_formatted,
    "table_s1": diagnoses.table_s1_formatted,
    "cross_validation": tables.cross_validation_formatted,
}


@machine.one_thread()
def compute(
    volumes: pd.DataFrame,
    sample: pd.DataFrame,
    diagnosed: pd.DataFrame | None = None,
    folds: pd.DataFrame | None = None,
    flags: pd.DataFrame | None = None,
    options: Options | None = None,
    paper=None,
    others: dict[str, pd.DataFrame] | None = None,
) -> dict[str, pd.DataFrame]:
    """Every table of results/statistics, by name.

    Parameters
    ----------
    volumes, sample : DataFrame
        As results/volumes.tsv and results/cohort/sample.tsv.
    diagnosed : DataFrame, optional
        As results/cohort/diagnoses.tsv (eid, icd10).
    folds : DataFrame, optional
        As results/model/cross_validation.tsv.
    flags : DataFrame, optional
        As results/qc/flags.tsv.
    options : Options, optional
    paper : path or DataFrame, optional
        resources/paper.tsv; without it there is no paper_comparison.
    others : dict of DataFrame, optional
        Volumes of the same visits by other methods, by name; they join bland_altman.

    Returns
    -------
    dict of DataFrame
        flow, table1, table2, normality, correlations, sex_differences, asymmetry,
        handedness, gam, gam_curve, acceleration, repeat, bland_altman, sensitivity, table_s1,
        cross_validation (without rows, or with one that says why, where the input is
        absent), and paper_comparison where `paper` is given.

    Raises
    ------
    InputError
        A column is absent, or a visit appears twice.
    """
    options = options or Options()
    everyone = cohort.measured(volumes, sample)
    cohort.require(everyone, [options.age_column], "sample.tsv")
    main = cohort.main_visit(everyone, options.instance)
    curves = trend.fits(main, options.age_column, k=options.basis)
    pairs = [
        (name, options.age_column if x == "age" else x, y)
        for name, x, y in associations.CORRELATIONS
    ]
    both = repeat.pairs(everyone, options.instance, options.repeat_instance)
    found = {
        "flow": cohort.flow(volumes, sample, options.instance),
        "table1": tables.table1(main, options.min_cell),
        "table2": tables.table2(main),
        "normality": associations.normality(main, options.seed),
        "correlations": associations.correlations(main, pairs),
        "sex_differences": associations.sex_differences(main),
        "asymmetry": associations.asymmetry(main),
        "handedness": associations.handedness(main, options.min_cell),
        "gam": trend.summary(curves, options.age_column),
        "gam_curve": trend.curve_table(curves),
        "acceleration": trend.acceleration(main, curves, options.age_column, alpha=options.alpha),
        "repeat": repeat.repeat(both, options.min_cell),
        "bland_altman": repeat.bland_altman_table(
            repeat.comparisons(folds, both) + repeat.other_methods(volumes, others)
        ),
        "sensitivity": sensitivity.sensitivity(main, flags, options.flag_severities),
    }
    if diagnosed is None:
        diagnosed = pd.DataFrame({"eid": [], "icd10": []}, dtype=str)
    found["table_s1"] = diagnoses.table_s1(main, diagnosed, options.min_cell)
    found["cross_validation"] = tables.cross_validation(folds)
    if paper is not None:
        numbers = paper if isinstance(paper, pd.DataFrame) else comparison.read_paper(paper)
        run = comparison.run_values(found, main, folds, options.alpha)
        found["paper_comparison"] = comparison.paper_comparison(numbers, run)
    return found


def write(found: dict, folder, options: Options | None = None) -> None:
    """Write each table as <name>.tsv, and those of the paper also as <name>.html."""
    folder, options = Path(folder), options or Options()
    steps = found["flow"].set_index("step")["n"]
    for name, table in found.items():
        write_tsv(folder / f"{name}.tsv", table)
        if name in FORMATTERS:
            caption = CAPTIONS[name].format(n=steps["analysed"], min_cell=options.min_cell)
            page = formats.to_html(FORMATTERS[name](table), caption)
            write_text(folder / f"{name}.html", page)


def run_all(
    volumes,
    sample,
    diagnosed,
    folds,
    flags,
    folder,
    options: Options | None = None,
    paper=None,
    others: dict[str, pd.DataFrame] | None = None,
) -> dict[str, pd.DataFrame]:
    """`compute`, then `write` into `folder`; the tables come back."""
    found = compute(volumes, sample, diagnosed, folds, flags, options, paper, others)
    write(found, folder, options)
    return found
