"""The quality flags of one participant by itself, without a cohort to compare with."""

import pandas as pd

from iliopsoas.files import KEY
from iliopsoas.qc import evidence, flags
from iliopsoas.status import Verdict

NOBODY = dict.fromkeys(KEY, "")


def judge(measures: dict, records: dict, limits=None) -> dict:
    """Run every check that can be evaluated on one participant.

    Parameters
    ----------
    measures : dict
        From `volumes.measure`.
    records : dict of str to dict
        Stage (dixon, landmarks, segment, volumes) to its record; `evidence.gather` is part of
        that of volumes. A check whose record is not there is not evaluated.
    limits : mapping, optional
        Section qc of the configuration; missing keys take its defaults.

    Returns
    -------
    dict
        qc_verdict (`flags.VERDICTS`), qc_flags (comma-separated, the worst first: as in
        volumes.tsv), flags (list of dict: flag, value, limit, direction, unit, severity,
        reading) and not_evaluated (list of str: checks that need a cohort, another visit or a
        record that is not there).
    """
    row = NOBODY | {"status": str(Verdict.OK)}
    ledgers = {
        stage: pd.DataFrame([NOBODY | {"verdict": str(Verdict.OK)} | record])
        for stage, record in records.items()
    }
    table = evidence.cohort(
        pd.DataFrame([NOBODY]), pd.DataFrame([row | _numbers(measures)]), ledgers
    )
    raised, summary = flags.evaluate(table, limits)
    verdict = flags.verdicts(table, raised).iloc[0]
    worst_first = verdict["flags"].split(",") if verdict["flags"] else []
    found = raised.drop(columns=KEY).set_index("flag", drop=False).loc[worst_first]
    return {
        "qc_verdict": verdict["qc"],
        "qc_flags": verdict["flags"],
        "flags": found.to_dict("records"),
        "not_evaluated": summary.loc[summary["evaluated"] == 0, "flag"].tolist(),
    }


def _numbers(measures: dict) -> dict:
    """Measures with not-a-number for what is missing: a column of None has no arithmetic."""
    return {name: float("nan") if value is None else value for name, value in measures.items()}
