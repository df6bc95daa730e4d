"""What may leave a secure environment: collected, made free of single people, searched."""

from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.egress import drawn, withholding
from iliopsoas.egress.collect import Leak, check, collect, release_all
from iliopsoas.privacy import Cohort
from iliopsoas.stages import analysis

__all__ = ["Leak", "check", "check_folder", "collect", "release_all", "run"]


def run(
    results,
    folder,
    *,
    tables=(),
    lists=(),
    minimum: int = 5,
    also=(),
    instance: int = 2,
    age_column: str = "age",
    dpi: int = 300,
    max_mb: float = 10.0,
) -> pd.DataFrame:
    """Collect what may leave of a finished run; see `collect`.

    Parameters
    ----------
    results, folder : path
    tables : list of path
        Phenotype tables: the ids of everyone in them are searched for.
    lists : list of path
        Lists of EIDs (withdrawals, exclusions), searched for as well.
    minimum : int
        Smallest count shown.
    also : sequence of str
        Patterns of further files.
    instance : int
        Imaging visit of the main statistics.
    age_column : str
        Column of ages in Figure 7.
    dpi, max_mb
        See `collect`.
    """
    results = Path(results)
    cohort = Cohort.read(results, tables, lists)
    volumes = analysis.accepted(
        files.read_tsv(results / "volumes.tsv"), files.read_tsv(results / "qc/excluded.tsv")
    )
    visits = files.read_tsv(results / "cohort/sample.tsv")
    sample = analysis.sampled(visits)
    main = drawn.main_visit(volumes, sample, instance)
    ages = drawn.age_range(main, minimum, age_column)
    context = withholding.context(main, visits, sample, minimum, ages, instance)
    released = release_all(results, cohort, minimum, context)
    drawings = drawn.draw(released, main, minimum, age_column)
    return collect(
        results, folder, cohort, released, drawings, minimum=minimum, also=also, dpi=dpi,
        max_mb=max_mb, participants=len(main),
    )  # fmt: skip


def check_folder(results, folder, *, tables=(), lists=()) -> int:
    """Search a collected folder again; see `check`."""
    return check(folder, Cohort.read(results, tables, lists))
