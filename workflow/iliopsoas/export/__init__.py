"""Results in other programs' formats. They hold participants, and so never leave with egress.

Each export fills a folder of its own below ``<results>/individual_level``, where only files that an
earlier export wrote are replaced (`files.owned_folder`).
"""

from pathlib import Path

from iliopsoas import files
from iliopsoas.export import bids, phenotypes

__all__ = ["folder", "write_bids", "write_phenotypes"]


def folder(results, name: str) -> Path:
    """Where an export lies."""
    return Path(results) / files.INDIVIDUAL_LEVEL / name


def write_phenotypes(results, volumes, sample, *, measures, covariates, instance: int) -> None:
    """Files for REGENIE, PLINK 2 and SAIGE; see `phenotypes.table` and `phenotypes.covariates`."""
    table = phenotypes.table(volumes, sample, measures, instance)
    known = phenotypes.covariates(sample, covariates, instance)
    with files.owned_folder(folder(results, "phenotypes"), alone=True) as part:
        phenotypes.write(table, known, part)


def write_bids(results, volumes, sample, **options) -> dict:
    """Masks, and on request images, as BIDS derivatives; see `bids.write`."""
    with files.owned_folder(folder(results, "bids"), alone=True) as part:
        return bids.write(results, volumes, sample, part, **options)
