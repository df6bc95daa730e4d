"""Synthetic volume and sample tables that several tests of the statistics share."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas.statistics import cohort


@pytest.fixture(scope="session")
def make():
    """Function that makes volumes and sample of n participants."""

    def make(n=60, seed=0, sexes=("female", "male"), instance="2"):
        """volumes and sample of n participants."""
        rng = np.random.default_rng(seed)
        sex = np.array([sexes[i % len(sexes)] for i in range(n)])
        male = sex == "male"
        height = np.where(male, 176, 162) + rng.normal(0, 6, n)
        total = np.where(male, 815, 542) + rng.normal(0, 80, n) + 4 * (height - 170)
        difference = rng.normal(-7, 15, n)
        keys = {"eid": [str(7391527 + 13 * i) for i in range(n)], "instance": instance}
        volumes = pd.DataFrame(
            keys
            | {
                "status": "ok",
                "left_ml": (total + difference) / 2,
                "right_ml": (total - difference) / 2,
                "total_ml": total,
                "mean_ml": total / 2,
                "difference_ml": difference,
                "imi_ml_m2": total / (height / 100) ** 2,
            }
        )
        sample = pd.DataFrame(
            keys
            | {
                "sex": sex,
                "age": rng.integers(44, 83, n).astype(float),
                "age_group": "44-53",
                "bmi": rng.normal(26, 4, n),
                "height_cm": height,
                "weight_kg": rng.normal(75, 12, n),
                "ethnicity": "White European",
                "handedness": rng.choice(["left", "right"], n),
                "centre": "Reading",
                "visit_date": "2016-05-01",
            }
        )
        return volumes, sample

    return make


@pytest.fixture(scope="session")
def main_table(make):
    """Function that makes the measured first visits of n participants."""

    def main_table(**options):
        volumes, sample = make(**options)
        return cohort.main_visit(cohort.measured(volumes, sample))

    return main_table


@pytest.fixture(scope="session")
def diagnosed():
    """Function that makes a diagnoses table."""

    def diagnosed(counts, eids):
        """A diagnoses table: {code: (women, men)}; even eids are women."""
        rows = []
        for code, (women, men) in counts.items():
            rows += [(eid, code) for eid in eids[::2][:women]] + [
                (eid, code) for eid in eids[1::2][:men]
            ]
        return pd.DataFrame(rows, columns=["eid", "icd10"])

    return diagnosed
