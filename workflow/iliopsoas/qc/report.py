"""Tables of the quality report: flagged shares by group, and what exclusion changes."""

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from iliopsoas.files import KEY
from iliopsoas.qc.audit import FLAGGED
from iliopsoas.qc.flags import NO_VOLUME

# name in the report -> column of the cohort table
GROUPS = {
    "site": "centre",
    "scanner software": "dixon.software",
    "sex": "sex",
    "age": "age_group",
    "visit": "instance",
}
COMPARED = ("left_ml", "right_ml", "total_ml", "difference_ml", "imi_ml_m2")


def shares(cohort, verdicts, excluded=None) -> pd.DataFrame:
    """Flagged and refused participants by site, scanner, sex, age and visit.

    Parameters
    ----------
    cohort : DataFrame
        From `evidence.cohort`; a group whose column is missing is left out.
    verdicts : DataFrame
        From `flags.verdicts`.
    excluded : DataFrame, optional
        eid, instance of who leaves the statistics.

    Returns
    -------
    DataFrame
        group, level, participants, no_volume, flagged, flagged_percent, low, high, excluded,
        flagged_after, flagged_after_percent. Flagged: serious or to review. The percentages are
        of those with a volume, ``_after`` of those left after exclusion; low and high are
        Wilson's 95 % interval before exclusion.
    """
    table = cohort.merge(verdicts[[*KEY, "qc"]], on=KEY, how="left", validate="one_to_one")
    gone = pd.MultiIndex.from_frame(excluded[KEY]) if excluded is not None else []
    table["_out"] = pd.MultiIndex.from_frame(table[KEY]).isin(gone) if len(gone) else False
    rows = [_share("all", "all", table)]
    for group, column in GROUPS.items():
        if column not in table.columns:
            continue
        levels = table[column].astype(object).where(table[column].notna(), "not known")
        for level, part in table.groupby(levels.astype(str)):
            rows.append(_share(group, level, part))
    return pd.DataFrame(rows)


def _share(group, level, part) -> dict:
    measured = part[part["qc"] != NO_VOLUME]
    left = measured[~measured["_out"]]
    flagged = measured["qc"].isin(FLAGGED)
    low, high = (np.nan, np.nan)
    if len(measured):
        low, high = proportion_confint(int(flagged.sum()), len(measured), method="wilson")
    after = left["qc"].isin(FLAGGED)
    return {
        "group": group,
        "level": level,
        "participants": len(part),
        NO_VOLUME: len(part) - len(measured),
        "flagged": int(flagged.sum()),
        "flagged_percent": 100 * flagged.mean() if len(measured) else np.nan,
        "low": 100 * low,
        "high": 100 * high,
        "excluded": int(part["_out"].sum()),
        "flagged_after": int(after.sum()),
        "flagged_after_percent": 100 * after.mean() if len(left) else np.nan,
    }


def before_after(cohort, verdicts, excluded) -> pd.DataFrame:
    """Each measure by sex: everyone, after exclusion, and without any flagged participant.

    Returns
    -------
    DataFrame
        measure, sex, who (``everyone``, ``after exclusion``, ``unflagged``), n, mean, sd,
        minimum, maximum.
    """
    table = cohort.merge(verdicts[[*KEY, "qc"]], on=KEY, how="left", validate="one_to_one")
    out = pd.MultiIndex.from_frame(table[KEY]).isin(pd.MultiIndex.from_frame(excluded[KEY]))
    selections = {
        "everyone": table,
        "after exclusion": table[~out],
        "unflagged": table[~out & ~table["qc"].isin(FLAGGED)],
    }
    rows = []
    for measure in COMPARED:
        for sex in sorted(table["sex"].dropna().unique()):
            for who, part in selections.items():
                values = part.loc[part["sex"] == sex, measure].dropna().astype(float)
                rows.append(
                    {
                        "measure": measure,
                        "sex": sex,
                        "who": who,
                        "n": len(values),
                        "mean": values.mean(),
                        "sd": values.std(),
                        "minimum": values.min(),
                        "maximum": values.max(),
                    }
                )
    names = ["measure", "sex", "who", "n", "mean", "sd", "minimum", "maximum"]
    return pd.DataFrame(rows, columns=names)
