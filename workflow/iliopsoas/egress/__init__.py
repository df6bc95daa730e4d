"""What may leave a secure environment: collected, made free of single people, searched."""

from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.egress import drawn
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
    """
    results = Path(results)
    cohort = Cohort.read(results, tables, lists)
    volumes = analysis.accepted(
        files.read_tsv(results / "volumes.tsv"), files.read_tsv(results / "qc/excluded.tsv")
    )
    sample = analysis.sampled(files.read_tsv(results / "cohort/sample.tsv"))
    main = drawn.main_visit(volumes, sample, instance)
    released = release_all(results, cohort, minimum, drawn.context(main, minimum, age_column))
    drawings = drawn.draw(released, main, minimum, age_column)
    return collect(results, folder, cohort, released, drawings, minimum=minimum, also=also, dpi=dpi)


def check_folder(results, folder, *, tables=(), lists=()) -> int:
    """Search a collected folder again; see `check`."""
    return check(folder, Cohort.read(results, tables, lists))
