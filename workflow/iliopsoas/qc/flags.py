"""Runs the checks over a cohort: flags, what could not be evaluated, and who is worst."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from iliopsoas.config import QualityControl
from iliopsoas.files import KEY
from iliopsoas.qc.checks import CHECKS, SEVERITIES, Check
from iliopsoas.status import InputError, Verdict

FLAG_COLUMNS = [*KEY, "flag", "value", "limit", "direction", "unit", "severity", "reading"]
SUMMARY_COLUMNS = [
    "flag",
    "severity",
    "direction",
    "limit",
    "unit",
    "evaluated",
    "raised",
    "not_evaluable",
    "reason",
    "method",
    "definition",
    "source",
]
PREDICTED = "quality.predicted_dice"
NO_VOLUME = "no_volume"  # severity of a participant that a stage refused
# what a participant's flags amount to, from good to bad
VERDICTS = ("pass", "note", "review", "serious", NO_VOLUME)
WORST_FIRST = ("serious", "review", "note", NO_VOLUME, "pass")


def limits_of(limits: Mapping | None) -> dict:
    """Given limits over the defaults; a key that no check has is an error."""
    known = QualityControl().model_dump()  # the one place where the defaults stand
    unknown = set(limits or {}) - set(known)
    if unknown:
        raise InputError(f"qc limits: unknown key {sorted(unknown)[0]!r}")
    return known | dict(limits or {})


def _missing_columns(check: Check, cohort) -> list[str]:
    return [
        need for need in check.needs if not any(name in cohort.columns for name in need.split("|"))
    ]


def _why_not(check: Check, cohort, unknown) -> str:
    """The commonest reason why participants with a volume have no value."""
    reasons = {
        f"{need.split('|')[0]} missing": int(cohort.loc[unknown, need.split("|")[0]].isna().sum())
        for need in check.needs
        if need.split("|")[0] in cohort.columns
    }
    reason, count = max(reasons.items(), key=lambda item: item[1], default=("", 0))
    return reason if count else "too few participants to compare with, or nothing to compare"


def evaluate(cohort, limits: Mapping | None = None, checks: Mapping | None = None):
    """Run every check.

    Parameters
    ----------
    cohort : DataFrame
        From `evidence.cohort`.
    limits : mapping, optional
        Section qc of the configuration; missing keys take its defaults.
    checks : mapping of str to Check, optional
        Default: all of `checks.CHECKS`.

    Returns
    -------
    flags : DataFrame
        results/qc/flags.tsv: a row per participant and raised flag. A participant without a
        volume has its verdict as flag.
    summary : DataFrame
        results/qc/summary.tsv: per check how many were evaluated, raised, and could not be
        evaluated (of those with status ok), with the commonest reason.
    """
    limits = limits_of(limits)
    measured = cohort["status"] == Verdict.OK
    refused = cohort[~measured]
    stage = refused.get("stopped_at", pd.Series("", index=refused.index)).fillna("").astype(str)
    message = refused.get("message", pd.Series("", index=refused.index)).fillna("").astype(str)
    rows = [
        refused[KEY].assign(
            flag=refused["status"].astype(str),
            value=np.nan,
            limit=np.nan,
            direction="",
            unit="",
            severity=NO_VOLUME,
            reading="no volume; " + stage + ": " + message,
        )
    ]
    summary = []
    for check in (CHECKS if checks is None else checks).values():
        limit = float(limits[check.limit])
        absent = _missing_columns(check, cohort)
        values = pd.Series(np.nan, index=cohort.index)
        if not absent:
            values = check.value(cohort)
        method = values.attrs.get("method", "")
        values = values.where(measured)
        raised = check.is_raised(values, limit)
        unknown = measured & values.isna()
        reason = ""
        if absent:
            reason = "not known in this run: " + ", ".join(absent)
        elif unknown.any():
            reason = _why_not(check, cohort, unknown)
        rows.append(
            cohort.loc[raised, KEY].assign(
                flag=check.name,
                value=values[raised],
                limit=limit,
                direction=check.direction,
                unit=check.unit,
                severity=check.severity,
                reading=[check.reading.format(value=v, limit=limit) for v in values[raised]],
            )
        )
        summary.append(
            {
                "flag": check.name,
                "severity": check.severity,
                "direction": check.direction,
                "limit": limit,
                "unit": check.unit,
                "evaluated": int(values.notna().sum()),
                "raised": int(raised.sum()),
                "not_evaluable": int(unknown.sum()),
                "reason": reason,
                "method": method,
                "definition": check.definition,
                "source": check.source,
            }
        )
    flags = pd.concat([part for part in rows if len(part)] or rows[:1])[FLAG_COLUMNS]
    order = cohort[KEY].assign(_row=np.arange(len(cohort)))
    flags = flags.merge(order, on=KEY).sort_values("_row", kind="stable").drop(columns="_row")
    return flags.reset_index(drop=True), pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def verdicts(people, flags) -> pd.DataFrame:
    """What each participant's flags amount to, worst first (results/qc/verdicts.tsv).

    Parameters
    ----------
    people : DataFrame
        eid and instance of everyone; where there is ``quality.predicted_dice``, it orders those
        with the same verdict.
    flags : DataFrame
        From `evaluate`.

    Returns
    -------
    DataFrame
        eid, instance, qc (`VERDICTS`), score, flags (comma-separated, the worst first).
        The score adds 100 for a serious flag, 10 for one to review, 1 for a note, each up to
        twice that when far beyond its limit. Order: serious, review, note, without a volume
        (they cannot spoil a result), pass; among these by predicted Dice, then by score.
        Flags that say the same twice would otherwise stand before a mask that is wrong.
    """
    weight = flags["severity"].map(SEVERITIES | {NO_VOLUME: 0.5})
    distance = np.zeros(len(flags))
    for name, check in CHECKS.items():
        rows = (flags["flag"] == name).to_numpy()
        if rows.any():
            part = flags[rows]
            distance[rows] = check.distance(part["value"], float(part["limit"].iloc[0]))
    scored = flags.assign(
        _score=weight * (1 + np.tanh(np.nan_to_num(distance)) * (weight > 0.5)),
        _rank=flags["severity"].map({name: rank for rank, name in enumerate(VERDICTS)}),
    ).sort_values("_score", ascending=False, kind="stable")
    found = scored.groupby(KEY, sort=False).agg(
        _rank=("_rank", "max"), score=("_score", "sum"), flags=("flag", ",".join)
    )
    known = [name for name in (PREDICTED,) if name in people.columns]
    result = people[[*KEY, *known]].merge(found.reset_index(), on=KEY, how="left")
    result["qc"] = result["_rank"].fillna(0).astype(int).map(dict(enumerate(VERDICTS)))
    result["score"] = result["score"].fillna(0.0).round(3)
    result["flags"] = result["flags"].fillna("")
    result["_place"] = result["qc"].map({name: place for place, name in enumerate(WORST_FIRST)})
    # one without a prediction has nothing that could be measured
    result = result.sort_values("score", ascending=False, kind="stable").sort_values(
        ["_place", *known], kind="stable", na_position="first"
    )
    return result[[*KEY, "qc", "score", "flags"]].reset_index(drop=True)


def annotate(volumes, verdict_table) -> pd.DataFrame:
    """The volume table with ``qc_verdict`` and ``qc_flags``, rows and other columns as before."""
    found = verdict_table.rename(columns={"qc": "qc_verdict", "flags": "qc_flags"})
    kept = volumes.drop(columns=["qc_verdict", "qc_flags"], errors="ignore")
    result = kept.merge(found[[*KEY, "qc_verdict", "qc_flags"]], on=KEY, how="left")
    return result[[*volumes.columns, *result.columns.difference(volumes.columns, sort=False)]]
