"""The stratified sample of the paper's Methods ("Data").

Eight strata of age group and sex. Sexes are balanced; within a sex, strata keep the age
groups' shares of the imaged population (both sexes together), as the paper's weights do.
Inside a stratum the draw is spread evenly over BMI, so that its distribution follows the
eligible ones', and everybody in a stratum is equally likely to be drawn.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.sampling.eligibility import age_group_name
from iliopsoas.sampling.order import ranks

SEXES = ("female", "male")
BMI_CLASSES = 100  # Kolmogorov-Smirnov distance below about 1 / BMI_CLASSES
BMI_PERCENTILES = (5, 25, 50, 75, 95)
KS_LIMIT, KS_FROM = 0.03, 500  # issue: at most 0.03 in each stratum of 500 or more


@dataclass(frozen=True)
class Draw:
    """A sample and how well it is balanced.

    Parameters
    ----------
    sample : DataFrame
        The visits of the drawn (and always included) participants, sorted by eid and
        instance, with ``sampled``: drawn rather than only included.
    balance : DataFrame
        A row per stratum, then one per sex and one for all: sex, age_group, eligible (people),
        quota, kept (drawn earlier), drawn, shortfall (missing to the quota), filled (beyond
        the quota, for other strata), share_eligible, share_drawn (of the age group, within the
        population and within the sex), bmi_mean_*, bmi_sd_*, bmi_p5_* to bmi_p95_* (kg/m^2),
        bmi_ks (Kolmogorov-Smirnov distance of drawn to eligible) and within_limit (missing
        below 500).
    """

    sample: pd.DataFrame
    balance: pd.DataFrame


def largest_remainder(shares, total: int) -> np.ndarray:
    """Whole numbers that add up to `total` and are nearest to ``shares * total``."""
    shares = np.asarray(shares, dtype=float)
    if not shares.sum() or not total:
        return np.zeros(len(shares), dtype=int)
    exact = shares / shares.sum() * total
    whole = np.floor(exact).astype(int)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - whole.sum()]] += 1
    return whole


def draw(eligible: pd.DataFrame, *, size, age_groups, seed: int, kept=(), always=()) -> Draw:
    """Draw participants; each brings all visits that are eligible.

    The earliest eligible visit decides the stratum. A stratum with fewer people than its
    quota is taken whole; the shortfall is filled from the same sex, nearest age group first
    (the younger of two), then from the other sex, nearest age group first.

    Parameters
    ----------
    eligible : DataFrame
        `iliopsoas.sampling.eligible`; the order of its rows does not matter.
    size : int or "everyone"
        Participants to draw.
    age_groups : list of (int, int)
        Inclusive, in years.
    seed : int
    kept : collection of str
        EIDs drawn earlier: they stay, and count towards `size`.
    always : collection of str
        EIDs included whether drawn or not (annotated participants).
    """
    visits = eligible.sort_values(files.KEY)
    people = visits.drop_duplicates("eid").reset_index(drop=True)
    groups = [age_group_name(low, high) for low, high in age_groups]
    people["rank"] = ranks(people["eid"], seed)
    people["tie"] = ranks(people["eid"], seed, "ties in BMI")
    people["kept"] = people["eid"].isin(set(kept))
    strata = [(sex, group) for sex in SEXES for group in groups]
    keys = list(zip(people["sex"], people["age_group"], strict=True))
    number = {stratum: position for position, stratum in enumerate(strata)}
    people["stratum"] = [number.get(key, -1) for key in keys]

    if size == "everyone":
        people["drawn"] = True
        quotas = np.bincount(people["stratum"][people["stratum"] >= 0], minlength=len(strata))
    else:
        quotas = _quotas(people, groups, int(size))
        takes = _takes(people, quotas, int(size), len(groups))
        people["drawn"] = people["kept"]
        for position, take in enumerate(takes):
            members = people[people["stratum"] == position]
            (own,) = ranks([" ".join(strata[position])], seed, "rounding")
            rng = np.random.default_rng(int(own))
            people.loc[_spread_over_bmi(members, take, rng), "drawn"] = True

    drawn = set(people.loc[people["drawn"], "eid"])
    chosen = visits[visits["eid"].isin(drawn | set(always))].copy()
    chosen["sampled"] = chosen["eid"].isin(drawn)
    return Draw(chosen.reset_index(drop=True), _balance(people, strata, quotas))


def _quotas(people: pd.DataFrame, groups: list[str], size: int) -> np.ndarray:
    """Participants wanted per stratum: sexes equal, the population's share of each age group."""
    population = people["age_group"].value_counts().reindex(groups, fill_value=0)
    halves = (size - size // 2, size // 2)
    return np.concatenate([largest_remainder(population.to_numpy(), half) for half in halves])


def _takes(people, quotas, size: int, groups: int) -> np.ndarray:
    """How many more to draw in each stratum, shortfalls filled by rule."""
    count = len(quotas)
    inside = people[people["stratum"] >= 0]
    kept = np.bincount(inside.loc[inside["kept"], "stratum"], minlength=count)
    free = np.bincount(inside.loc[~inside["kept"], "stratum"], minlength=count)
    wanted = np.maximum(quotas - kept, 0)
    places = max(size - int(people["kept"].sum()), 0)
    if wanted.sum() > places:  # earlier draws lie beyond the quota of another stratum
        wanted = largest_remainder(wanted, places)
    takes = np.minimum(wanted, free)
    for short in range(count):
        missing = wanted[short] - takes[short]
        for other in _neighbours(short, groups):
            if missing <= 0:
                break
            # what another stratum needs itself is not given away
            spare = free[other] - max(takes[other], min(wanted[other], free[other]))
            extra = min(missing, max(spare, 0))
            takes[other] += extra
            missing -= extra
    return takes


def _neighbours(stratum: int, groups: int) -> list[int]:
    """The other strata in the order in which they fill this one."""
    sex, group = divmod(stratum, groups)
    by_age = sorted(range(groups), key=lambda other: (abs(other - group), other))
    same = [sex * groups + other for other in by_age if other != group]
    return same + [(1 - sex) * groups + other for other in by_age]


def _spread_over_bmi(members: pd.DataFrame, take: int, rng) -> pd.Index:
    """Index of `take` people not kept, so that with the kept ones BMI is spread as in all.

    People are ordered by BMI, ties at random, and cut into classes of equal size; those without
    BMI are a class of their own. Each class gives its share, rounded up or down by a random
    offset as in systematic sampling, so that on average nobody gains by the rounding, and of a
    class those of lowest rank are taken: neither where a class ends nor who is in it depends on
    the rank.
    """
    total = take + int(members["kept"].sum())
    if not take:
        return members.index[:0]
    members = members.sort_values(["bmi", "tie"], na_position="last")
    known = int(members["bmi"].notna().sum())
    classes = min(BMI_CLASSES, total)
    place = np.full(len(members), classes)
    place[:known] = np.arange(known) * classes // max(known, 1)
    sizes = np.bincount(place, minlength=classes + 1)
    bounds = np.floor(total * np.concatenate([[0], np.cumsum(sizes)]) / len(members) + rng.random())
    share = np.diff(bounds).astype(int)
    kept = members["kept"].to_numpy()
    free = np.bincount(place[~kept], minlength=classes + 1)
    wanted = share - np.bincount(place[kept], minlength=classes + 1)
    takes = np.zeros(classes + 1, dtype=int)
    # too many kept in one class: fewer in the next, and so on, from anywhere in the circle
    around = np.roll(np.arange(classes + 1), rng.integers(classes + 1))
    carry = 0
    for number in around:
        takes[number] = np.clip(wanted[number] + carry, 0, free[number])
        carry += wanted[number] - takes[number]
    for number in around[::-1]:  # what is left over comes from the nearest before
        change = np.clip(takes[number] + carry, 0, free[number]) - takes[number]
        takes[number] += change
        carry -= change
    order = members.assign(place=place)[~kept].sort_values(["place", "rank"])
    within = order.groupby("place").cumcount().to_numpy()
    return order.index[within < takes[order["place"].to_numpy()]]


def ks_distance(sample, population) -> float:
    """Largest difference between two empirical distribution functions; NaN where one is empty."""
    sample, population = (np.sort(np.asarray(x, float)) for x in (sample, population))
    sample, population = sample[~np.isnan(sample)], population[~np.isnan(population)]
    if not len(sample) or not len(population):
        return float("nan")
    points = np.concatenate([sample, population])
    cdfs = [np.searchsorted(x, points, side="right") / len(x) for x in (sample, population)]
    return float(np.abs(cdfs[0] - cdfs[1]).max())


def _balance(people: pd.DataFrame, strata, quotas) -> pd.DataFrame:
    inside = people[people["stratum"] >= 0]
    parts = [(sex, group, inside["stratum"] == i) for i, (sex, group) in enumerate(strata)]
    parts += [(sex, "all", inside["sex"] == sex) for sex in SEXES]
    parts.append(("all", "all", inside["stratum"] >= 0))
    by_group = inside["age_group"].value_counts(normalize=True)
    rows = []
    for position, (sex, group, mask) in enumerate(parts):
        part = inside[mask]
        drawn = part[part["drawn"]]
        row = {
            "sex": sex,
            "age_group": group,
            "eligible": len(part),
            "quota": int(quotas[position]) if position < len(strata) else None,
            "kept": int(part["kept"].sum()),
            "drawn": len(drawn),
        }
        if row["quota"] is None:
            chosen = [r for r in rows if (sex in ("all", r["sex"])) and r["age_group"] != "all"]
            row["quota"] = sum(r["quota"] for r in chosen)
        row["shortfall"] = max(row["quota"] - row["drawn"], 0)
        row["filled"] = max(row["drawn"] - row["quota"], 0)
        same_sex = inside[inside["drawn"] & ((inside["sex"] == sex) | (sex == "all"))]
        row["share_eligible"] = float(by_group.get(group, 0.0)) if group != "all" else 1.0
        row["share_drawn"] = len(drawn) / len(same_sex) if len(same_sex) else np.nan
        for name, table in (("eligible", part), ("drawn", drawn)):
            row[f"bmi_mean_{name}"] = table["bmi"].mean()
            row[f"bmi_sd_{name}"] = table["bmi"].std()
            quantiles = table["bmi"].quantile(np.divide(BMI_PERCENTILES, 100))
            for percent, value in zip(BMI_PERCENTILES, quantiles, strict=True):
                row[f"bmi_p{percent}_{name}"] = value
        row["bmi_ks"] = ks_distance(drawn["bmi"], part["bmi"])
        limited = position < len(strata) and len(drawn) >= KS_FROM
        row["within_limit"] = bool(row["bmi_ks"] <= KS_LIMIT) if limited else None
        rows.append(row)
    return pd.DataFrame(rows)
