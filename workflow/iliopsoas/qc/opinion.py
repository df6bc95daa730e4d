"""Predicted quality where nothing is annotated: learned from synthetic people and a second opinion.

The rows (opinion_rows.tsv) are muscles of synthetic bodies that no network was trained on, with
masks drawn wrong on purpose and the starter network's own; `iliopsoas.qc.opinion_rows` makes them.
"""

from functools import cache
from importlib import resources

import numpy as np
import pandas as pd

from iliopsoas import files, grid, starter
from iliopsoas.network.segmentation.opinion import OPINION
from iliopsoas.qc import quality
from iliopsoas.status import InputError

LEARNED_ON = "synthetic"
ROWS = "opinion_rows.tsv"
FEATURES = (*OPINION, *quality.MASK_FEATURES, "volume_ml")


@cache
def model(coverage: float) -> quality.QualityModel:
    """The quality model of the package's rows.

    Raises
    ------
    InputError
        The rows are of another starter network than the package's.
    """
    rows = kept_rows()
    check(rows)
    return quality.fit(rows, coverage, features=FEATURES)


def kept_rows() -> pd.DataFrame:
    """The rows that come with the package."""
    with resources.as_file(resources.files("iliopsoas.qc") / ROWS) as path:
        return files.read_tsv(path)


def check(rows) -> None:
    """Raise where rows are of another starter network; see `model`."""
    found, expected = set(rows["starter"]), files.sha256(starter.WEIGHTS)[:12]
    if found != {expected}:
        raise InputError(
            f"second opinion: its rows are of another starter network ({', '.join(found)}), "
            f"expected {expected}; `make starter-rows` makes them again"
        )


def features(cohort) -> pd.DataFrame:
    """What `model` needs of every side with a volume; `cohort` as for `quality.cohort_features`."""
    sides = quality.cohort_features(cohort)
    keyed = cohort.set_index(files.KEY)
    for name in OPINION:
        sides[name] = np.nan
        for side in grid.SIDES:
            column = f"opinion.{side}_{name}"
            if column in keyed.columns:
                here = sides["side"] == side
                people = pd.MultiIndex.from_frame(sides.loc[here, files.KEY])
                values = pd.to_numeric(keyed[column], errors="coerce")
                sides.loc[here, name] = values[people].to_numpy()
    # without an opinion nothing can be said
    return sides[sides["mirror_dice"].notna()].reset_index(drop=True)
