"""Shards: fixed lists of visits, made once.

A visit keeps its shard for ever; new visits go to new shards; a withdrawal only removes rows.
"""

import re
from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.sampling.order import ranks
from iliopsoas.status import InputError

# what the image stages see of a visit; phenotypes stay out
DIGESTED = [*files.KEY, "release", "shard", "sex", "annotated", "sampled", "scan", "annotation",
            "stamp"]  # fmt: skip
SHARD = re.compile(r"(?P<release>[A-Za-z][A-Za-z0-9]*)-(?P<number>\d+)")


def shard_name(release: str, number: int) -> str:
    """``<release>-<number>``, four digits so that names sort as numbers do."""
    return f"{release}-{number:04d}"


def read_manifests(results) -> pd.DataFrame:
    """All manifests of earlier runs, ``results/shards/*/manifest.tsv``, in one table.

    Returns
    -------
    DataFrame
        At least eid, instance, release, shard; empty where there are none.

    Raises
    ------
    InputError
        A manifest without these columns, or a visit in two shards.
    """
    wanted = [*files.KEY, "release", "shard"]
    paths = sorted(Path(results).glob("shards/*/manifest.tsv"))
    tables = []
    for path in paths:
        table = files.read_tsv(path)
        absent = [name for name in wanted if name not in table.columns]
        if absent:
            raise InputError(f"{path}: a manifest without column {', '.join(absent)}")
        if len(table):
            tables.append(table)
    if not tables:
        return pd.DataFrame(columns=wanted, dtype=str)
    merged = pd.concat(tables, ignore_index=True)
    twice = merged.duplicated(files.KEY).sum()
    if twice:
        raise InputError(f"{Path(results) / 'shards'}: {twice} visits stand in two manifests")
    return merged


def assign_shards(
    sample: pd.DataFrame, previous: pd.DataFrame, *, shard_size: int, seed: int = 0, releases=None
) -> pd.DataFrame:
    """Give every visit of the sample its shard.

    Parameters
    ----------
    sample : DataFrame
        eid, instance, release; ``annotated``, if there, brings new visits to the front, so that
        training needs few shards.
    previous : DataFrame
        `read_manifests`: visits found there keep their release and shard, even where the shard
        holds more or fewer than `shard_size`.
    shard_size : int
        Visits per new shard at most.
    seed : int
        Of the order of new visits.
    releases : list of str, optional
        Order of the releases; by default by name.

    Returns
    -------
    DataFrame
        `sample` with ``release`` and ``shard``, in the order of shards and inside them fixed.
    """
    known = previous.set_index(files.KEY)[["release", "shard"]]
    table = sample.drop(columns="shard", errors="ignore").reset_index(drop=True)
    keys = pd.MultiIndex.from_frame(table[files.KEY])
    old = known.reindex(keys)
    table["shard"] = old["shard"].to_numpy()
    had = table["shard"].notna()
    table.loc[had, "release"] = old["release"].to_numpy()[had]
    table["_rank"] = ranks(table["eid"], seed)
    table["_later"] = ~table["annotated"].astype(bool) if "annotated" in table else True

    last = {}
    for name in previous["shard"].unique():
        match = SHARD.fullmatch(name)
        if match:
            last[match["release"]] = max(last.get(match["release"], 0), int(match["number"]))
    order = list(releases) if releases is not None else sorted(table["release"].unique())
    for release in order:
        new = table[(table["release"] == release) & table["shard"].isna()]
        new = new.sort_values(["_later", "_rank", "eid", "instance"])
        start = last.get(release, 0) + 1
        numbers = start + pd.Series(range(len(new)), index=new.index) // shard_size
        table.loc[new.index, "shard"] = [shard_name(release, number) for number in numbers]
    place = {release: position for position, release in enumerate(order)}
    table["_release"] = table["release"].map(place).fillna(len(place))
    table = table.sort_values(["_release", "shard", "_later", "_rank", "eid", "instance"])
    hidden = ["_rank", "_later", "_release"]
    table = table.drop(columns=hidden).reset_index(drop=True)
    return table.astype({"release": str, "shard": str})


def shard_table(assigned: pd.DataFrame) -> pd.DataFrame:
    """shard, release, participants (visits), annotated (visits): a row per shard.

    With columns ``scan`` and ``stamp`` also digest, which changes with the shard's rows and with
    the sizes and times of its scans and masks.
    """
    table = assigned.groupby("shard", sort=False).agg(
        release=("release", "first"),
        participants=("eid", "size"),
        annotated=("annotated", "sum"),
    )
    table = table.reset_index().astype({"annotated": int})
    if "stamp" in assigned:
        made_of = [name for name in DIGESTED if name in assigned]
        rows = assigned[made_of].astype(str)
        parts = dict(list(rows.groupby(assigned["shard"], sort=False)))
        table["digest"] = [files.fingerprint(parts[s].to_numpy().tolist()) for s in table["shard"]]
    return table
