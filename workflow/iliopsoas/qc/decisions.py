"""What raters decided on the review page: read, combined, and turned into exclusions."""

import codecs
import re
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
STRICTNESS = ("accept", "redo", "reject")
OPEN, BLINDED = "open", "blinded"  # mode: whether flags, numbers and identity were in sight


def read(source) -> pd.DataFrame:
    """Read TSVs of the review page, as saved or after a spreadsheet.

    Parameters
    ----------
    source : path or list of paths
        A file, or a folder of which every ``*.tsv`` is read.

    Returns
    -------
    DataFrame
        `COLUMNS` and `OPTIONAL`, one row per participant, rater and whether judged blinded: the
        newest. Rows with an empty decision (a note alone, a decision taken back) are kept.

    Raises
    ------
    InputError
        A missing file or column, a row with too many cells, an unknown decision, an empty
        rater, a text that is not Unicode; with file and line.
    """
    sources = [Path(path) for path in (source if isinstance(source, list) else [source])]
    paths = []
    for path in sources:
        # a system's own hidden files are no tables
        paths += sorted(path.glob("[!.]*.tsv")) if path.is_dir() else [path]
    if not paths or not all(path.exists() for path in paths):
        raise InputError(f"review decisions: no file at {', '.join(map(str, sources))}")
    merged = pd.concat([_table(path) for path in paths], ignore_index=True)
    merged = merged.sort_values("time", kind="stable")
    newest = ~merged.assign(mode=merged["mode"] == BLINDED).duplicated(
        [*KEY, "rater", "mode"], keep="last"
    )
    return merged[newest].reset_index(drop=True)


def _table(path) -> pd.DataFrame:
    """One file's rows, all text."""
    lines = re.split(r"\r\n|\r|\n", _decoded(path))
    header = [_unquoted(cell).lower() for cell in lines[0].split("\t")]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"{path.name}: column {missing[0]} is missing; expected a TSV saved by the review "
            f"page with {', '.join(COLUMNS)}"
        )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [_unquoted(cell) for cell in line.split("\t")]
        if any(cells[len(header) :]):
            raise InputError(
                f"{path.name}, line {number}: {len(cells)} cells, expected {len(header)}"
            )
        row = dict.fromkeys([*COLUMNS, *OPTIONAL], "") | dict(zip(header, cells, strict=False))
        row["decision"], row["mode"] = row["decision"].lower(), row["mode"].lower()
        for wrong, expected in (
            (row["decision"] not in (*DECISIONS, ""), f"decision must be one of {DECISIONS}"),
            (not row["rater"], "the rater is empty"),
            (not row["eid"] or not row["instance"], "eid or instance is empty"),
        ):
            if wrong:
                raise InputError(f"{path.name}, line {number}: {expected}")
        rows.append(row)
    return pd.DataFrame(rows, columns=[*COLUMNS, *OPTIONAL], dtype=object)


def _decoded(path) -> str:
    """A file's text: UTF-8, or UTF-16 as spreadsheets write "Unicode text"."""
    data = Path(path).read_bytes()
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name}, line {line}: the text is not UTF-8; save the file as UTF-8 or "
            "Unicode text"
        ) from None


def _unquoted(cell: str) -> str:
    """A cell without the quotes that spreadsheets put around commas and quotes."""
    cell = cell.strip()
    if len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return cell[1:-1].replace('""', '"').strip()
    return cell


def _votes(decisions, volumes=None) -> pd.DataFrame:
    """Rows with a decision, on participants of `volumes`, and whether their mask is another now."""
    votes = decisions[decisions["decision"] != ""].assign(stale=False)
    if volumes is not None:
        votes = votes.merge(volumes[[*KEY, "segment_fingerprint"]], on=KEY)
        now = votes["segment_fingerprint"].astype(object)
        now = now.where(now.notna(), "").astype(str)
        votes["stale"] = (votes["judged"] != "") & (now != "") & (votes["judged"] != now)
    return votes.sort_values("time", kind="stable")


def unknown(decisions, volumes) -> int:
    """Participants with decisions who are not in the volume table."""
    known = pd.MultiIndex.from_frame(volumes[KEY])
    return int((~pd.MultiIndex.from_frame(decisions[KEY].drop_duplicates()).isin(known)).sum())


def blind(decisions) -> pd.DataFrame:
    """Decisions taken without sight of flags; files without a mode do not say otherwise."""
    return decisions[decisions["mode"] != OPEN]


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
        eid, instance, decision, raters (count), agree, stale (count), notes. Of a rater who
        judged both blinded and openly the newer decision counts. Raters who disagree: the
        strictest decision holds (reject, then redo, then accept) until they settle it. Where
        only stale decisions exist, the decision is empty.
    """
    votes = _votes(decisions, volumes).drop_duplicates([*KEY, "rater"], keep="last")
    votes["_rank"] = votes["decision"].map(STRICTNESS.index)
    fresh = votes[~votes["stale"]]
    noted = fresh[fresh["note"] != ""]
    found = votes.groupby(KEY).agg(stale=("stale", "sum"))
    ranks = fresh.groupby(KEY)["_rank"].agg(["max", "min", "size"]).reindex(found.index)
    strictest = dict(enumerate(STRICTNESS))
    found["decision"] = ranks["max"].map(strictest).astype(object).fillna("")
    found["raters"] = ranks["size"].fillna(0).astype(int)
    found["agree"] = ~(ranks["max"] > ranks["min"])
    texts = (noted["rater"] + ": " + noted["note"]).groupby([noted[name] for name in KEY])
    found["notes"] = texts.agg(" | ".join).reindex(found.index).astype(object).fillna("")
    names = [*KEY, "decision", "raters", "agree", "stale", "notes"]
    return found.reset_index()[names]


def excluded(combined) -> pd.DataFrame:
    """Participants who leave the statistics: eid, instance, reason.

    Rejected ones stay out; a redo keeps its volume out until the new one is judged.
    """
    out = combined[combined["decision"].isin(["reject", "redo"])]
    reason = "review: " + out["decision"] + " by " + out["raters"].astype(str) + " rater(s)"
    return out[KEY].assign(reason=reason).reset_index(drop=True)


def kappa(decisions, volumes=None) -> pd.DataFrame:
    """Cohen's kappa for every two raters, on the participants both decided about.

    Parameters
    ----------
    decisions : DataFrame
        From `read`. Of a rater who judged both blinded and openly the blinded decision counts:
        the open one may follow a talk with the other rater.
    volumes : DataFrame, optional
        volumes.tsv; decisions on other participants or other masks do not count.

    Returns
    -------
    DataFrame
        rater_a, rater_b, participants, agreement (share), kappa, low, high. The 95 % interval
        uses the large-sample standard error of Fleiss, Cohen and Everitt (1969); where that is 0
        or unknown, as in complete agreement, the exact interval of the agreement (Clopper and
        Pearson), with the chance agreement as observed. Kappa is missing where chance agreement
        is complete, as when both gave one and the same decision.
    """
    votes = _votes(decisions, volumes)
    votes = votes[~votes["stale"]].assign(_blind=votes["mode"] == BLINDED)
    votes = votes.sort_values("_blind", kind="stable")
    votes = votes.drop_duplicates([*KEY, "rater"], keep="last")
    wide = {rater: group.set_index(KEY)["decision"] for rater, group in votes.groupby("rater")}
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
    table = table.reindex(index=used, columns=used, fill_value=0)
    agreed = int(np.diag(table).sum())
    if len(used) < 2:
        return {"agreement": agreed / len(pair)}
    with np.errstate(invalid="ignore"):
        found = cohens_kappa(table)
    low, high = found.kappa_low, found.kappa_upp
    if not high - low > 1e-9:
        chance = float((table.sum(axis=0) * table.sum(axis=1)).sum()) / len(pair) ** 2
        shares = np.array(proportion_confint(agreed, len(pair), method="beta"))
        low, high = (shares - chance) / (1 - chance)
    return {
        "agreement": agreed / len(pair),
        "kappa": float(found.kappa),
        "low": max(float(low), -1.0),
        "high": min(float(high), 1.0),
    }


def residual_failure_rate(decisions, drawn, confidence: float = 0.95) -> dict:
    """How often an unflagged segmentation is bad, estimated from the blinded sample.

    Parameters
    ----------
    decisions : DataFrame
        From `combine` of `blind` decisions: one per participant.
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
