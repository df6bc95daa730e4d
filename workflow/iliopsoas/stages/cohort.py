"""The cohort stage: sample, shards, and the removal of who has withdrawn."""

import shutil
from pathlib import Path

import pandas as pd

from iliopsoas import files, sampling
from iliopsoas.logs import log
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

    Their folders go at once, and shards nobody else is in. Tables lose their rows when the
    stages that write them run again, which the changed manifests cause; a model trained on
    them is trained again. Each removal adds a row to ``<results>/cohort/removed.tsv``, a
    record that names nobody. Whoever leaves the cohort for another reason (a zip that is not
    there today) only leaves the tables: nothing of theirs is deleted.

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
    results = Path(results)
    leaving = [
        path for path in results.glob("subjects/??/*_?") if path.name.split("_")[0] in withdrawn
    ]
    models = [
        path.parent.name
        for path in sorted(results.glob("model/*/participants.tsv"))
        if set(files.read_tsv(path)["eid"]) & withdrawn
    ]
    if models:
        log.warning(
            "trained on participants who have withdrawn, to be trained again without them: %s",
            ", ".join(models),
        )
    for path in leaving:
        shutil.rmtree(path)
    for path in results.glob("shards/*/manifest.tsv"):
        if set(files.read_tsv(path)["eid"]) <= withdrawn:
            shutil.rmtree(path.parent)
    if not leaving and not models:
        return pd.DataFrame()
    log.info("removed the folders of %d scans whose participants have withdrawn", len(leaving))
    row = {"scans_removed": len(leaving), "models_trained_on_them": ",".join(models)}
    path = results / "cohort" / "removed.tsv"
    earlier = [files.read_tsv(path)] if path.exists() else []
    files.write_tsv(path, pd.concat([*earlier, pd.DataFrame([row])]))
    return pd.DataFrame([row])
