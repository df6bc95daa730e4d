"""Phenotype and covariate files for genome-wide association: REGENIE, PLINK 2 and SAIGE.

Each measure comes as it was measured and rank-inverse-normal. Covariates are numbers throughout:
the tools disagree on how a missing category is written. Participants are named by their EIDs, which
is how UK Biobank's genotypes name them.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.status import InputError, Verdict

RANKED = "_rint"  # ending of a rank-inverse-normal column
MISSING = "NA"  # REGENIE reads nothing else as missing, PLINK 2 and R (SAIGE) read it so
_OF_PLINK = -9.0  # also missing for PLINK and BOLT-LMM


def rank_inverse_normal(values) -> np.ndarray:
    """Normal scores of the ranks, by Blom: quantile of (rank - 3/8) / (n + 1/4).

    Parameters
    ----------
    values : array_like, shape (n,)
        Tied values share their mean rank; missing ones stay missing, and do not count in n.

    References
    ----------
    G. Blom, Statistical Estimates and Transformed Beta-Variables, 1958.

    Examples
    --------
    >>> rank_inverse_normal([3.0, np.nan, 1.0, 2.0]).round(3).tolist()
    [0.819, nan, -0.819, 0.0]
    """
    values = np.asarray(values, dtype=float)
    ranks = stats.rankdata(values, nan_policy="omit")
    return stats.norm.ppf((ranks - 3 / 8) / (np.isfinite(values).sum() + 1 / 4))


def table(volumes: pd.DataFrame, sample: pd.DataFrame, measures, instance: int) -> pd.DataFrame:
    """A row per sampled participant of one visit.

    Parameters
    ----------
    volumes : DataFrame
        As results/volumes.tsv, without volumes of who was rejected in review.
    sample : DataFrame
        As results/cohort/sample.tsv.
    measures : sequence of str
        Columns of `volumes` with a number.
    instance : int
        Imaging visit.

    Returns
    -------
    DataFrame
        ``eid``, then each measure, and rank-inverse-normal with ``_rint`` behind its name. Whoever
        was not measured has missing values.

    Raises
    ------
    InputError
        A measure is no column with numbers, or the visit has nobody.
    """
    numbers = set(volumes.select_dtypes("number").columns) - set(files.KEY)
    if wrong := [name for name in measures if name not in numbers]:
        raise InputError(
            f"export.measures: expected columns of volumes.tsv with numbers, found {wrong}; there "
            f"are {sorted(numbers)}"
        )
    drawn = _of_visit(sample, instance)[files.KEY]
    good = volumes.loc[volumes["status"] == Verdict.OK, [*files.KEY, *measures]]
    both = drawn.merge(good, on=files.KEY, how="left", validate="one_to_one")
    columns = {"eid": both["eid"]}
    for name in measures:
        columns |= {name: both[name], name + RANKED: rank_inverse_normal(both[name])}
    return pd.DataFrame(columns)


def covariates(sample: pd.DataFrame, names, instance: int) -> pd.DataFrame:
    """Covariates of the participants in `table`, row by row.

    Parameters
    ----------
    sample, instance
        As for `table`.
    names : sequence of str
        ``age`` (years at the visit), ``age2``, ``sex`` (0 female, 1 male, UK Biobank's coding),
        ``age_sex``, ``age2_sex``, ``height_cm``, ``weight_kg``, ``bmi``, ``centre``. Squares and
        products are of age less its mean here: PLINK 2 refuses age beside its own square, since the
        two are nearly the same line.

    Returns
    -------
    DataFrame
        ``eid``, then a column of numbers for each; of ``centre`` one for each centre but the most
        frequent, 1 for who was there. What nobody has is left out and said.
    """
    drawn = _of_visit(sample, instance)
    columns = {"eid": drawn["eid"]}
    age = drawn["age"] - drawn["age"].mean()
    sex = drawn["sex"].map({"female": 0, "male": 1})
    drawn = drawn.assign(sex=sex, age2=age**2, age_sex=age * sex, age2_sex=age**2 * sex)
    for name in names:
        if drawn[name].isna().all():
            log.warning("phenotypes: nobody has the covariate %s; it is left out", name)
        elif name == "centre":
            columns |= _indicators(drawn[name], name)
        else:
            columns[name] = drawn[name].astype(float)
    return pd.DataFrame(columns)


def _of_visit(sample: pd.DataFrame, instance: int) -> pd.DataFrame:
    drawn = sample[sample["instance"].astype(str) == str(instance)]
    if drawn.empty:
        raise InputError(f"export: nobody of the sample has visit {instance}")
    return drawn.sort_values("eid", ignore_index=True)


def _indicators(values: pd.Series, name: str) -> dict[str, pd.Series]:
    """0 and 1 for each category but the most frequent; missing stays missing."""
    return {
        f"{name}_{re.sub(r'[^A-Za-z0-9]+', '_', str(value))}": (values == value)
        .astype(float)
        .mask(values.isna())
        for value in values.value_counts().index[1:]
    }


def write(table: pd.DataFrame, covariates: pd.DataFrame, folder) -> None:
    """Write regenie.txt, plink2.txt, saige.txt and covariates.txt; use: docs/other-tools.md."""
    values, known = _apart(table.drop(columns="eid")), _apart(covariates.drop(columns="eid"))
    ids = table["eid"].rename("IID")
    both = pd.concat([ids.rename("FID"), ids], axis=1)
    layouts = {
        "regenie": (pd.concat([both, values], axis=1), " "),
        "plink2": (pd.concat([both.rename(columns={"FID": "#FID"}), values], axis=1), "\t"),
        "saige": (pd.concat([ids, values, known], axis=1), "\t"),
        "covariates": (pd.concat([both, known], axis=1), "\t"),  # of REGENIE and PLINK 2
    }
    for name, (content, separator) in layouts.items():
        text = content.to_csv(sep=separator, index=False, na_rep=MISSING, lineterminator="\n")
        files.write_text(Path(folder) / f"{name}.txt", text)


def _apart(values: pd.DataFrame) -> pd.DataFrame:
    """A number that PLINK and BOLT-LMM take for a missing one, moved by less than it is exact."""
    return values.mask(values == _OF_PLINK, _OF_PLINK - 1e-6)
