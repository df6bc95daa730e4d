"""The cohort stage: sample, shards, and the removal of who has withdrawn."""

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from iliopsoas import files, sampling
from iliopsoas.logs import log
from iliopsoas.sampling import pseudonyms
from iliopsoas.sampling import record as records
from iliopsoas.stages import snapshots as releases
from iliopsoas.status import InputError
from iliopsoas.ukb import listing

# an EID, or the number that stands for one in an export
EID = re.compile(r"(?<!\d)\d{7,8}(?!\d)")


def cohort(
    releases, withdrawals, *, results, purge_absent: bool = True, listings=None, **options
) -> sampling.CohortPlan:
    """Draw the sample, add to the record of draws, and forget who has left the cohort.

    Three files below ``<results>/cohort`` are the stage's memory, no rule's output, so that
    nobody deletes them before a run: draws.tsv, seen.tsv (`sampling.record`) and listings.json
    (`ukb.listing`).

    Parameters
    ----------
    releases : list of dict
        As `sampling.plan_cohort`, which takes `options` too.
    withdrawals : list of path
        UK Biobank's withdrawal files.
    results : path
    purge_absent : bool
        Forget participants on record who are in no phenotype table any more.
    listings : dict, optional
        Digests of each release, by name, that this call was made for (`listing.of_release`);
        found out where not given.
    """
    results = Path(results)
    if listings is None:
        listings = {r["name"]: listing.of_release(r, results) for r in releases}
    record = records.read(results)
    plan = sampling.plan_cohort(
        releases,
        withdrawals=withdrawals,
        record=record,
        seen=records.read_seen(results),
        **options,
    )
    settings = {name: options[name] for name in ("size", "seed", "age_groups") if name in options}
    records.append(results, record, plan.visits, **settings)
    records.write_seen(results, plan.visits, record)
    theirs = [
        path
        for release in releases
        for path in (release["zips"], release.get("annotations"), *release["phenotypes"])
        if path
    ]
    forget(results, plan.withdrawn, "in a withdrawal file", spare=theirs)
    if purge_absent:
        forget(results, plan.left, "in no phenotype table any more", spare=theirs)
    listing.record(results, listings)
    return plan


def _as_text(path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def forget(results, people, reason: str = "in a withdrawal file", spare=()) -> pd.DataFrame:
    """Remove what earlier runs hold of participants who have left.

    At once go: every file and folder named after them; their rows in every table with a column
    of ids and in every journal of a stage that was cut off, frozen releases and the record of
    draws too; their crops; shards nobody else is in; what an export holds of them, under whatever
    number. What else was made from them (figures,
    review page, models) is made again by the stages that the changed manifests cause to run. A
    model that was trained on them says so in ``withdrawn.json`` beside it, until it is trained
    anew. Each removal adds a row to ``<results>/cohort/removed.tsv``, a record that names nobody.
    Whoever leaves the sample for another reason (a zip that is not there today) loses nothing.

    Parameters
    ----------
    results : path
    people : set of str
        EIDs.
    reason : str
        For the record.
    spare : collection of path
        The user's own files and folders, left alone if they lie below `results`.

    Returns
    -------
    DataFrame
        This removal's row of the record; empty where nothing was removed.
    """
    results, people = Path(results).resolve(), set(people)
    if not people or not results.is_dir():
        return pd.DataFrame()
    numbers = pseudonyms.read(results)  # before the key loses their rows
    called = people | {numbers[eid] for eid in people & set(numbers)}
    named, tables, journals = _traces(results, called, spare)
    models = _models_trained_on(results, people)
    folds = results / "model/folds.tsv"
    if models or (folds.exists() and set(files.read_tsv(folds)["eid"]) & people):
        # the sweep, the examples and stopped trainings do not say whose they are
        shutil.rmtree(results / "model/learning_rate_sweep", ignore_errors=True)
        for name in ("examples.npz", "checkpoint.h5", "best.h5"):
            for path in results.glob(f"model/*/{name}"):
                path.unlink()
    for path in named:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in _shards_of_nobody_else(results, people):
        shutil.rmtree(folder)
    for path in results.glob("shards/*/crops.h5"):
        _forget_crops(path, people)
    for path in results.glob("shards/*/crops.unfinished.h5"):  # cut again, if it is still wanted
        path.unlink()
    rows = sum(_clean_table(path, people) for path in tables if path.exists())
    rows += sum(_clean_journal(path, people) for path in journals if path.exists())
    rows += releases.forget(results, people)
    if not (named or models or rows):
        return pd.DataFrame()
    scans = sum("subjects" in path.relative_to(results).parts for path in named)
    log.info(
        "removed of participants who are %s: the folders of %d scans, %d other files and folders, "
        "%d rows of tables",
        reason,
        scans,
        len(named) - scans,
        rows,
    )
    row = {
        "date": datetime.now(UTC).date().isoformat(),
        "reason": reason,
        "scans_removed": scans,
        "images_removed": len(named) - scans,
        "rows_removed": rows,
        "models_trained_on_them": ",".join(models),
    }
    path = results / "cohort" / "removed.tsv"
    earlier = [files.read_tsv(path)] if path.exists() else []
    files.write_tsv(path, pd.concat([*earlier, pd.DataFrame([row])]))
    return pd.DataFrame([row])


def _traces(results: Path, people: set, spare) -> tuple[list[Path], list[Path], list[Path]]:
    """Files and folders named after these people, all tables, and all journals (JSON lines)."""
    spared = {Path(path).resolve() for path in spare} | {(results / "frozen").resolve()}
    named, tables, journals = [], [], []
    for root, folders, names in os.walk(results):
        place = Path(root)
        inside = {name for name in folders if place / name not in spared}
        for name in sorted(inside | {name for name in names if place / name not in spared}):
            if people.intersection(EID.findall(name)):
                named.append(place / name)
                inside.discard(name)
            elif files.INDIVIDUAL_LEVEL in place.parts and _mentions(place / name, people):
                named.append(place / name)  # an export is made again as a whole
            elif name.startswith(".partial-") and name not in inside:
                (place / name).unlink()  # of a job that was killed: nobody vouches for it
            elif name.endswith(".tsv"):
                tables.append(place / name)
            elif name.endswith(".jsonl"):
                journals.append(place / name)
        folders[:] = sorted(inside)
    return named, tables, journals


def _mentions(path: Path, people: set) -> bool:
    """Whether a text, not an image, names one of these people."""
    if path.suffix not in {".txt", ".tsv", ".json"}:
        return False
    return not people.isdisjoint(EID.findall(path.read_text(encoding="utf-8")))


def _shards_of_nobody_else(results: Path, people: set) -> list[Path]:
    """Folders of shards in which, by the record or their manifest, only these people are."""
    members = [pd.DataFrame(columns=["shard", "eid"])]
    if (results / records.RECORD).exists():
        members.append(records.read(results)[["shard", "eid"]])
    for path in results.glob("shards/*/manifest.tsv"):
        members.append(files.read_tsv(path)[["eid"]].assign(shard=path.parent.name))
    members = pd.concat(members)
    stays = set(members.loc[~members["eid"].isin(people), "shard"])
    gone = sorted(set(members["shard"]) - stays)
    return [folder for shard in gone if (folder := results / "shards" / shard).is_dir()]


def _forget_crops(path: Path, people: set) -> None:
    """Write a shard's crop file without these people."""
    from iliopsoas import crops

    try:
        crops.drop(path, people)
    except InputError:  # damaged: made again, and nobody knows whose it holds
        path.unlink()


def _models_trained_on(results: Path, people: set) -> list[str]:
    """Models with these participants in them; each gets a note beside it."""
    found = []
    for path in sorted(results.glob("model/*/participants.tsv")):
        number = len(set(files.read_tsv(path)["eid"]) & people)
        if number:
            found.append(path.parent.name)
            note = path.parent / "withdrawn.json"
            earlier = files.read_json(note)["participants"] if note.exists() else 0
            files.write_json(note, {"participants": earlier + number})
    if found:
        log.warning(
            "trained on participants who have withdrawn, to be trained again without them: %s",
            ", ".join(found),
        )
    return found


def _clean_table(path: Path, people: set) -> int:
    """Take these people out of a table with a column ``eid``; returns the rows removed.

    Tables of stages that do not run again, as those of a model that is only used, would keep
    them otherwise.
    """
    with open(path, encoding="utf-8") as file:
        if "eid" not in file.readline().rstrip("\n").split("\t"):
            return 0
    table = _as_text(path)
    out = table["eid"].isin(people)
    if out.any():
        files.write_tsv(path, table[~out])
    return int(out.sum())


def _clean_journal(path: Path, people: set) -> int:
    """Take the lines of a stage's journal that name these people; returns their number."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    stays = [line for line in lines if not people.intersection(EID.findall(line))]
    if len(stays) < len(lines):
        files.write_text(path, "".join(stays))
    return len(lines) - len(stays)
