"""Everything quality control says about a cohort, or about one participant, in one call."""

from dataclasses import dataclass

import pandas as pd

from iliopsoas import machine
from iliopsoas.config import QualityControl
from iliopsoas.files import KEY
from iliopsoas.qc import audit, decisions, evidence, flags, opinion, quality, report
from iliopsoas.status import InputError, Verdict

NOBODY = dict.fromkeys(KEY, "")


@dataclass(frozen=True)
class Judgement:
    """Tables of results/qc, by file name.

    Parameters
    ----------
    volumes : DataFrame
        The volume table with ``qc_verdict`` and ``qc_flags``.
    cohort : DataFrame
        Everything the flags looked at, for figures; not written.
    flags, summary, verdicts : DataFrame
        See `qc.flags`.
    quality : DataFrame
        Predicted quality per side; empty where no model could be made, `notes` says why.
    drawn : DataFrame
        The blinded sample.
    decided, excluded, kappa : DataFrame
        Decisions combined, who leaves the statistics, agreement of raters.
    residual : DataFrame
        One row: the residual failure rate with its interval.
    shares, before_after : DataFrame
        See `qc.report`.
    notes : list of str
        What could not be done, for the log.
    """

    volumes: pd.DataFrame
    cohort: pd.DataFrame
    flags: pd.DataFrame
    summary: pd.DataFrame
    verdicts: pd.DataFrame
    quality: pd.DataFrame
    drawn: pd.DataFrame
    decided: pd.DataFrame
    excluded: pd.DataFrame
    kappa: pd.DataFrame
    residual: pd.DataFrame
    shares: pd.DataFrame
    before_after: pd.DataFrame
    notes: list


def _predicted(cohort, rows, coverage, notes):
    """Predicted quality of everyone and the ledger for the flags; both empty without a model.

    From rows of annotated participants where there are enough, else from synthetic people where
    there is a second opinion.
    """
    features = quality.cohort_features(cohort)
    if rows is None or not len(features):
        notes.append("no predicted quality from annotations: no rows to learn from, or no volumes")
    else:
        try:
            model = rows if isinstance(rows, quality.QualityModel) else quality.fit(rows, coverage)
            return quality.participants(features, model)
        except InputError as error:
            notes.append(f"no predicted quality from annotations: {error}")
    features = opinion.features(cohort)
    if len(features):
        try:
            found = quality.participants(features, opinion.model(coverage), opinion.LEARNED_ON)
        except InputError as error:
            notes.append(f"no predicted quality from a second opinion: {error}")
        else:
            notes.append("predicted quality was learned on synthetic people alone")
            return found
    return pd.DataFrame(columns=[*KEY, "side"]), None


def _count_open(combined, blind, drawn) -> int:
    """Drawn unflagged participants with a decision that counts, but none taken blinded."""
    sample = drawn.loc[drawn["group"] == "unflagged", KEY]
    counted = [
        len(sample.merge(table[table["decision"] != ""], on=KEY)) for table in (combined, blind)
    ]
    return counted[0] - counted[1]


@machine.one_thread()
def judge(sample, volumes, ledgers, settings=None, decided=None, quality_rows=None) -> Judgement:
    """Flags, verdicts, predicted quality, exclusions and report tables of a cohort.

    Parameters
    ----------
    sample, volumes : DataFrame
        The cohort's sample; the table of `volumes.table`.
    ledgers : dict of str to DataFrame
        Stage to ledger.
    settings : mapping, optional
        Section qc of the configuration; missing keys take its defaults.
    decided : DataFrame, path or list of paths, optional
        Review decisions: TSVs, a folder of them, or what `decisions.read` returned.
    quality_rows : DataFrame or QualityModel, optional
        From `quality.held_out_rows`, or what `quality.fit` made of them.
    """
    settings = QualityControl().model_dump() | dict(settings or {})
    notes = []
    cohort = evidence.cohort(sample, volumes, ledgers)
    sides, people = _predicted(cohort, quality_rows, settings["quality_coverage"], notes)
    if people is not None:
        names = ("predicted_dice", "learned_on")
        named = people.rename(columns={name: f"quality.{name}" for name in names})
        cohort = cohort.merge(named, on=KEY, how="left", validate="one_to_one")
    raised, summary = flags.evaluate(cohort, settings)
    verdicts = flags.verdicts(cohort, raised)
    drawn = audit.draw(verdicts, settings["review_sample"], settings["review_seed"])

    if decided is None:
        decided = pd.DataFrame(columns=[*decisions.COLUMNS, *decisions.OPTIONAL], dtype=str)
    elif not isinstance(decided, pd.DataFrame):
        decided = decisions.read(decided)
    combined = decisions.combine(decided, volumes)
    stale = int((combined["decision"] == "").sum())
    if stale:
        notes.append(f"{stale} scans have only decisions on earlier masks; look again")
    absent = decisions.unknown(decided, volumes)
    if absent:
        notes.append(f"decisions on {absent} scans that are not in this run do not count")
    blind = decisions.combine(decisions.blind(decided), volumes)
    seen = _count_open(combined, blind, drawn)
    if seen:
        notes.append(
            f"{seen} scans of the blinded sample were judged with their flags in sight "
            "only: they do not count for the residual failure rate"
        )
    excluded = decisions.excluded(combined)
    return Judgement(
        volumes=flags.annotate(volumes, verdicts),
        cohort=cohort,
        flags=raised,
        summary=summary,
        verdicts=verdicts,
        quality=sides,
        drawn=drawn,
        decided=combined,
        excluded=excluded,
        kappa=decisions.kappa(decided, volumes),
        residual=pd.DataFrame([decisions.residual_failure_rate(blind, drawn)]),
        shares=report.shares(cohort, verdicts, excluded),
        before_after=report.before_after(cohort, verdicts, excluded),
        notes=notes,
    )


def judge_one(measures: dict, records: dict, limits=None) -> dict:
    """Run every check that can be evaluated on one participant.

    Parameters
    ----------
    measures : dict
        From `volumes.measure`.
    records : dict of str to dict
        Stage (dixon, landmarks, segment, volumes) to its record; `evidence.gather` is part of
        that of volumes. A check whose record is not there is not evaluated; with that of a second
        opinion, quality is predicted from synthetic people.
    limits : mapping, optional
        Section qc of the configuration; missing keys take its defaults.

    Returns
    -------
    dict
        quality (side to predicted quality; empty where there is none), qc_verdict
        (`flags.VERDICTS`), qc_flags (comma-separated, the worst first: as in volumes.tsv), flags
        (list of dict: flag, value, limit, direction, unit, severity, reading) and not_evaluated
        (list of str: checks that need a cohort, another visit or a record that is not there).
    """
    row = NOBODY | {"status": str(Verdict.OK)}
    ledgers = {
        stage: pd.DataFrame([NOBODY | {"verdict": str(Verdict.OK)} | record])
        for stage, record in records.items()
    }
    table = evidence.cohort(
        pd.DataFrame([NOBODY]), pd.DataFrame([row | _numbers(measures)]), ledgers
    )
    coverage = flags.limits_of(limits)["quality_coverage"]
    sides, _ = _predicted(table, None, coverage, []) if "opinion" in records else (None, None)
    raised, summary = flags.evaluate(table, limits)
    verdict = flags.verdicts(table, raised).iloc[0]
    worst_first = verdict["flags"].split(",") if verdict["flags"] else []
    found = raised.drop(columns=KEY).set_index("flag", drop=False).loc[worst_first]
    predicted = {} if sides is None else sides.drop(columns=KEY).set_index("side").to_dict("index")
    return {
        "quality": predicted,
        "qc_verdict": verdict["qc"],
        "qc_flags": verdict["flags"],
        "flags": found.to_dict("records"),
        "not_evaluated": summary.loc[summary["evaluated"] == 0, "flag"].tolist(),
    }


def _numbers(measures: dict) -> dict:
    """Measures with not-a-number for what is missing: a column of None has no arithmetic."""
    return {name: float("nan") if value is None else value for name, value in measures.items()}
