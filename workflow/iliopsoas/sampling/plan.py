"""From folders and tables to the sample and its shards: what the cohort stage does."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.sampling.assignment import assign_shards, shard_table
from iliopsoas.sampling.draw import draw
from iliopsoas.sampling.eligibility import eligible
from iliopsoas.status import InputError
from iliopsoas.ukb.scans import index_zips
from iliopsoas.ukb.tables import read_cohort
from iliopsoas.ukb.withdrawals import read_withdrawals

SAMPLE_COLUMNS = ["eid", "instance", "release", "shard", "sex", "age", "age_group", "bmi",
                  "height_cm", "weight_kg", "ethnicity", "handedness", "centre", "visit_date",
                  "age_at_recruitment", "annotated", "sampled"]  # fmt: skip
MANIFEST_COLUMNS = [*SAMPLE_COLUMNS, "scan", "annotation"]
ANNOTATION = re.compile(
    r"(?P<eid>[1-9]\d{6})_(?P<instance>\d)(_(?P<side>left|right))?\.(nii(\.gz)?|(seg\.)?nrrd|nhdr|mha|mhd)"
)


@dataclass(frozen=True)
class CohortPlan:
    """What the cohort stage writes.

    Parameters
    ----------
    manifest : DataFrame
        A row per visit to measure, in the order of shards: the columns of sample.tsv, then
        scan (path of the zip) and annotation (paths of manual masks joined by ``;``).
    shards : DataFrame
        shard, release, participants, annotated.
    exclusions : DataFrame
        reason, visits, participants.
    balance : DataFrame
        See `iliopsoas.sampling.draw.Draw`.
    diagnoses : DataFrame
        eid, icd10, of the sample.
    table_report : DataFrame
        source, problem, field, count: what was wrong in tables and folders.
    """

    manifest: pd.DataFrame
    shards: pd.DataFrame
    exclusions: pd.DataFrame
    balance: pd.DataFrame
    diagnoses: pd.DataFrame
    table_report: pd.DataFrame

    @property
    def sample(self) -> pd.DataFrame:
        """The columns of sample.tsv."""
        return self.manifest[SAMPLE_COLUMNS]


def index_annotations(folder) -> pd.DataFrame:
    """Manual masks ``<EID>_<instance>[_left|_right].nii.gz`` (or .nii, .nrrd, .nhdr).

    Returns
    -------
    DataFrame
        eid, instance, annotation: the paths of a visit joined by ``;``, sorted.

    Raises
    ------
    InputError
        The folder does not exist, or a visit has one side only or both kinds of file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"folder of annotations {folder}: does not exist, or is not a folder")
    found = defaultdict(dict)
    for path in sorted(folder.rglob("*")):
        match = ANNOTATION.fullmatch(path.name)
        if match:
            sides = found[(match["eid"], match["instance"])]
            side = match["side"] or "both"
            if side in sides:
                raise InputError(f"folder of annotations {folder}: a visit has two masks ({side})")
            sides[side] = str(path)
    odd = [key for key, sides in found.items() if set(sides) not in ({"both"}, {"left", "right"})]
    if odd:
        raise InputError(
            f"folder of annotations {folder}: {len(odd)} visits have neither one label map nor "
            "exactly one mask per side (_left, _right)"
        )
    rows = [(*key, ";".join(sorted(sides.values()))) for key, sides in found.items()]
    return pd.DataFrame(rows, columns=[*files.KEY, "annotation"], dtype=str)


def _index_release(release: dict, instances) -> tuple[pd.DataFrame, list[dict]]:
    """Zips and annotations of one release, and what there is to report."""
    scans = index_zips(release["zips"], instances)
    notes = [
        {"source": f"zips of {release['name']}", "problem": problem, "field": 20201, "count": n}
        for problem, n in (
            ("superseded_zip", int(scans["superseded"].sum())),
            ("other_files", scans.attrs["other_files"]),
            ("other_instances", scans.attrs["other_instances"]),
        )
        if n
    ]
    scans = scans[[*files.KEY, "path"]].assign(release=release["name"], annotation="")
    if release.get("annotations"):
        masks = index_annotations(release["annotations"])
        scans = scans.drop(columns="annotation").merge(masks, on=files.KEY, how="left")
        scans["annotation"] = scans["annotation"].fillna("")
        lost = len(masks) - int((scans["annotation"] != "").sum())
        if lost:
            notes.append(
                {
                    "source": f"annotations of {release['name']}",
                    "problem": "annotation_without_zip",
                    "field": 20201,
                    "count": lost,
                }
            )
    return scans, notes


def plan_cohort(
    releases,
    *,
    instances=(2, 3),
    size=5000,
    age_groups=((44, 53), (54, 63), (64, 72), (73, 82)),
    seed: int = 2020,
    shard_size: int = 500,
    withdrawals=(),
    exclusions=(),
    previous: pd.DataFrame | None = None,
) -> CohortPlan:
    """Draw the sample and give it shards.

    Parameters
    ----------
    releases : list of dict
        name, zips (folder), phenotypes (list of tables), annotations (folder or None), oldest
        first; a visit in several releases belongs to the first.
    instances : iterable of int
        Imaging visits to measure.
    size : int or "everyone"
        Participants to draw.
    age_groups, seed, shard_size
        See `iliopsoas.config.Cohort`.
    withdrawals, exclusions : list of paths
        Withdrawal files, and lists in the same format of participants to leave out.
    previous : DataFrame, optional
        `read_manifests` of the results: who was drawn stays drawn and keeps the shard.

    Raises
    ------
    InputError
        A file or folder cannot be used, or nobody is eligible.
    """
    if previous is None:
        previous = pd.DataFrame(columns=[*files.KEY, "release", "shard", "sampled"], dtype=str)
    withdrawn = read_withdrawals(withdrawals)
    excluded = read_withdrawals(exclusions)
    scans, notes = [], []
    for release in releases:
        found, of_release = _index_release(release, instances)
        scans.append(found)
        notes += of_release
    scans = pd.concat(scans, ignore_index=True).drop_duplicates(files.KEY)

    tables = list(dict.fromkeys(table for release in releases for table in release["phenotypes"]))
    phenotypes = read_cohort(tables, instances)
    annotated = set(scans.loc[scans["annotation"] != "", "eid"])
    candidates, counts = eligible(
        phenotypes.table,
        scans,
        age_groups=age_groups,
        withdrawn=withdrawn,
        excluded=excluded,
        conflicting=phenotypes.conflicting,
        always=annotated,
        stratified=size != "everyone",
    )
    for row in counts.itertuples():
        log.info("cohort: %s: %d visits of %d participants", *row[1:])
    if not len(candidates):
        raise InputError(
            "cohort: nobody is eligible; by reason: "
            + ", ".join(f"{row.reason} {row.visits}" for row in counts.itertuples() if row.visits)
        )
    candidates["annotated"] = candidates["annotation"] != ""
    sampled_before = previous
    if "sampled" in previous.columns:
        sampled_before = previous[previous["sampled"].astype(str) == "True"]
    result = draw(
        candidates,
        size=size,
        age_groups=age_groups,
        seed=seed,
        kept=set(sampled_before["eid"]),
        always=annotated,
    )
    total = result.balance.iloc[-1]
    if size != "everyone" and total["drawn"] < size:
        log.info("cohort: %d participants asked for, %d eligible: all drawn", size, total["drawn"])

    manifest = assign_shards(
        result.sample,
        previous,
        shard_size=shard_size,
        seed=seed,
        releases=[release["name"] for release in releases],
    )[MANIFEST_COLUMNS]
    diagnoses = phenotypes.diagnoses
    return CohortPlan(
        manifest=manifest,
        shards=shard_table(manifest),
        exclusions=counts,
        balance=result.balance,
        diagnoses=diagnoses[diagnoses["eid"].isin(set(manifest["eid"]))].reset_index(drop=True),
        table_report=pd.concat(
            [phenotypes.report, pd.DataFrame(notes, columns=phenotypes.report.columns)],
            ignore_index=True,
        ),
    )
