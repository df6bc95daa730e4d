"""The paper's statistics and figures from a synthetic cohort of its size: ``make paper``.

    python -m iliopsoas.figures.paper FOLDER [--participants 5000] [--seed 2020]

draws a cohort as numbers only (no images) with the paper's published means, SDs and
correlations, and a cross-validation with its Dice and agreement, computes every table and
figure that needs no image (not 1, 3 and S1), and lists the numbers that lie outside
sampling error. It fails where one of Table 2, the correlations or the asymmetry lies
more than four standard errors away.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import statistics
from iliopsoas.figures.draw import draw_all
from iliopsoas.phantom.phenotypes import paper_cohort, paper_folds
from iliopsoas.phantom.profiles import paper_profiles

PAPER = Path(__file__).resolve().parents[3] / "resources" / "paper.tsv"
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


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where statistics/ and figures/ are written")
    parser.add_argument("--participants", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=250, help="with a repeat visit as well")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--paper", type=Path, default=PAPER, help="the paper's numbers")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    cohort = paper_cohort(options.participants, options.seed, repeats=options.repeats)
    volumes, sample, diagnoses = split(cohort)
    folds = paper_folds(volumes, seed=options.seed)
    tables = statistics.run_all(
        volumes,
        sample,
        diagnoses,
        folds,
        None,
        options.folder / "statistics",
        paper=options.paper,
        profiles=paper_profiles(cohort, seed=options.seed),
    )
    draw_all(tables, volumes, sample, folds, options.folder / "figures")
    comparison = tables["paper_comparison"]
    judged = comparison[comparison["within_sampling_error"].isin([True, False])]
    outside = judged[~judged["within_sampling_error"].astype(bool)]
    print(f"{len(judged) - len(outside)} of {len(judged)} numbers lie within sampling error")
    for row in outside.itertuples():
        print(f"  outside: {row.id}: paper {row.paper_value}, here {row.run_value}")
    for statement in tables["acceleration"]["statement"].dropna():
        print(f"  {statement}")
    print(f"{time.monotonic() - started:.0f} s, written to {options.folder}")
    checked = judged[judged["id"].str.startswith(CHECKED)]
    far = checked[np.abs(checked["z"]) > TOO_FAR]
    return 1 if len(far) else 0


if __name__ == "__main__":
    sys.exit(main())
