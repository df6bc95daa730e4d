"""What a flag's check is, and the register of all of them.

A check takes the cohort table of `evidence.cohort` and returns a value per participant;
not-a-number means that it could not be evaluated. Limits are the configuration's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from iliopsoas.grid import SIDES
from iliopsoas.qc import robust

PAPER = "the paper, Discussion"
OURS = "this project"
SEVERITIES = {"serious": 100.0, "review": 10.0, "note": 1.0}


@dataclass(frozen=True)
class Check:
    """A flag's definition.

    Parameters
    ----------
    name : str
        The flag, as in flags.tsv.
    value : callable
        Cohort table to a Series of values; ``attrs["method"]`` may say how they were computed.
    limit : str
        The configuration key (section qc) that holds the limit.
    direction : {"high", "low", "both"}
        Raised above the limit, below it, or where the absolute value is above it.
    severity : {"serious", "review", "note"}
        serious: probably wrong; review: look at it; note: good to know.
    unit : str
    needs : tuple of str
        Columns without which it cannot be evaluated; ``a|b`` = one of both.
    reading : str
        The sentence for people; {value} and {limit} are filled in.
    source : str
        Who proposes the check.
    """

    name: str
    value: Callable[[pd.DataFrame], pd.Series]
    limit: str
    direction: str
    severity: str
    unit: str
    needs: tuple[str, ...]
    reading: str
    source: str

    @property
    def definition(self) -> str:
        """The docstring's first paragraph."""
        return " ".join((self.value.__doc__ or "").split("\n\n")[0].split())

    def is_raised(self, values: pd.Series, limit: float) -> pd.Series:
        """Whether each value lies beyond the limit; never where it is missing."""
        if self.direction == "low":
            return values < limit
        return (values.abs() if self.direction == "both" else values) > limit

    def distance(self, values: pd.Series, limit: float) -> pd.Series:
        """How far beyond the limit, 0 at it; to order participants of one severity."""
        values = values.abs() if self.direction == "both" else values
        beyond = limit - values if self.direction == "low" else values - limit
        return beyond / max(abs(limit), 1e-9) if limit else beyond


CHECKS: dict[str, Check] = {}


def check(limit, direction, severity, unit, needs, reading, source):
    """Register a function as the check of its own name."""

    def register(function):
        name = function.__name__
        CHECKS[name] = Check(
            name, function, limit, direction, severity, unit, tuple(needs), reading, source
        )
        return function

    return register


def sides(name: str, stage: str = "volumes") -> tuple[str, ...]:
    """One of both sides' columns is enough: a missing side has a flag of its own."""
    return (f"{stage}.left_{name}|{stage}.right_{name}",)


def worst(cohort, name, stage: str = "volumes", lowest: bool = False) -> pd.Series:
    """The worse side's value, of the sides that have one."""
    columns = [f"{stage}.{side}_{name}" for side in SIDES]
    values = cohort[[column for column in columns if column in cohort]].apply(pd.to_numeric)
    return values.min(axis=1) if lowest else values.max(axis=1)


def numbers(cohort, column) -> pd.Series:
    return pd.to_numeric(cohort[column], errors="coerce").astype(float)


def scored(scores: robust.Scores) -> pd.Series:
    scores.z.attrs["method"] = scores.method
    return scores.z
