"""The record of who was drawn: rows are only ever added, and removed for withdrawals alone.

A sample that is drawn again from what is there today would lose whoever is not there today,
and follow a changed seed in silence. The record decides who was drawn; what contradicts it is
refused.
"""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.sampling.assignment import read_manifests
from iliopsoas.status import InputError

RECORD = "cohort/draws.tsv"  # below the results folder
SEEN = "cohort/seen.tsv"
COLUMNS = [*files.KEY, "release", "shard", "sampled", "in_table", "drawn_at",
           "size", "seed", "age_groups"]  # fmt: skip
SEEN_COLUMNS = [*files.KEY, "scan", "annotation", "stamp"]


def read(results) -> pd.DataFrame:
    """A row per visit that was drawn or included, as text; the latest where there are several.

    Results of before the record (shard manifests alone) are taken for it: `append` then writes
    them down, with the settings of that call.
    """
    path = Path(results) / RECORD
    if path.exists():
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        absent = [name for name in COLUMNS if name not in table.columns]
        if absent:
            raise InputError(f"{path}: a record of draws without column {', '.join(absent)}")
        return table.drop_duplicates(files.KEY, keep="last").reset_index(drop=True)
    earlier = read_manifests(results)
    if not len(earlier):
        return nobody()
    log.info("%d visits of earlier shard manifests are taken into %s", len(earlier), RECORD)
    table = pd.DataFrame(index=earlier.index, columns=COLUMNS, dtype=object).fillna("")
    for name in (*files.KEY, "release", "shard"):
        table[name] = earlier[name].astype(str)
    table["sampled"] = earlier["sampled"].astype(str) if "sampled" in earlier else "True"
    table["in_table"] = earlier["sex"].notna().astype(str) if "sex" in earlier else "True"
    return table


def check(record: pd.DataFrame, *, size, seed: int, age_groups, instances, out=()) -> None:
    """Refuse settings under which those on record would not have been drawn.

    A larger size, and further age groups, are a top-up.

    Parameters
    ----------
    record : DataFrame
        From `read`.
    size, seed, age_groups, instances
        See `iliopsoas.config.Cohort`.
    out : collection of str
        EIDs who no longer count.

    Raises
    ------
    InputError
        Says what is recorded, what is configured, and what to do.
    """
    drawn = record[(record["sampled"] == "True") & ~record["eid"].isin(set(out))]
    by_size = drawn[~drawn["size"].isin(["", "everyone"])]
    if size == "everyone":  # then neither seed nor groups decide who is in
        by_size = by_size[:0]
    people = drawn["eid"].nunique()
    seeds = sorted(set(by_size["seed"]) - {str(seed)})
    known = set(by_size["age_groups"].str.split().explode().dropna())
    lost = known - set(_groups(age_groups).split())
    asked = drawn["instance"].isin({str(int(instance)) for instance in instances})
    unseen = people - drawn.loc[asked, "eid"].nunique()
    found = []
    if unseen:
        found.append(f"cohort.instances lack the visit by which {unseen} participants are drawn")
    if size != "everyone" and people > size:
        found.append(f"cohort.size is {size}, and {people} participants are drawn already")
    if seeds:
        found.append(f"cohort.seed is {seed}, and the draw was made with {', '.join(seeds)}")
    if lost:
        found.append(f"cohort.age_groups lack {', '.join(sorted(lost))}, of which people are drawn")
    if found:
        raise InputError(
            f"the configuration contradicts the sample on record ({RECORD}): {'; '.join(found)}. "
            "Put these keys back (a larger cohort.size adds participants), or name another "
            f"results folder for another sample. To draw anew here, move {RECORD} and the folder "
            "shards/ away; what was measured of those no longer drawn stays in subjects/."
        )


def append(results, record: pd.DataFrame, plan, *, size, seed: int, age_groups) -> None:
    """Add the visits of a plan that the record lacks, or has as included without being drawn.

    Parameters
    ----------
    results : path
    record : DataFrame
        From `read`.
    plan : DataFrame
        eid, instance, release, shard, sampled, in_table.
    size, seed, age_groups
        The settings of this draw.
    """
    path = Path(results) / RECORD
    now = {
        "drawn_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "size": str(size),
        "seed": str(seed),
        "age_groups": _groups(age_groups),
    }
    plan = plan[COLUMNS[:6]].astype(str)
    known = record.set_index(files.KEY)["sampled"]
    before = known.reindex(pd.MultiIndex.from_frame(plan[files.KEY])).to_numpy()
    new = plan[pd.isna(before) | ((before == "False") & (plan["sampled"] == "True"))]
    if path.exists():
        rows = [pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)]
    else:
        rows = [record.assign(**now)] if len(record) else []
    if len(new) or not path.exists():
        files.write_tsv(path, pd.concat([*rows, new.assign(**now)[COLUMNS]]))


def nobody() -> pd.DataFrame:
    """The record before the first draw."""
    return pd.DataFrame(columns=COLUMNS, dtype=str)


def nothing_seen() -> pd.DataFrame:
    """What `read_seen` gives before the first draw."""
    return pd.DataFrame(columns=SEEN_COLUMNS, dtype=str)


def read_seen(results) -> pd.DataFrame:
    """Where each visit's files were when they were seen last: eid, instance, scan, annotation,
    stamp (of sizes and times). Their place and stamp while they are not mounted.
    """
    path = Path(results) / SEEN
    if not path.exists():
        table = read_manifests(results)
        absent = [name for name in SEEN_COLUMNS if name not in table]
        table = table.assign(**dict.fromkeys(absent, ""))[SEEN_COLUMNS].astype(object)
        return table.fillna("").astype(str)
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def write_seen(results, plan: pd.DataFrame, record: pd.DataFrame) -> None:
    """Keep where the files of a plan's visits are; of others on record, where they were."""
    earlier = read_seen(results)
    on_record = pd.MultiIndex.from_frame(record[files.KEY])
    earlier = earlier[pd.MultiIndex.from_frame(earlier[files.KEY]).isin(on_record)]
    table = pd.concat([plan[SEEN_COLUMNS].astype(str), earlier]).drop_duplicates(files.KEY)
    files.write_tsv(Path(results) / SEEN, table)


def _groups(age_groups) -> str:
    return " ".join(f"{low}-{high}" for low, high in age_groups)
