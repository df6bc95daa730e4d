"""What the cohort is drawn from: zips and masks of all releases, and what is on record."""

from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.status import InputError
from iliopsoas.ukb.mask_files import index_masks
from iliopsoas.ukb.scans import index_zips

COLUMNS = [*files.KEY, "scan", "annotation", "stamp", "release", "found"]
PATTERNS = 20  # names of unmatched files told one by one


class Notes:
    """Rows for the table report, each told to the log as well; nobody is named."""

    def __init__(self):
        self.rows = []

    def add(self, source: str, problem: str, count: int) -> None:
        """A problem that occurred `count` times; nothing for 0."""
        if count:
            log.info("cohort: %s: %s: %d", source, problem, count)
            self.rows.append(
                {"source": source, "problem": problem, "field": 20201, "count": int(count)}
            )

    def add_names(self, source: str, problem: str, names: dict[str, int]) -> None:
        """Names, with digits as ``#``, that are no visit's."""
        order = sorted(names, key=lambda name: (-names[name], name))
        for name in order[:PATTERNS]:
            self.add(source, f"{problem}: {name}", names[name])
        self.add(source, f"{problem}: other names", sum(names[n] for n in order[PATTERNS:]))


def index_visits(releases, instances, record, seen, notes: Notes) -> pd.DataFrame:
    """Visits with a zip, or with one on record that is not there today.

    Parameters
    ----------
    releases : list of dict
        See `iliopsoas.sampling.plan.plan_cohort`.
    instances : iterable of int
    record, seen : DataFrame
        `iliopsoas.sampling.record.read` and ``read_seen``.
    notes : Notes
        Gets what is odd.

    Returns
    -------
    DataFrame
        eid, instance, scan, annotation (empty without mask), stamp, release, found (whether the
        zip is there). A visit in several releases belongs to the first.
    """
    wanted = {str(int(instance)) for instance in instances}
    zips = pd.concat(
        [_zips(release, instances, set(record["release"]), notes) for release in releases],
        ignore_index=True,
    ).drop_duplicates(files.KEY)
    before = record.loc[record["instance"].isin(wanted), [*files.KEY, "release"]]
    before = before.merge(seen, on=files.KEY, how="left").fillna("")
    usual = before["eid"] + "_20201_" + before["instance"] + "_0.zip"  # a name for what is missing
    before["scan"] = before["scan"].where(before["scan"] != "", usual)
    keys = pd.MultiIndex.from_frame(before[files.KEY])
    absent = before[~keys.isin(pd.MultiIndex.from_frame(zips[files.KEY]))]
    table = pd.concat([zips.assign(found=True), absent.assign(found=False)], ignore_index=True)
    masks = _masks(releases, before, notes)
    return _with_masks(table.drop(columns="annotation"), masks, notes)


def _zips(release: dict, instances, recorded: set[str], notes: Notes) -> pd.DataFrame:
    """A release's zips; a source that is not there has none where its visits are on record."""
    name, source = release["name"], release["zips"]
    if name in recorded and not Path(source).exists():
        log.warning("cohort: zips of %s: %s does not exist today", name, source)
        return pd.DataFrame(columns=COLUMNS[:-1], dtype=str)
    scans = index_zips(source, instances, release.get("mount"))
    about = f"zips of {name}"
    notes.add(about, "superseded_zip", scans["superseded"].sum())
    notes.add(about, "other_files", scans.attrs["other_files"])
    notes.add(about, "other_instances", scans.attrs["other_instances"])
    notes.add_names(about, "unmatched_zip", scans.attrs["unmatched"])
    scans = scans.rename(columns={"path": "scan"}).assign(release=name, annotation="")
    return scans[COLUMNS[:-1]]


def _masks(releases, before, notes: Notes) -> pd.DataFrame:
    """Manual masks of all releases; of a visit with masks in two, those of the first."""
    found = []
    for release in releases:
        folder = release.get("annotations")
        if not folder:
            continue
        masks = index_masks(folder)
        about = f"annotations of {release['name']}"
        notes.add_names(about, "unmatched_mask", masks.attrs["unmatched"])
        earlier = before["annotation"].str.startswith(str(folder)).sum()
        if masks.empty and earlier:
            raise InputError(
                f"folder of annotations {folder}: holds no mask, and {earlier} visits had one "
                "there; is it mounted? To go on without manual masks set annotations: null"
            )
        masks.attrs = {}
        found.append(masks)
    if not found:
        return pd.DataFrame(columns=[*files.KEY, "annotation", "stamp"], dtype=str)
    table = pd.concat(found, ignore_index=True)
    notes.add("annotations", "annotation_in_two_releases", table.duplicated(files.KEY).sum())
    return table.drop_duplicates(files.KEY)


def _with_masks(visits, masks, notes: Notes) -> pd.DataFrame:
    table = visits.merge(masks, on=files.KEY, how="left", suffixes=("", "_of_mask"))
    table["annotation"] = table["annotation"].fillna("")
    table["stamp"] = table["stamp"].str.split(";").str[0]  # the mask's part is of today
    table["stamp"] += (";" + table.pop("stamp_of_mask")).fillna("")
    notes.add(
        "annotations", "annotation_without_zip", len(masks) - (table["annotation"] != "").sum()
    )
    return table[COLUMNS].astype({"found": bool})
