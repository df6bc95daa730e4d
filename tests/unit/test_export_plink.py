"""Phenotypes and covariates as PLINK 2 reads them; skipped where it is not installed."""

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from iliopsoas import export

COVARIATES = ["age", "age2", "sex", "age_sex", "centre"]
PEOPLE = 240


@pytest.fixture(scope="module")
def plink(tmp_path_factory):
    """Genotypes of a cohort that PLINK 2 makes up, our files, what we know, and a call of PLINK."""
    if not shutil.which("plink2"):
        pytest.skip("plink2 is absent")
    folder = tmp_path_factory.mktemp("plink")

    def call(*arguments):
        command = ["plink2", *map(str, arguments), "--threads", "1", "--memory", "700"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    rng = np.random.default_rng(5)
    eids = [f"{1000000 + 3331 * k}" for k in range(PEOPLE)]
    people = pd.DataFrame(
        {"eid": eids, "instance": "2", "sex": rng.choice(["female", "male"], PEOPLE)}
    )
    people["age"] = rng.integers(46, 83, PEOPLE).astype(float)
    people["centre"] = rng.choice(["Cheadle", "Reading", "Newcastle"], PEOPLE, p=[0.5, 0.3, 0.2])
    people.loc[people.index % 40 == 3, "age"] = np.nan
    people.loc[people.index % 50 == 7, "centre"] = None
    volumes = people[["eid", "instance"]].assign(status="ok")
    volumes["total_ml"] = 500 + 80 * (people["sex"] == "male") + rng.normal(0, 50, PEOPLE)
    volumes["difference_ml"] = rng.normal(0, 12, PEOPLE).round(2)
    volumes.loc[volumes.index % 30 == 11, ["total_ml", "difference_ml"]] = np.nan
    volumes.loc[0, "difference_ml"] = -9.0
    shuffled = people.sample(frac=1, random_state=1)
    measures = ["total_ml", "difference_ml"]
    export.write_phenotypes(
        folder, volumes, shuffled, measures=measures, covariates=COVARIATES, instance=2
    )
    assert call("--dummy", PEOPLE, 6, "acgt", "--seed", 1, "--out", "g")[0] == 0
    sexes = people["sex"].map({"male": 1, "female": 2})
    fam = pd.DataFrame({"#FID": eids, "IID": eids, "SEX": sexes})
    fam.to_csv(folder / "g.psam", sep="\t", index=False)
    assert call("--pfile", "g", "--export", "A", "--out", "dosage")[0] == 0
    dosage = pd.read_csv(folder / "dosage.raw", sep="\t").iloc[:, 6:].to_numpy(float)
    return folder, people, volumes, dosage, call


def files_of(folder):
    texts = export.folder(folder, "phenotypes")
    return ["--pheno", texts / "plink2.txt", "--covar", texts / "covariates.txt"]


def by_hand(y, dosage, known) -> tuple[int, float, float]:
    """Least squares of one variant: observations, effect and its standard error."""
    design = np.column_stack([np.ones(len(y)), dosage, *known])
    good = np.isfinite(design).all(axis=1) & np.isfinite(y)
    design, y = design[good], y[good]
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    variance = ((y - design @ beta) ** 2).sum() / (len(y) - design.shape[1])
    return len(y), beta[1], np.sqrt(variance * inverse[1, 1])


def test_plink_finds_the_effects_that_least_squares_finds(plink):
    folder, people, volumes, dosage, call = plink
    code, said = call(
        "--pfile", "g", *files_of(folder), "--covar-variance-standardize",
        "--glm", "hide-covar", "omit-ref", "--out", "found",
    )  # fmt: skip
    assert code == 0, said
    assert "4 quantitative phenotypes loaded" in said
    assert "6 covariates loaded" in said
    assert volumes["total_ml"].isna().sum() == 8
    age, male = people["age"] - 60, (people["sex"] == "male").astype(float)
    centres = [
        (people["centre"] == name).astype(float).mask(people["centre"].isna())
        for name in ("Newcastle", "Reading")
    ]
    known = [age, age**2, male, age * male, *centres]
    for measure in ("total_ml", "difference_ml"):
        found = pd.read_csv(folder / f"found.{measure}.glm.linear", sep="\t")
        letters = pd.read_csv(folder / "dosage.raw", sep="\t", nrows=0).columns[6:].str[-1]
        for k, row in found.iterrows():
            counted = dosage[:, k] if row["A1"] == letters[k] else 2 - dosage[:, k]
            number, beta, error = by_hand(volumes[measure].to_numpy(), counted, known)
            assert row["OBS_CT"] == number
            assert row["BETA"] == pytest.approx(beta, rel=1e-4, abs=1e-4)
            assert row["SE"] == pytest.approx(error, rel=1e-4)
            assert row["ERRCODE"] == "."


def test_plink_sees_our_sex_as_its_own(plink):
    folder, _, _, _, call = plink
    arguments = ["--pfile", "g", *files_of(folder), "--pheno-name", "total_ml", "--glm"]
    standard = "--covar-variance-standardize"
    ours = [*arguments, "hide-covar", "--covar-name", "age", "sex", standard, "--out", "ours"]
    own = [*arguments, "sex", "hide-covar", "--covar-name", "age", standard, "--out", "own"]
    for command in (ours, own):
        code, said = call(*command)
        assert code == 0, said
    found = [pd.read_csv(folder / f"{n}.total_ml.glm.linear", sep="\t") for n in ("ours", "own")]
    pd.testing.assert_frame_equal(*found, rtol=1e-4)
