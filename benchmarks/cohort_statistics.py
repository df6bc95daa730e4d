"""All tables and figures of a large cohort: seconds and peak memory.

    python benchmarks/cohort_statistics.py [--participants 100000]

The target is 60 s and 2 GB for 100,000 participants, on one core. The rows are a synthetic
cohort of 5,000 drawn again and again with small changes; the cohort is not timed.
"""

import argparse
import resource
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from iliopsoas import statistics
from iliopsoas.figures.draw import draw_all
from iliopsoas.figures.paper import PAPER, split
from iliopsoas.phantom.phenotypes import paper_cohort, paper_folds
from iliopsoas.phantom.profiles import paper_profiles


def large_cohort(participants: int, seed: int = 2020) -> pd.DataFrame:
    """`paper_cohort` of 5,000 (a tenth with a repeat visit), repeated with noise and new ids."""
    rng = np.random.default_rng(seed)
    base = paper_cohort(5000, seed, repeats=500)
    parts = []
    for copy in range(-(-participants // 5000)):
        part = base.copy()
        part["eid"] = (part["eid"].astype(np.int64) + copy * 10_000_000).astype(str)
        for column in ("left_ml", "right_ml"):
            part[column] = (part[column] * rng.normal(1, 0.02, len(part))).round(2)
        part["height_cm"] = (part["height_cm"] + rng.normal(0, 1, len(part))).round(1)
        part["bmi"] = part["bmi"] * rng.normal(1, 0.02, len(part))
        parts.append(part)
    cohort = pd.concat(parts, ignore_index=True)
    cohort["total_ml"] = cohort["left_ml"] + cohort["right_ml"]
    cohort["mean_ml"] = cohort["total_ml"] / 2
    cohort["difference_ml"] = cohort["left_ml"] - cohort["right_ml"]
    cohort["imi_ml_m2"] = cohort["total_ml"] / (cohort["height_cm"] / 100) ** 2
    cohort["lean_ml"] = cohort["total_ml"] * (1 - cohort["fat_fraction_percent"] / 100)
    return cohort[cohort["eid"].isin(cohort["eid"].drop_duplicates().head(participants))]


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=100_000)
    options = parser.parse_args(arguments)
    cohort = large_cohort(options.participants)
    volumes, sample, diagnoses = split(cohort)
    profiles = paper_profiles(cohort)
    folds = paper_folds(volumes)
    flags = volumes.sample(frac=0.02, random_state=1)[["eid", "instance"]].assign(
        flag="asymmetry", severity="review"
    )
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        tables = statistics.run_all(
            volumes,
            sample,
            diagnoses,
            folds,
            flags,
            f"{folder}/statistics",
            paper=PAPER,
            profiles=profiles,
        )
        after_tables = time.perf_counter()
        draw_all(tables, volumes, sample, folds, f"{folder}/figures")
        end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(f"participants\t{sample['eid'].nunique()}")
    print(f"rows\t{len(volumes)}")
    print(f"diagnoses\t{len(diagnoses)}")
    print(f"tables_s\t{after_tables - clock:.1f}")
    print(f"figures_s\t{end - after_tables:.1f}")
    print(f"peak_gb\t{peak:.2f}")
    return 0 if end - clock <= 60 and peak <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
