"""From folders and tables to the sample and its shards: what the cohort stage does."""

from dataclasses import dataclass, field

import pandas as pd

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.sampling import record as records
from iliopsoas.sampling.assignment import assign_shards, shard_table
from iliopsoas.sampling.draw import draw
from iliopsoas.sampling.eligibility import eligible
from iliopsoas.sampling.inputs import Notes, index_visits
from iliopsoas.status import InputError
from iliopsoas.ukb.tables import read_cohort
from iliopsoas.ukb.withdrawals import read_withdrawals

SAMPLE_COLUMNS = ["eid", "instance", "release", "shard", "sex", "age", "age_group", "bmi",
                  "height_cm", "weight_kg", "ethnicity", "handedness", "centre", "visit_date",
                  "age_at_recruitment", "annotated", "sampled"]  # fmt: skip
# what image stages need; phenotypes stay out, so that a new table reruns no image stage
MANIFEST_COLUMNS = [*files.KEY, "release", "shard", "sex", "annotated", "sampled", "scan",
                    "annotation"]  # fmt: skip
VISIT_COLUMNS = [*SAMPLE_COLUMNS, "scan", "annotation", "stamp", "in_table"]


@dataclass(frozen=True)
class CohortPlan:
    """What the cohort stage writes.

    Parameters
    ----------
    visits : DataFrame
        A row per visit to measure, in the order of shards: the columns of sample.tsv, then
        scan (path of the zip), annotation (paths of manual masks joined by ``;``), stamp (sizes
        and times of these files) and in_table (whether a phenotype table has the participant).
    exclusions : DataFrame
        reason, visits, participants.
    balance : DataFrame
        See `iliopsoas.sampling.draw.Draw`.
    diagnoses : DataFrame
        eid, icd10, of the sample.
    table_report : DataFrame
        source, problem, field, count: what was wrong in tables and folders.
    withdrawn : set of str
        EIDs of the withdrawal files.
    left : set of str
        EIDs on record who stood in a phenotype table and stand in none now.
    """

    visits: pd.DataFrame
    exclusions: pd.DataFrame
    balance: pd.DataFrame
    diagnoses: pd.DataFrame
    table_report: pd.DataFrame
    withdrawn: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)

    @property
    def sample(self) -> pd.DataFrame:
        """The columns of sample.tsv."""
        return self.visits[SAMPLE_COLUMNS]

    @property
    def manifests(self) -> pd.DataFrame:
        """The manifests of all shards."""
        return self.visits[MANIFEST_COLUMNS]

    @property
    def shards(self) -> pd.DataFrame:
        """See `iliopsoas.sampling.assignment.shard_table`."""
        return shard_table(self.visits)


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
    max_missing_share: float = 0.05,
    max_absent_share: float = 0.01,
    record: pd.DataFrame | None = None,
    seen: pd.DataFrame | None = None,
) -> CohortPlan:
    """Draw the sample and give it shards.

    Parameters
    ----------
    releases : list of dict
        name, zips (folder or list), mount, phenotypes (list of tables), annotations (folder or
        None), oldest first; a visit in several releases belongs to the first.
    instances : iterable of int
        Imaging visits to measure.
    size : int or "everyone"
        Participants to draw.
    age_groups, seed, shard_size, max_missing_share, max_absent_share
        See `iliopsoas.config.Cohort`.
    withdrawals, exclusions : list of paths
        Withdrawal files, and lists in the same format of participants to leave out.
    record, seen : DataFrame, optional
        `iliopsoas.sampling.record.read` and ``read_seen`` of the results: who was drawn stays
        drawn and keeps the shard, zip there or not.

    Raises
    ------
    InputError
        A file or folder cannot be used, nobody is eligible, the settings contradict the record,
        or too many of those on record lack their zip or their row.
    """
    record = records.nobody() if record is None else record
    seen = records.nothing_seen() if seen is None else seen
    withdrawn = read_withdrawals(withdrawals)
    excluded = read_withdrawals(exclusions)
    notes = Notes()
    visits = index_visits(releases, instances, record, seen, notes)
    tables = list(dict.fromkeys(table for release in releases for table in release["phenotypes"]))
    phenotypes = read_cohort(tables, instances)

    left = _left_the_tables(record, phenotypes.participants, withdrawn, max_absent_share)
    out = withdrawn | excluded | left
    records.check(record, size=size, seed=seed, age_groups=age_groups, instances=instances, out=out)
    kept = set(record.loc[record["sampled"] == "True", "eid"]) - out
    annotated = set(visits.loc[visits["annotation"] != "", "eid"])
    visits = visits[visits["found"] | visits["eid"].isin(kept | annotated)]
    _refuse_missing(visits, record, out, max_missing_share)
    strangers = visits.loc[~visits["eid"].isin(phenotypes.participants | out), "eid"]
    notes.add("zips", "zip_of_nobody_in_the_tables", len(strangers))

    candidates, counts = eligible(
        phenotypes.table,
        visits,
        age_groups=age_groups,
        withdrawn=withdrawn,
        excluded=excluded,
        left=left,
        conflicting=phenotypes.conflicting,
        always=annotated | kept,
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
    candidates["in_table"] = candidates["eid"].isin(phenotypes.participants)
    result = draw(
        candidates, size=size, age_groups=age_groups, seed=seed, kept=kept, always=annotated
    )
    total = result.balance.iloc[-1]
    if size != "everyone" and total["drawn"] < size:
        log.info("cohort: %d participants asked for, %d eligible: all drawn", size, total["drawn"])

    assigned = assign_shards(
        result.sample,
        record,
        shard_size=shard_size,
        seed=seed,
        releases=[release["name"] for release in releases],
    )
    diagnoses = phenotypes.diagnoses
    return CohortPlan(
        visits=assigned[VISIT_COLUMNS],
        exclusions=counts,
        balance=result.balance,
        diagnoses=diagnoses[diagnoses["eid"].isin(set(assigned["eid"]))].reset_index(drop=True),
        table_report=pd.concat(
            [phenotypes.report, pd.DataFrame(notes.rows, columns=phenotypes.report.columns)],
            ignore_index=True,
        ),
        withdrawn=withdrawn,
        left=left,
    )


def _left_the_tables(record, participants, withdrawn, limit: float) -> set[str]:
    """Those on record who stood in a phenotype table then and stand in none now."""
    stood = set(record.loc[record["in_table"] == "True", "eid"]) - withdrawn
    left = stood - participants
    if len(left) > limit * len(stood):
        raise InputError(
            f"phenotype tables: {len(left)} of {len(stood)} participants on record "
            f"({len(left) / len(stood):.1%}) are in no table now; at most {limit:.1%} may be "
            "(cohort.max_absent_share). Is a table incomplete, or of another application? Nothing "
            "was changed. If they have left UK Biobank, raise that share, or name them in a "
            "withdrawal file"
        )
    if left:
        log.warning("cohort: %d participants on record are in no phenotype table now", len(left))
    return left


def _refuse_missing(visits, record, out, limit: float) -> None:
    """Stop where too many zips of those on record are not there."""
    keys = pd.MultiIndex.from_frame(record[files.KEY])
    known = visits[pd.MultiIndex.from_frame(visits[files.KEY]).isin(keys)]
    known = known[~known["eid"].isin(out)]
    missing = known[~known["found"]]
    if not len(missing):
        return
    by_release = ", ".join(
        f"{count} of {name}" for name, count in missing["release"].value_counts().items()
    )
    found = f"{len(missing)} of {len(known)} zips on record are not there today ({by_release})"
    if len(missing) > limit * len(known):
        raise InputError(
            f"cohort: {found}, which is more than cohort.max_missing_share ({limit:.1%}). Is the "
            "folder mounted and whole? Nothing was changed; the sample stays as it was drawn"
        )
    log.warning("cohort: %s; these visits stay in the sample", found)
