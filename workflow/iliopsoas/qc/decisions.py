"""What raters decided on the review page: read, combined, and turned into exclusions."""

from pathlib import Path

import numpy as np
import pandas as pd
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from iliopsoas.files import KEY
from iliopsoas.status import InputError

COLUMNS = [*KEY, "rater", "decision", "note", "time"]
OPTIONAL = ["mode", "judged"]
DECISIONS = ("accept", "reject", "redo")


def read(source) -> pd.DataFrame:
    """Read the review page's TSV, or every ``*.tsv`` of a folder.

    Parameters
    ----------
    source : path

    Returns
    -------
    DataFrame
        `COLUMNS` and `OPTIONAL`, one row per participant and rater: the newest. Rows with an
        empty decision (a note alone) are kept.

    Raises
    ------
    InputError
        A missing file or column, an unknown decision, an empty rater; with file and line.
    """
    source = Path(source)
    paths = sorted(source.glob("*.tsv")) if source.is_dir() else [source]
    if not paths or not paths[0].exists():
        raise InputError(f"review decisions: no file at {source}")
    tables = []
    for path in paths:
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, quoting=3, encoding="utf-8-sig"
        )
        missing = [name for name in COLUMNS if name not in table.columns]
        if missing:
            raise InputError(
                f"{path.name}: column {missing[0]} is missing; expected a TSV saved by the review "
                f"page with {', '.join(COLUMNS)}"
            )
        table = table.reindex(columns=[*COLUMNS, *OPTIONAL]).fillna("")
        for name in [*KEY, "rater", "decision", "time", "mode"]:
            table[name] = table[name].str.strip()
        table["decision"] = table["decision"].str.lower()
        for wrong, expected in (
            (~table["decision"].isin([*DECISIONS, ""]), f"decision must be one of {DECISIONS}"),
            (table["rater"] == "", "the rater is empty"),
            ((table["eid"] == "") | (table["instance"] == ""), "eid or instance is empty"),
        ):
            if wrong.any():
                line = int(np.flatnonzero(wrong)[0]) + 2
                raise InputError(f"{path.name}, line {line}: {expected}")
        tables.append(table)
    merged = pd.concat(tables, ignore_index=True).sort_values("time", kind="stable")
    return merged.drop_duplicates([*KEY, "rater"], keep="last").reset_index(drop=True)


def combine(decisions, volumes=None) -> pd.DataFrame:
    """One decision per participant.

    Parameters
    ----------
    decisions : DataFrame
        From `read`.
    volumes : DataFrame, optional
        volumes.tsv. Decisions on somebody who is not in it (withdrawn) are left out; a decision
        that names another mask than today's (``judged`` against ``segment_fingerprint``) is
        stale and does not count.

    Returns
    -------
    DataFrame
        eid, instance, decision, raters (count), agree, stale (count), notes. Raters who disagree:
        the strictest decision holds (reject, then redo, then accept) until they settle it. Where
        only stale decisions exist, the decision is empty.
    """
    votes = decisions[decisions["decision"] != ""].assign(stale=False)
    if volumes is not None:
        votes = votes.merge(volumes[[*KEY, "segment_fingerprint"]], on=KEY)
        now = votes["segment_fingerprint"].fillna("").astype(str)
        votes["stale"] = (votes["judged"] != "") & (now != "") & (votes["judged"] != now)
    strictness = {"accept": 0, "redo": 1, "reject": 2}
    rows = []
    for (eid, instance), group in votes.groupby(KEY):
        fresh = group[~group["stale"]]
        final = max(fresh["decision"], key=strictness.get, default="")
        notes = [f"{row.rater}: {row.note}" for row in fresh.itertuples() if row.note]
        rows.append(
            {
                "eid": eid,
                "instance": instance,
                "decision": final,
                "raters": fresh["rater"].nunique(),
                "agree": len(set(fresh["decision"])) <= 1,
                "stale": int(group["stale"].sum()),
                "notes": " | ".join(notes),
            }
        )
    names = [*KEY, "decision", "raters", "agree", "stale", "notes"]
    return pd.DataFrame(rows, columns=names)


def excluded(combined) -> pd.DataFrame:
    """Participants who leave the statistics: eid, instance, reason.

    Rejected ones stay out; a redo keeps its volume out until the new one is judged.
    """
    out = combined[combined["decision"].isin(["reject", "redo"])]
    reason = "review: " + out["decision"] + " by " + out["raters"].astype(str) + " rater(s)"
    return out[KEY].assign(reason=reason).reset_index(drop=True)


def kappa(decisions) -> pd.DataFrame:
    """Cohen's kappa for every two raters, on the participants both decided about.

    Returns
    -------
    DataFrame
        rater_a, rater_b, participants, agreement (share), kappa, low, high. The 95 % interval
        uses the large-sample standard error of Fleiss, Cohen and Everitt (1969). Kappa is
        missing where chance agreement is complete, as when both gave one and the same decision.
    """
    wide = {
        rater: group.set_index(KEY)["decision"]
        for rater, group in decisions[decisions["decision"] != ""].groupby("rater")
    }
    raters, rows = sorted(wide), []
    for i, first in enumerate(raters):
        for second in raters[i + 1 :]:
            pair = pd.concat([wide[first], wide[second]], axis=1, join="inner")
            pair.columns = ["a", "b"]
            rows.append(
                {"rater_a": first, "rater_b": second, "participants": len(pair)} | _kappa(pair)
            )
    names = ["rater_a", "rater_b", "participants", "agreement", "kappa", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def _kappa(pair) -> dict:
    """Agreement, kappa and its 95 % interval of columns a and b."""
    if not len(pair):
        return {}
    table = pd.crosstab(pair["a"], pair["b"])
    used = sorted(set(table.index) | set(table.columns))
    agreement = float((pair["a"] == pair["b"]).mean())
    if len(used) < 2:
        return {"agreement": agreement}
    found = cohens_kappa(table.reindex(index=used, columns=used, fill_value=0))
    return {
        "agreement": agreement,
        "kappa": float(found.kappa),
        "low": max(float(found.kappa_low), -1.0),
        "high": min(float(found.kappa_upp), 1.0),
    }


def residual_failure_rate(decisions, drawn, confidence: float = 0.95) -> dict:
    """How often an unflagged segmentation is bad, estimated from the blinded sample.

    Parameters
    ----------
    decisions : DataFrame
        From `combine`: one decision per participant.
    drawn : DataFrame
        From `audit.draw`; its decoys do not count.
    confidence : float

    Returns
    -------
    dict
        drawn, judged, failed (rejected or to be redone), rate, low, high, method: the exact
        interval of Clopper and Pearson (1934). Rates are missing while nothing is judged.
    """
    sample = drawn.loc[drawn["group"] == "unflagged", KEY]
    judged = sample.merge(decisions[decisions["decision"] != ""], on=KEY)
    n, failed = len(judged), int(judged["decision"].isin(["reject", "redo"]).sum())
    result = {"drawn": len(sample), "judged": n, "failed": failed}
    if not n:
        return result | {"rate": None, "low": None, "high": None, "method": "nothing judged yet"}
    low, high = proportion_confint(failed, n, alpha=1 - confidence, method="beta")
    return result | {
        "rate": failed / n,
        "low": float(low),
        "high": float(high),
        "method": f"Clopper-Pearson, {100 * confidence:g} %",
    }
