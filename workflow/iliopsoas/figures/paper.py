"""The paper's statistics and figures from a synthetic cohort of its size: ``iliopsoas paper``.

A cohort is drawn as numbers only (no images) with the paper's published means, SDs and
correlations, and a cross-validation with its Dice and agreement; every table and figure that
needs no image (not 1, 3 and S1) is computed, and the numbers outside sampling error are listed.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import statistics
from iliopsoas.figures.draw import draw_all
from iliopsoas.phantom.phenotypes import paper_cohort, paper_folds
from iliopsoas.phantom.profiles import paper_profiles

MEASURED = ["eid", "instance", "status", "left_ml", "right_ml", "total_ml", "mean_ml",
            "difference_ml", "imi_ml_m2", "lean_ml", "fat_fraction_percent"]  # fmt: skip
CHECKED = ("measure.", "rho.", "asymmetry.")
TOO_FAR = 4.0  # standard errors


def split(cohort: pd.DataFrame):
    """volumes, sample and diagnoses as the workflow's tables, from `paper_cohort`'s one."""
    volumes = cohort[MEASURED]
    sample = cohort.drop(columns=[*MEASURED[2:], "diagnoses"])
    first = cohort.drop_duplicates("eid")[["eid", "diagnoses"]]
    diagnoses = first.explode("diagnoses").dropna().rename(columns={"diagnoses": "icd10"})
    return volumes, sample, diagnoses


def reproduce(
    folder, paper, participants: int = 5000, repeats: int = 250, seed: int = 2020
) -> tuple[str, bool]:
    """Draw a cohort, compute and draw everything, and compare with the paper.

    Parameters
    ----------
    folder : path
        Gets statistics/ and figures/.
    paper : path
        The paper's numbers, resources/paper.tsv.
    participants, repeats : int
        Of the cohort, and how many of them have a repeat visit as well.
    seed : int

    Returns
    -------
    text : str
        How many numbers lie within sampling error, and which do not.
    good : bool
        False where one of Table 2, the correlations or the asymmetry is too far away.
    """
    folder = Path(folder)
    started = time.monotonic()
    cohort = paper_cohort(participants, seed, repeats=repeats)
    volumes, sample, diagnoses = split(cohort)
    folds = paper_folds(volumes, seed=seed)
    tables = statistics.run_all(
        volumes,
        sample,
        diagnoses,
        folds,
        None,
        folder / "statistics",
        paper=paper,
        profiles=paper_profiles(cohort, seed=seed),
    )
    draw_all(tables, volumes, sample, folds, folder / "figures")
    comparison = tables["paper_comparison"]
    judged = comparison[comparison["within_sampling_error"].isin([True, False])]
    outside = judged[~judged["within_sampling_error"].astype(bool)]
    lines = [f"{len(judged) - len(outside)} of {len(judged)} numbers lie within sampling error"]
    for row in outside.itertuples():
        lines.append(f"  outside: {row.id}: paper {row.paper_value}, here {row.run_value}")
    lines += [f"  {statement}" for statement in tables["acceleration"]["statement"].dropna()]
    lines.append(f"{time.monotonic() - started:.0f} s, written to {folder}")
    checked = judged[judged["id"].str.startswith(CHECKED)]
    return "\n".join(lines), not (np.abs(checked["z"]) > TOO_FAR).any()
