"""Runs the checks over a cohort: flags, what could not be evaluated, and who is worst."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from iliopsoas.config import QualityControl
from iliopsoas.files import KEY
from iliopsoas.qc import robust
from iliopsoas.qc.checks import CHECKS, SEVERITIES
from iliopsoas.qc.registry import Absent, Evidence
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
    "origin",
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


def _why_not(evidence, unknown) -> str:
    """The commonest reason why participants with a volume have no value."""
    reasons = {
        f"{name} missing": int(evidence.table.loc[unknown, name].isna().sum())
        for name in dict.fromkeys(evidence.asked)
    }
    reason, count = max(reasons.items(), key=lambda item: item[1], default=("", 0))
    return reason if count else "too few participants to compare with, or nothing to compare"


def _measured(check, cohort, measured):
    """A check's values of those with a volume, and why some have none."""
    evidence = Evidence(cohort)
    try:
        values = check.value(evidence)
    except Absent as absent:
        reason = f"not known in this run: {absent}"
        return pd.Series(np.nan, index=cohort.index), "", reason if measured.any() else ""
    method = values.attrs.get("method", "")
    values = values.where(measured)
    unknown = measured & values.isna()
    return values, method, _why_not(evidence, unknown) if unknown.any() else ""


def _limits(check, values, cohort, settings):
    """Everyone's limit, and how it follows the cohort; see `robust.cohort_limits`."""
    start = float(settings[check.limit]) if check.limit else 0.0
    if not check.relative:
        return start, robust.Scores(pd.Series(start, index=values.index), "")
    absent = pd.Series(None, index=cohort.index, dtype=object)
    sex, site = (cohort.get(name, absent) for name in ("sex", "centre"))
    least, spreads = settings["relative_from"], settings["relative_spreads"]
    return start, robust.cohort_limits(
        values, sex, site, start, check.direction == "low", least, spreads
    )


def evaluate(cohort, limits: Mapping | None = None):
    """Run every check.

    Parameters
    ----------
    cohort : DataFrame
        From `evidence.cohort`.
    limits : mapping, optional
        Section qc of the configuration; missing keys take its defaults.

    Returns
    -------
    flags : DataFrame
        results/qc/flags.tsv: a row per participant and raised flag. A participant without a
        volume has its verdict as flag.
    summary : DataFrame
        results/qc/summary.tsv: per check how many were evaluated, raised, and could not be
        evaluated (of those with status ok), with the commonest reason.
    """
    settings = limits_of(limits)
    measured = cohort["status"] == Verdict.OK
    rows = [_refused(cohort[~measured])]
    summary = []
    for check in CHECKS.values():
        values, method, reason = _measured(check, cohort, measured)
        start, own = _limits(check, values, cohort, settings)
        raised = check.is_raised(values, own.z)
        rows.append(
            cohort.loc[raised, KEY].assign(
                flag=check.name,
                value=values[raised],
                limit=own.z[raised],
                direction=check.direction,
                unit=check.unit,
                severity=check.severity,
                reading=[
                    check.reading.format(value=value, limit=limit)
                    for value, limit in zip(values[raised], own.z[raised], strict=True)
                ],
            )
        )
        summary.append(
            {
                "flag": check.name,
                "severity": check.severity,
                "direction": check.direction,
                "limit": start,
                "unit": check.unit,
                "evaluated": int(values.notna().sum()),
                "raised": int(raised.sum()),
                "not_evaluable": int((measured & values.isna()).sum()),
                "reason": reason,
                "method": "; ".join(filter(None, (method, own.method))),
                "definition": check.definition,
                "source": check.source,
                "origin": check.origin,
            }
        )
    flags = pd.concat([part for part in rows if len(part)] or rows[:1])[FLAG_COLUMNS]
    order = cohort[KEY].assign(_row=np.arange(len(cohort)))
    flags = flags.merge(order, on=KEY).sort_values("_row", kind="stable").drop(columns="_row")
    return flags.reset_index(drop=True), pd.DataFrame(summary, columns=SUMMARY_COLUMNS)


def _refused(refused) -> pd.DataFrame:
    """Who has no volume: the verdict is the flag."""
    stage, message = (
        refused.get(name, pd.Series("", index=refused.index)).fillna("").astype(str)
        for name in ("stopped_at", "message")
    )
    return refused[KEY].assign(
        flag=refused["status"].astype(str),
        value=np.nan,
        limit=np.nan,
        direction="",
        unit="",
        severity=NO_VOLUME,
        reading="no volume; " + stage + ": " + message,
    )


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
            distance[rows] = check.distance(part["value"], part["limit"])
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
