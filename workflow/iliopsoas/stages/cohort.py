"""The cohort stage: sample, shards, and the removal of who has withdrawn."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from iliopsoas import files, sampling
from iliopsoas.logs import log
from iliopsoas.stages import snapshots as releases
from iliopsoas.ukb.withdrawals import read_withdrawals

# what image stages need; phenotypes stay out, so that a new table reruns no image stage
MANIFEST_COLUMNS = [
    *files.KEY,
    "release",
    "shard",
    "sex",
    "annotated",
    "sampled",
    "scan",
    "annotation",
]


def cohort(releases, withdrawals, *, results, **options) -> sampling.CohortPlan:
    """Draw the sample, keep the shards' manifests, and forget who has left the cohort.

    Manifests, ``<results>/shards/<shard>/manifest.tsv``, are the memory of earlier draws. They
    are written only where their content changes.

    Parameters
    ----------
    releases : list of dict
        As `sampling.plan_cohort`, which takes `options` too.
    withdrawals : list of path
        UK Biobank's withdrawal files.
    results : path
    """
    results = Path(results)
    plan = sampling.plan_cohort(
        releases, withdrawals=withdrawals, previous=sampling.read_manifests(results), **options
    )
    shards = dict(list(plan.manifest[MANIFEST_COLUMNS].groupby("shard", sort=False)))
    for shard, rows in shards.items():
        path = results / "shards" / shard / "manifest.tsv"
        if not path.exists() or not rows.astype(str).equals(_as_text(path)):
            files.write_tsv(path, rows)
    forget(results, read_withdrawals(withdrawals))
    return plan


def _as_text(path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)


def forget(results, withdrawn) -> pd.DataFrame:
    """Remove what earlier runs hold of participants who have withdrawn.

    Their folders and exported images go at once, and shards nobody else is in; every table
    below `results` with a column of ids loses their rows at once, frozen releases too. What
    else was made from them (crop files, figures, review page, models) is made again by the
    stages that the changed manifests cause to run. A model that was trained on them says so in
    ``withdrawn.json`` beside it, until it is trained anew. Each removal adds a row to
    ``<results>/cohort/removed.tsv``, a record that names nobody. Whoever leaves the cohort for
    another reason (a zip that is not there today) only leaves the tables: nothing of theirs is
    deleted.

    Parameters
    ----------
    results : path
    withdrawn : set of str
        EIDs of the withdrawal files.

    Returns
    -------
    DataFrame
        This removal's row of the record; empty where nothing was removed.
    """
    results, withdrawn = Path(results), set(withdrawn)
    if not withdrawn or not results.is_dir():
        return pd.DataFrame()
    leaving = [
        path for path in results.glob("subjects/??/*_?") if path.name.split("_")[0] in withdrawn
    ]
    exported = [
        path for path in results.glob("annotation/*_*") if path.name.split("_")[0] in withdrawn
    ]
    models = _models_trained_on(results, withdrawn)
    folds = results / "model/folds.tsv"
    if models or (folds.exists() and set(files.read_tsv(folds)["eid"]) & withdrawn):
        # the sweep, the examples and stopped trainings do not say whose they are
        shutil.rmtree(results / "model/learning_rate_sweep", ignore_errors=True)
        for name in ("examples.npz", "checkpoint.h5", "best.h5"):
            for path in results.glob(f"model/*/{name}"):
                path.unlink()
    for path in leaving:
        shutil.rmtree(path)
    for path in exported:
        path.unlink()
    for path in results.glob("shards/*/manifest.tsv"):
        if set(files.read_tsv(path)["eid"]) <= withdrawn:
            shutil.rmtree(path.parent)
    for litter in results.rglob(".partial-*"):  # of jobs that were killed: nobody vouches for it
        if litter.is_file():
            litter.unlink()
    rows = _clean_tables(results, withdrawn) + releases.forget(results, withdrawn)
    if not (leaving or exported or models or rows):
        return pd.DataFrame()
    log.info(
        "removed of participants who have withdrawn: the folders of %d scans, %d exported images, "
        "%d rows of tables",
        len(leaving),
        len(exported),
        rows,
    )
    row = {
        "date": datetime.now(UTC).date().isoformat(),
        "scans_removed": len(leaving),
        "images_removed": len(exported),
        "rows_removed": rows,
        "models_trained_on_them": ",".join(models),
    }
    path = results / "cohort" / "removed.tsv"
    earlier = [files.read_tsv(path)] if path.exists() else []
    files.write_tsv(path, pd.concat([*earlier, pd.DataFrame([row])]))
    return pd.DataFrame([row])


def _models_trained_on(results: Path, withdrawn: set) -> list[str]:
    """Models with withdrawn participants in them; each gets a note beside it."""
    found = []
    for path in sorted(results.glob("model/*/participants.tsv")):
        number = len(set(files.read_tsv(path)["eid"]) & withdrawn)
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


def _clean_tables(results: Path, withdrawn: set) -> int:
    """Take the withdrawn out of every table with a column ``eid``; returns the rows removed.

    Tables of stages that do not run again, as those of a model that is only used, would keep
    them otherwise. Shard manifests and the sample are the cohort stage's own.
    """
    removed = 0
    for path in sorted(results.rglob("*.tsv")):
        if "frozen" in path.relative_to(results).parts or path.name == "manifest.tsv":
            continue
        with open(path, encoding="utf-8") as file:
            if "eid" not in file.readline().rstrip("\n").split("\t"):
                continue
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        out = table["eid"].isin(withdrawn)
        if out.any():
            files.write_tsv(path, table[~out])
            removed += int(out.sum())
    return removed
