"""Phenotype files for genome-wide association: REGENIE, PLINK 2 and SAIGE.

Each measure comes as it was measured and rank-inverse-normal. Participants are named by their EIDs,
which is how UK Biobank's genotypes name them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from iliopsoas import files
from iliopsoas.status import InputError, Verdict

RANKED = "_rint"  # ending of a rank-inverse-normal column
MISSING = "NA"  # REGENIE reads nothing else as missing, PLINK 2 and R (SAIGE) read it so
_OF_PLINK = -9.0  # also missing for PLINK 2, unless it is told otherwise


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
    drawn = sample.loc[sample["instance"].astype(str) == str(instance), files.KEY]
    if drawn.empty:
        raise InputError(f"export: nobody of the sample has visit {instance}")
    good = volumes.loc[volumes["status"] == Verdict.OK, [*files.KEY, *measures]]
    both = drawn.merge(good, on=files.KEY, how="left", validate="one_to_one")
    columns = {"eid": both["eid"]}
    for name in measures:
        columns |= {name: both[name], name + RANKED: rank_inverse_normal(both[name])}
    return pd.DataFrame(columns).sort_values("eid", ignore_index=True)


def write(table: pd.DataFrame, folder) -> None:
    """Write regenie.txt, plink2.txt and saige.txt; see docs/other-tools.md for their use."""
    values, ids = table.drop(columns="eid"), table["eid"]
    both = pd.concat([ids.rename("FID"), ids.rename("IID")], axis=1)
    # a number that PLINK 2 would take for a missing one, moved by less than it is measured to
    apart = values.mask(values == _OF_PLINK, _OF_PLINK - 1e-6)
    layouts = {
        "regenie": (pd.concat([both, values], axis=1), " "),
        "plink2": (pd.concat([both.rename(columns={"FID": "#FID"}), apart], axis=1), "\t"),
        "saige": (pd.concat([ids.rename("IID"), values], axis=1), "\t"),
    }
    for name, (content, separator) in layouts.items():
        text = content.to_csv(sep=separator, index=False, na_rep=MISSING, lineterminator="\n")
        files.write_text(Path(folder) / f"{name}.txt", text)
