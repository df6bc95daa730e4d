"""A population with the paper's distributions, so that the statistics have something true to find.

Sex, age, height, BMI, the two volumes and their dependence on each other follow
Tables 1 and 2 and the correlations of the paper (../paper). What the paper does not
print, such as the shape of a distribution, is assumed and marked ``ASSUME``.
"""

import math
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy import special

from iliopsoas.phantom.traits import Traits

AGE_RANGE = (44, 82)
BMI_RANGE = (16.0, 55.2)
LONGEST_REPEAT_DAYS = 4 * 365


@dataclass(frozen=True)
class SexParameters:
    """What the paper prints of one sex, and the few numbers it leaves open."""

    age: tuple[float, float]  # centre and width before truncation to AGE_RANGE
    height: tuple[float, float]  # cm, Table 1
    bmi: tuple[float, float, float]  # kg/m^2: lower end, mean, SD, Table 1
    imi: tuple[float, float]  # ml/m^2, Table 2
    difference: tuple[float, float]  # left - right in ml, Table 2
    rho_bmi: float  # Spearman, IMI and BMI
    rho_age: float  # Spearman, IMI and age
    knee: float | None  # age in years from which the decline accelerates
    ethnicity: dict[str, int]  # counts of Table 1


PARAMETERS = {
    "female": SexParameters(
        age=(63.4, 9.2),
        height=(162.5, 6.1),
        bmi=(13.0, 26.2, 4.7),
        imi=(205.1, 22.6),
        difference=(-6.5, 16.1),
        rho_bmi=0.47,
        rho_age=-0.11,
        knee=None,
        ethnicity={"1": 2422, "3": 18, "4": 17, "6": 15, "5": 11, "-3": 7, "2": 6},
    ),
    "male": SexParameters(
        age=(63.4, 9.4),
        height=(176.2, 6.8),
        bmi=(14.5, 27.0, 3.9),
        imi=(261.8, 34.2),
        difference=(-7.3, 22.8),
        rho_bmi=0.48,
        rho_age=-0.31,
        knee=62.0,
        ethnicity={"1": 2416, "3": 35, "4": 12, "6": 9, "5": 10, "-3": 12, "2": 10},
    ),
}

ETHNICITY_CODES = {  # field 21000 by first digit, the most frequent first
    "1": ((1001, 0.93), (1002, 0.03), (1003, 0.035), (1, 0.005)),
    "2": ((2004, 0.4), (2003, 0.3), (2001, 0.25), (2, 0.05)),
    "3": ((3001, 0.6), (3002, 0.15), (3004, 0.24), (3, 0.01)),
    "4": ((4001, 0.55), (4002, 0.43), (4, 0.02)),
    "5": ((5, 1.0),),
    "6": ((6, 1.0),),
    "-3": ((-3, 0.7), (-1, 0.3)),
}
ETHNICITY_NAMES = {
    "1": "White European",
    "2": "Mixed",
    "3": "Asian",
    "4": "Black",
    "5": "Chinese",
    "6": "Other",
    "-3": "Not reported",
}
# ASSUME: handedness as in the UK Biobank (field 1707), independent of the muscles
HANDEDNESS = (("right", 0.888), ("left", 0.095), ("both", 0.016), (None, 0.001))
# ASSUME: shares of the imaging centres (field 54); Bristol opened last
CENTRES = (("Cheadle", 0.55), ("Newcastle", 0.23), ("Reading", 0.17), ("Bristol", 0.05))

# ASSUME: prevalence at age 63 (female, male). Arthropathies lead, then the neoplasms the paper
# names; the order of the rest is free. The odds grow by 4 % with every year of age.
DIAGNOSES = {
    "M170": (0.016, 0.014), "M171": (0.050, 0.045), "M179": (0.055, 0.048),
    "M161": (0.028, 0.022), "M169": (0.020, 0.014), "M199": (0.060, 0.040),
    "M232": (0.030, 0.042), "M2556": (0.035, 0.033), "M201": (0.042, 0.008),
    "M2551": (0.024, 0.022), "M139": (0.032, 0.024), "M069": (0.012, 0.006),
    "M545": (0.028, 0.026), "M754": (0.022, 0.020), "D225": (0.015, 0.012),
    "D229": (0.012, 0.010), "C437": (0.008, 0.004), "C435": (0.004, 0.008),
    "C443": (0.030, 0.036), "C509": (0.045, 0.0003), "C61": (0.0, 0.046),
    "D126": (0.026, 0.036), "D128": (0.014, 0.018), "D250": (0.012, 0.0),
    "D259": (0.060, 0.0), "D179": (0.012, 0.016), "I10": (0.130, 0.190),
    "I251": (0.022, 0.070), "I839": (0.028, 0.018), "E780": (0.080, 0.120),
    "E119": (0.026, 0.044), "E039": (0.050, 0.012), "J459": (0.070, 0.058),
    "K210": (0.030, 0.032), "K449": (0.055, 0.050), "K573": (0.075, 0.070),
    "K409": (0.006, 0.065), "K802": (0.030, 0.016), "H269": (0.055, 0.048),
    "N40": (0.0, 0.055), "N393": (0.020, 0.001), "G560": (0.024, 0.014),
}  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """One imaging visit: the traits and the day."""

    instance: int
    traits: Traits
    day: date


@dataclass(frozen=True)
class Participant:
    """One synthetic participant: what tables and archives are made from.

    Parameters
    ----------
    index : int
        Position in the population; with the seed it determines everything else.
    eid : str
        Seven digits, first digit 1 to 6.
    ethnicity : int
        Code of field 21000.
    handedness : str or None
    centre : str
    birth : datetime.date
    baseline : datetime.date
        Day of the first assessment (instance 0), 2006 to 2010.
    visits : tuple of Visit
        Instance 2, and for repeats instance 3.
    diagnoses : tuple of str
        ICD-10 codes as field 41270 holds them, without the dot.
    """

    index: int
    eid: str
    ethnicity: int
    handedness: str | None
    centre: str
    birth: date
    baseline: date
    visits: tuple[Visit, ...]
    diagnoses: tuple[str, ...]


def _pearson(rho: float) -> float:
    """Pearson correlation of a bivariate normal with Spearman correlation `rho`."""
    return 2.0 * math.sin(math.pi * rho / 6.0)


def _pick(rng: np.random.Generator, options):
    values, shares = zip(*options, strict=True)
    shares = np.asarray(shares, dtype=float)
    return values[int(np.searchsorted(np.cumsum(shares / shares.sum()), rng.random()))]


def _age_scores(parameters: SexParameters):
    """Standardised effect of age on the muscle index, for every year of AGE_RANGE.

    ASSUME: two straight lines joined smoothly. Women lose evenly; men hardly lose before
    `knee` and five times as fast after it (Figure 7 and its text).
    """
    ages = np.arange(AGE_RANGE[0], AGE_RANGE[1] + 1)
    if parameters.knee is None:
        curve = ages.astype(float)
    else:
        late = 2.5 * np.logaddexp(0.0, (ages - parameters.knee) / 2.5)
        curve = 0.25 * ages + late
    edges = np.arange(ages[0], ages[-1] + 2)
    centre, width = parameters.age
    weight = np.diff(special.ndtr((edges - centre - 0.5) / width))
    weight /= weight.sum()
    mean = (weight * curve).sum()
    return dict(
        zip(
            ages.tolist(),
            (curve - mean) / np.sqrt((weight * (curve - mean) ** 2).sum()),
            strict=True,
        )
    )


_AGE_SCORES = {sex: _age_scores(parameters) for sex, parameters in PARAMETERS.items()}


def _truncated_normal(u, centre, width, low, high):
    a, b = special.ndtr([(low - centre) / width, (high - centre) / width])
    return float(centre + width * special.ndtri(a + u * (b - a)))


def _radical_inverse(number: int, base: int) -> float:
    """The digits of `number` mirrored at the point (van der Corput)."""
    result, digit = 0.0, 1.0 / base
    while number:
        number, remainder = divmod(number, base)
        result += remainder * digit
        digit /= base
    return result


def _spread(index: int, seed: int) -> tuple[float, float]:
    """Evenly spread uniform numbers for age and BMI: a small cohort covers their range too.

    A Halton sequence (bases 2 and 3) with a random start; men lie between the women.
    """
    shift = np.random.default_rng([seed, 7]).random(2)
    number, man = divmod(index, 2)
    age = _radical_inverse(number, 2) + man / 8 + shift[0]
    bmi = _radical_inverse(number, 3) + man / 6 + shift[1]
    return float(age % 1.0), float(bmi % 1.0)


def _first_visit_traits(index: int, seed: int, rng: np.random.Generator) -> Traits:
    sex = "female" if index % 2 == 0 else "male"
    parameters = PARAMETERS[sex]
    u_age, u_bmi = _spread(index, seed)
    low, high = AGE_RANGE
    age = math.floor(
        _truncated_normal(u_age, parameters.age[0] + 0.5, parameters.age[1], low, high + 1)
    )
    age = min(max(age, low), high)

    mean, sd = parameters.height
    height = rng.normal(mean - 0.1 * (age - 63.3), math.sqrt(sd**2 - (0.1 * 8.3) ** 2))
    height = float(np.clip(height, mean - 4 * sd, mean + 4 * sd))

    # ASSUME: BMI is log-normal above a lower end
    lower, mean, sd = parameters.bmi
    sigma = math.sqrt(math.log1p((sd / (mean - lower)) ** 2))
    mu = math.log(mean - lower) - sigma**2 / 2
    cut = [(math.log(limit - lower) - mu) / sigma for limit in BMI_RANGE]
    z_bmi = _truncated_normal(u_bmi, 0.0, 1.0, *cut)
    bmi = lower + math.exp(mu + sigma * z_bmi)

    # ASSUME: the muscle index is log-normal, about as skew as its range in Table 2
    r_bmi, r_age = _pearson(parameters.rho_bmi), _pearson(parameters.rho_age)
    rest = math.sqrt(1 - r_bmi**2 - r_age**2)
    z = r_bmi * z_bmi + r_age * _AGE_SCORES[sex][age] + rest * rng.standard_normal()
    mean, sd = parameters.imi
    sigma = math.sqrt(math.log1p((sd / mean) ** 2))
    imi = mean * math.exp(sigma * z - sigma**2 / 2)
    total = imi * (height / 100) ** 2

    # ASSUME: heavy tails (Student's t, 8 degrees of freedom), as the ranges of Table 2 ask
    mean, sd = parameters.difference
    difference = mean + sd * rng.standard_t(8) / math.sqrt(8 / 6)
    difference = float(np.clip(difference, -0.25 * total, 0.25 * total))

    # ASSUME: fat in the muscle grows with age and BMI
    fat = 0.05 * math.exp(0.02 * (age - 63) + 0.035 * (bmi - 26.5) + 0.25 * rng.standard_normal())
    return Traits(
        sex=sex,
        age=float(age),
        height_cm=round(height, 1),
        weight_kg=round(bmi * (height / 100) ** 2, 1),
        left_ml=round((total + difference) / 2, 2),
        right_ml=round((total - difference) / 2, 2),
        fat_fraction=round(float(np.clip(fat, 0.02, 0.25)), 4),
        seed=int(rng.integers(2**31)),
    )


def _later_traits(first: Traits, years: float, age: int, rng: np.random.Generator) -> Traits:
    """The same person `years` later: a little less muscle, highly correlated volumes.

    ASSUME: 0.4 % a year, 1.2 % a year in men past 62, and 2 % of change of their own.
    """
    per_year = 0.012 if first.sex == "male" and first.age > 62 else 0.004
    common = math.exp(-per_year * years + 0.02 * rng.standard_normal())
    side = 0.006 * rng.standard_normal()
    return replace(
        first,
        age=float(age),
        weight_kg=round(first.weight_kg * math.exp(0.03 * rng.standard_normal()), 1),
        left_ml=round(first.left_ml * common * (1 + side), 2),
        right_ml=round(first.right_ml * common * (1 - side), 2),
        fat_fraction=round(min(first.fat_fraction * (1 + 0.02 * years), 0.25), 4),
    )


def _birth_date(age: int, day: date, rng: np.random.Generator) -> date:
    """A birth date that makes someone `age` years old on `day`."""
    birthday = date(day.year - age, day.month, min(day.day, 28))
    return birthday - timedelta(days=int(rng.integers(0, 360)))


def age_on(birth: date, day: date) -> int:
    """Completed years."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def _diagnoses(sex: str, age: float, rng: np.random.Generator) -> tuple[str, ...]:
    column = 0 if sex == "female" else 1
    found = []
    for (code, prevalence), chance in zip(
        DIAGNOSES.items(), rng.random(len(DIAGNOSES)), strict=True
    ):
        share = prevalence[column]
        odds = share / (1 - share) * 1.04 ** (age - 63)
        if chance < odds / (1 + odds):
            found.append(code)
    return tuple(sorted(found))


def participant_eid(index: int, seed: int) -> str:
    """A seven-digit EID, 1,000,000 to 6,099,999, different for every index below 5,100,000."""
    # an affine step with a multiplier coprime to the size visits every number once
    size = 5_100_000
    offset = int(np.random.default_rng([seed, 11]).integers(size))
    return str(1_000_000 + (offset + index * 3_152_617) % size)


def participant(index: int, seed: int, repeat: bool = False) -> Participant:
    """Participant number `index` of the population with this seed.

    Depends on nothing else, so a larger cohort leaves the earlier participants as they were.

    Parameters
    ----------
    index : int
        From 0; even ones are women.
    seed : int
    repeat : bool
        Whether there is a repeat visit (instance 3), two to four years later.
    """
    rng = np.random.default_rng([seed, 101, index])
    traits = _first_visit_traits(index, seed, rng)
    day = date(2014, 5, 1) + timedelta(days=int(rng.integers(0, 2100)))
    birth = _birth_date(int(traits.age), day, rng)
    centre = _pick(rng, CENTRES)
    group = _pick(rng, PARAMETERS[traits.sex].ethnicity.items())
    ethnicity = _pick(rng, ETHNICITY_CODES[group])
    handedness = _pick(rng, HANDEDNESS)
    diagnoses = _diagnoses(traits.sex, traits.age, rng)
    baseline = date(2006, 4, 1) + timedelta(days=int(rng.integers(0, 1600)))
    visits = [Visit(2, traits, day)]
    if repeat:
        later = day + timedelta(days=int(rng.integers(2 * 365, LONGEST_REPEAT_DAYS)))
        years = (later - day).days / 365.25
        visits.append(Visit(3, _later_traits(traits, years, age_on(birth, later), rng), later))
    return Participant(
        index=index,
        eid=participant_eid(index, seed),
        ethnicity=int(ethnicity),
        handedness=handedness,
        centre=centre,
        birth=birth,
        baseline=baseline,
        visits=tuple(visits),
        diagnoses=diagnoses,
    )


def draw(n: int, seed: int, repeats=()) -> list[Participant]:
    """The first `n` participants of the population with this seed.

    Parameters
    ----------
    n : int
        How many; sexes alternate, so that any even number is balanced.
    seed : int
    repeats : collection of int
        Indices of those with a repeat visit.
    """
    repeats = set(repeats)
    return [participant(index, seed, index in repeats) for index in range(n)]


def _age_group(age: float, groups=((44, 53), (54, 63), (64, 72), (73, 82))) -> str | None:
    return next((f"{low}-{high}" for low, high in groups if low <= age <= high), None)


def paper_cohort(n: int = 5000, seed: int = 2020, repeats: int = 0) -> pd.DataFrame:
    """A cohort as numbers only: sample.tsv and volumes.tsv of `n` participants in one table.

    Parameters
    ----------
    n : int
        Participants.
    seed : int
    repeats : int
        How many of them have instance 3 as well.

    Returns
    -------
    DataFrame
        A row per participant and instance: eid, instance, status, sex, age, age_group,
        age_at_recruitment, bmi, height_cm, weight_kg, ethnicity, handedness, centre,
        visit_date, left_ml, right_ml, total_ml, mean_ml, difference_ml (left - right), imi_ml_m2,
        lean_ml, fat_fraction_percent, diagnoses (tuple of ICD-10 codes). Millilitres,
        centimetres, kilograms.
    """
    rows = []
    for person in draw(n, seed, range(repeats)):
        for visit in person.visits:
            traits = visit.traits
            total = traits.left_ml + traits.right_ml
            group = "-3" if person.ethnicity < 0 else str(person.ethnicity)[0]
            rows.append(
                {
                    "eid": person.eid,
                    "instance": str(visit.instance),
                    "status": "ok",
                    "sex": traits.sex,
                    "age": int(traits.age),
                    "age_group": _age_group(traits.age),
                    "age_at_recruitment": age_on(person.birth, person.baseline),
                    "bmi": traits.bmi,
                    "height_cm": traits.height_cm,
                    "weight_kg": traits.weight_kg,
                    "ethnicity": ETHNICITY_NAMES[group],
                    "handedness": person.handedness,
                    "centre": person.centre,
                    "visit_date": visit.day.isoformat(),
                    "left_ml": traits.left_ml,
                    "right_ml": traits.right_ml,
                    "total_ml": total,
                    "mean_ml": total / 2,
                    "difference_ml": traits.left_ml - traits.right_ml,
                    "imi_ml_m2": total / (traits.height_cm / 100) ** 2,
                    # ASSUME: fat lies in voxels of fat, so that lean volume is the rest
                    "lean_ml": total * (1 - traits.fat_fraction),
                    "fat_fraction_percent": 100 * traits.fat_fraction,
                    "diagnoses": person.diagnoses,
                }
            )
    return pd.DataFrame(rows)


def paper_folds(volumes: pd.DataFrame, annotated: int = 90, folds: int = 6, seed: int = 2020):
    """A cross-validation with the paper's Dice and agreement, as model/cross_validation.tsv.

    Parameters
    ----------
    volumes : DataFrame
        eid, instance, left_ml, right_ml; the first `annotated` of instance 2 have manual masks.

    Returns
    -------
    DataFrame
        fold, eid, instance, side, dice, automatic_ml, manual_ml: Dice 0.9046 with SD 0.0058
        between the folds' means; total volumes differ by -0.2 % with limits of 13.8 % (paper).
    """
    rng = np.random.default_rng([seed, 13])
    rows = volumes[volumes["instance"] == "2"].head(annotated)
    fold = np.arange(len(rows)) % folds + 1
    of_fold = 0.9046 + 0.0058 * rng.standard_normal(folds)
    error = -0.002 + 0.069 * rng.standard_normal(len(rows))  # of both muscles
    parts = []
    for side, sign in (("left", 1), ("right", -1)):
        own = sign * 0.01 * rng.standard_normal(len(rows))
        manual = rows[f"{side}_ml"].to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "fold": fold,
                    "eid": rows["eid"].to_numpy(),
                    "instance": "2",
                    "side": side,
                    "dice": np.clip(
                        of_fold[fold - 1] + 0.02 * rng.standard_normal(len(rows)), 0, 1
                    ),
                    "automatic_ml": manual * (1 + error + own),
                    "manual_ml": manual,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
