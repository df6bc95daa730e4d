"""All statistics of a run: tables in, tables and report pages out."""

import inspect
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from iliopsoas import machine, tables
from iliopsoas.files import write_text, write_tsv
from iliopsoas.statistics import associations, centiles, cohort, formats, repeat, trend


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
    profiles: pd.DataFrame | None = None,
    quality: pd.DataFrame | None = None,
    methods: pd.DataFrame | None = None,
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
    profiles : DataFrame, optional
        As results/shards/profiles.tsv; without it ``slices`` says so.
    quality : DataFrame, optional
        As results/qc/quality.tsv: predicted errors, for weights.
    methods : DataFrame, optional
        As results/shards/<shard>/methods.tsv: overlap of the masks of `others`.

    Returns
    -------
    dict of DataFrame
        Every table of `iliopsoas/tables/statistics.yaml`, by name; where its input is absent,
        without rows, or with one that says why, and no paper_comparison without `paper`.

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
    given = asdict(options) | {
        "volumes": volumes,
        "sample": sample,
        "everyone": everyone,
        "table": main,
        "curves": curves,
        "pairs": pairs,
        "both": both,
        "diagnoses": diagnosed,
        "folds": folds,
        "flags": flags,
        "paper": paper,
        "others": others,
        "profiles": profiles,
        "quality": quality,
        "methods": methods,
        "reference": centiles.reference(main),
        "x": options.age_column,
        "severities": options.flag_severities,
    }
    found = {}
    for declared in tables.area("statistics"):
        made = _call(declared.make, given | {"found": found})
        if made is not None:
            found[declared.name] = made
    return found


def _call(reference: str, given: dict):
    """Call a statistic with those of `given` that its parameters name."""
    function = tables.load(reference)
    return function(**{n: given[n] for n in inspect.signature(function).parameters if n in given})


def write(found: dict, folder, options: Options | None = None) -> None:
    """Write each table as <name>.tsv, and those that are pages also as <name>.html."""
    folder, options = Path(folder), options or Options()
    steps = found["flow"].set_index("step")["n"]
    for declared in tables.area("statistics"):
        if declared.name not in found:
            continue
        table = found[declared.name]
        tables.check(declared.path, table.columns)
        write_tsv(folder / f"{declared.name}.tsv", table)
        if declared.page:
            caption = declared.page.format(n=steps["analysed"], min_cell=options.min_cell)
            text = tables.load(declared.formatted)(table) if declared.formatted else table
            write_text(folder / f"{declared.name}.html", formats.to_html(text, caption))


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
    profiles: pd.DataFrame | None = None,
    quality: pd.DataFrame | None = None,
    methods: pd.DataFrame | None = None,
) -> dict[str, pd.DataFrame]:
    """`compute`, then `write` into `folder`; the tables come back."""
    found = compute(
        volumes, sample, diagnosed, folds, flags, options, paper, others, profiles, quality, methods
    )
    write(found, folder, options)
    return found
