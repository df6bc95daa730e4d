"""The table every statistic starts from: sampled, measured, first imaging visit."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas.files import KEY
from iliopsoas.status import InputError, Verdict

SEXES = ("female", "male")
CONFIGURED_FOLD = 0  # of everybody annotated, where weights are configured and nothing is trained


@dataclass(frozen=True)
class Measure:
    """A column of volumes.tsv: its label in tables and figures, and its unit."""

    column: str
    label: str
    unit: str


# Table 2's order. The paper prints the index in ml/cm^2 there; text and values are ml/m^2
MEASURES = (
    Measure("total_ml", "Total volume", "ml"),
    Measure("mean_ml", "Average volume", "ml"),
    Measure("left_ml", "Left volume", "ml"),
    Measure("right_ml", "Right volume", "ml"),
    Measure("difference_ml", "L-R volume difference", "ml"),
    Measure("imi_ml_m2", "Iliopsoas muscle index", "ml/m²"),
)
FURTHER = ("lean_ml", "fat_fraction_percent")  # of volumes.tsv, where it has them
TRAITS = (
    Measure("age", "Age", "years"),
    Measure("bmi", "BMI", "kg/m²"),
    Measure("height_cm", "Height", "cm"),
    Measure("weight_kg", "Weight", "kg"),
)
ETHNICITIES = (  # Table 1's order
    "White European",
    "Asian",
    "Black",
    "Other",
    "Chinese",
    "Not reported",
    "Mixed",
)


def require(table: pd.DataFrame, columns, role: str) -> None:
    """Raise `InputError` naming the columns that `table` lacks."""
    lacking = [column for column in columns if column not in table.columns]
    if lacking:
        raise InputError(f"{role}: expected columns {lacking}, found {list(table.columns)}")


def _keyed(table, role):
    require(table, KEY, role)
    table = table.assign(**{key: table[key].astype(str) for key in KEY})
    twice = table.duplicated(KEY)
    if twice.any():
        raise InputError(f"{role}: {int(twice.sum())} participants and visits appear twice")
    return table


def measured(volumes: pd.DataFrame, sample: pd.DataFrame) -> pd.DataFrame:
    """Sampled visits with a volume, of every instance.

    Parameters
    ----------
    volumes : DataFrame
        As results/volumes.tsv. Rows without status ``ok``, or without both volumes, are
        left out, as are visits outside the sample.
    sample : DataFrame
        As results/cohort/sample.tsv.

    Returns
    -------
    DataFrame
        A row per eid and instance: the sample's columns, then the measures.

    Raises
    ------
    InputError
        A column is absent, or a visit appears twice.
    """
    volumes = _keyed(volumes, "volumes.tsv")
    sample = _keyed(sample, "sample.tsv")
    columns = [measure.column for measure in MEASURES]
    require(volumes, ["status", *columns], "volumes.tsv")
    require(sample, ["sex", "ethnicity", "handedness"], "sample.tsv")
    require(sample, [trait.column for trait in TRAITS], "sample.tsv")
    good = volumes[
        (volumes["status"] == Verdict.OK) & volumes[["left_ml", "right_ml"]].notna().all(axis=1)
    ]
    further = [name for name in FURTHER if name in volumes]
    table = sample.drop(columns=[c for c in columns + further if c in sample]).merge(
        good[KEY + columns + further], on=KEY, how="inner"
    )
    numbers = columns + further + [trait.column for trait in TRAITS]
    numbers += [name for name in ("age_at_recruitment",) if name in table]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce").astype(float)
    words = ["ethnicity", "handedness"]  # read as numbers where nobody has one
    table[words] = table[words].astype(object)
    unknown = ~table["sex"].isin(SEXES)
    if unknown.any():
        found = sorted(table.loc[unknown, "sex"].astype(str).unique())
        raise InputError(f"sample.tsv: sex is female or male, found {found}")
    return table.sort_values(KEY, ignore_index=True)


def main_visit(table: pd.DataFrame, instance=2) -> pd.DataFrame:
    """The rows of one imaging visit, one per participant."""
    return table[table["instance"] == str(instance)].reset_index(drop=True)


def flow(volumes: pd.DataFrame, sample: pd.DataFrame, instance=2) -> pd.DataFrame:
    """How many participants there are at each step, by sex: sampled, each verdict, analysed."""
    sample = _keyed(sample, "sample.tsv")
    sample = sample[sample["instance"] == str(instance)]
    both = sample[[*KEY, "sex"]].merge(
        _keyed(volumes, "volumes.tsv")[[*KEY, "status", "left_ml", "right_ml"]], on=KEY, how="left"
    )
    both["status"] = both["status"].fillna("no row in volumes.tsv")
    ok = (both["status"] == Verdict.OK) & both[["left_ml", "right_ml"]].notna().all(axis=1)
    both.loc[(both["status"] == Verdict.OK) & ~ok, "status"] = "ok, but a volume is missing"
    steps = [("sampled", np.ones(len(both), bool))]
    steps += [
        (f"not measured: {status}", (both["status"] == status).to_numpy())
        for status in sorted(set(both.loc[~ok, "status"]))
    ]
    steps.append(("analysed", ok.to_numpy()))
    rows = [
        {"step": step, "n": int(rows.sum())}
        | {sex: int((both.loc[rows, "sex"] == sex).sum()) for sex in SEXES}
        for step, rows in steps
    ]
    return pd.DataFrame(rows)


def by_sex(table: pd.DataFrame):
    """Yield (sex, rows) for both sexes, also where one has no rows."""
    for sex in SEXES:
        yield sex, table[table["sex"] == sex]
