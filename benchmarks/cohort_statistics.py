"""Every table and figure of a large cohort, as the rules make them: wall, CPU and peak memory.

    python benchmarks/cohort_statistics.py [--participants 100000]

The target is 60 s and 2 GB for 100,000 participants, a tenth of them with a repeat visit, on one
core. The rows are a synthetic cohort of 5,000 drawn again and again with small changes. They are
made and written before; what is measured is a process of its own that reads them.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, statistics
from iliopsoas.figures.draw import draw_all
from iliopsoas.figures.paper import split
from iliopsoas.grid import SIDES
from iliopsoas.phantom.phenotypes import paper_cohort, paper_folds
from iliopsoas.phantom.profiles import paper_profiles

PAPER = Path(__file__).resolve().parents[1] / "resources/paper.tsv"


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


def prepare(folder: Path, participants: int) -> None:
    """Write what the rules of statistics and figures read."""
    cohort = large_cohort(participants)
    volumes, sample, diagnoses = split(cohort)
    parts = [volumes[files.KEY].assign(side=side, predicted_dice=0.9) for side in SIDES]
    error = np.random.default_rng(1).uniform(8, 20, 2 * len(volumes))
    inputs = {
        "volumes": volumes,
        "sample": sample,
        "diagnoses": diagnoses,
        "profiles": paper_profiles(cohort),
        "folds": paper_folds(volumes),
        "flags": volumes.sample(frac=0.02, random_state=1)[files.KEY].assign(
            flag="asymmetry", severity="review"
        ),
        "quality": pd.concat(parts).assign(error_low_ml=-error, error_ml=0, error_high_ml=error),
        "other": volumes.assign(left_ml=volumes["left_ml"] * 1.03),
    }
    for name, table in inputs.items():
        files.write_tsv(folder / f"{name}.tsv", table)


def measure(folder: Path) -> None:
    """Read, compute, write and draw, with what each took."""
    clock = Clock()
    names = ("volumes", "sample", "diagnoses", "folds", "flags", "profiles", "quality", "other")
    read = {name: files.read_tsv(folder / f"{name}.tsv") for name in names}
    clock.says("reading")
    tables = statistics.run_all(
        *(read[name] for name in ("volumes", "sample", "diagnoses", "folds", "flags")),
        folder / "statistics",
        paper=PAPER,
        others={"other": read["other"]},
        profiles=read["profiles"],
        quality=read["quality"],
    )
    clock.says("tables")
    draw_all(tables, read["volumes"], read["sample"], read["folds"], folder / "figures")
    clock.says("figures")


class Clock:
    """Wall and CPU seconds since it was last asked."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def says(self, what: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        print(f"{what}\t{wall - self.wall:.1f} s\t{cpu - self.cpu:.1f} s CPU", flush=True)
        self.wall, self.cpu = wall, cpu


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the process measured
    options = parser.parse_args(arguments)
    if options.folder:
        measure(options.folder)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.participants)
        start = time.perf_counter()
        subprocess.run([sys.executable, __file__, "--folder", folder], check=True)
        wall = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss / 1024**2
    print(f"all\t{wall:.1f} s\t{used.ru_utime + used.ru_stime:.1f} s CPU\t{peak:.2f} GB")
    return 0 if wall <= 60 and peak <= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
