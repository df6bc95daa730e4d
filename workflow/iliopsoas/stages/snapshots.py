"""Results kept under a tag, and how later results differ from them."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.statistics.cohort import MEASURES
from iliopsoas.status import InputError

MANIFEST = "MANIFEST.tsv"
KEPT = ("volumes.tsv", "qc/excluded.tsv", "run.json", "summary.md", "statistics/*.tsv")
NEEDED = ("volumes.tsv", "run.json", "statistics/table2.tsv")
# what a volume was made with; a difference in one of these explains a drift
PROVENANCE = (
    *("scan_sha256", "weights_sha256", "dixon_fingerprint", "landmarks_fingerprint"),
    *("crops_fingerprint", "segment_fingerprint", "volumes_fingerprint"),
)


def frozen_folder(results, tag: str) -> Path:
    """``<results>/frozen/<tag>``; InputError for a tag that is no plain name."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", tag or ""):
        raise InputError(
            f"tag {tag!r}: expected a letter, then letters, digits, dots, hyphens, underscores"
        )
    return Path(results) / "frozen" / tag


def freeze(results, tag: str) -> pd.DataFrame:
    """Keep volume table, statistics and run record under a tag, read-only and with hashes.

    Returns
    -------
    DataFrame
        The manifest: file, sha256, note.

    Raises
    ------
    InputError
        The tag exists, is no plain name, or the results are not finished.
    """
    results, folder = Path(results), frozen_folder(results, tag)
    if folder.exists():
        raise InputError(f"{folder}: exists; a frozen release is never changed, take another tag")
    for name in NEEDED:
        if not (results / name).exists():
            raise InputError(f"{results / name}: missing; the run is not finished")
    part = folder.with_name(f".partial-{tag}-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        rows = []
        for path in [path for pattern in KEPT for path in sorted(results.glob(pattern))]:
            name = path.relative_to(results)
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / name)
            rows.append({"file": name.as_posix(), "sha256": files.sha256(part / name), "note": ""})
        manifest = pd.DataFrame(rows)
        files.write_tsv(part / MANIFEST, manifest)
        _writable(part, False)
        part.chmod(0o755)  # a folder that is renamed must be writable
        os.replace(part, folder)
        folder.chmod(0o555)
    finally:
        if part.exists():
            _writable(part, True)
            shutil.rmtree(part)
    log.info("%d files are kept in %s", len(manifest), folder)
    return manifest


def verify(results, tag: str) -> pd.DataFrame:
    """The manifest of a frozen release whose files are as they were.

    Raises
    ------
    InputError
        There is no such release, or a file is missing or has changed.
    """
    folder = frozen_folder(results, tag)
    if not (folder / MANIFEST).exists():
        known = sorted(path.parent.name for path in folder.parent.glob(f"*/{MANIFEST}"))
        raise InputError(f"{folder}: no frozen release; there are: {', '.join(known) or 'none'}")
    manifest = files.read_tsv(folder / MANIFEST)
    for row in manifest.itertuples():
        path = folder / row.file
        if not path.exists() or files.sha256(path) != row.sha256:
            raise InputError(f"{path}: missing, or changed since it was frozen")
    return manifest


def forget(results, withdrawn) -> int:
    """Take participants who have withdrawn out of all frozen tables; returns the rows removed.

    The statistics of a frozen release stay: they are what was published, and name nobody.
    """
    removed = 0
    for manifest_path in sorted(Path(results).glob(f"frozen/*/{MANIFEST}")):
        folder = manifest_path.parent
        manifest = files.read_tsv(manifest_path, keep_default_na=False)
        gone = 0
        for position, name in enumerate(manifest["file"]):
            if not name.endswith(".tsv"):
                continue
            table = pd.read_csv(folder / name, sep="\t", dtype=str, keep_default_na=False)
            if "eid" not in table or not table["eid"].isin(withdrawn).any():
                continue
            left = table[~table["eid"].isin(withdrawn)]
            gone += len(table) - len(left)
            _writable(folder, True)
            files.write_tsv(folder / name, left)
            manifest.loc[position, ["sha256", "note"]] = [
                files.sha256(folder / name),
                "rows removed after withdrawals",
            ]
        if gone:
            files.write_tsv(manifest_path, manifest)
            _writable(folder, False)
        removed += gone
    return removed


def _writable(folder: Path, yes: bool) -> None:
    """Make a folder and all in it writable, or read-only."""
    paths = [folder, *folder.rglob("*")]
    for path in paths if yes else reversed(paths):
        directory = path.is_dir()
        path.chmod((0o755 if directory else 0o644) if yes else (0o555 if directory else 0o444))


def drift(before: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Every participant's measures, before and now.

    Parameters
    ----------
    before, now : DataFrame
        Volume tables.

    Returns
    -------
    DataFrame
        eid, instance, measure, before, now, difference (now - before), percent (of before),
        change, made_with. `change` is ``same``, ``changed``, ``new`` (not in the cohort before),
        ``gone``, ``lost`` (a value before and none now), ``gained`` or ``missing`` (in neither);
        `made_with` names what the volume was made with that differs.
    """
    names = [measure.column for measure in MEASURES]
    both = before.merge(
        now, on=files.KEY, how="outer", suffixes=("_before", "_now"), indicator=True
    )
    made_with = pd.Series("", index=both.index)
    for name in PROVENANCE:
        if name not in before or name not in now:
            continue
        ends = both[f"{name}_before"].fillna(""), both[f"{name}_now"].fillna("")
        differs = (ends[0] != ends[1]) & (both["_merge"] == "both")
        made_with[differs] += f"{name},"
    parts = []
    for name in names:
        a, b = (both[f"{name}_{end}"].astype(float) for end in ("before", "now"))
        change = np.select(
            [
                both["_merge"] == "right_only",
                both["_merge"] == "left_only",
                a.isna() & b.isna(),
                b.isna(),
                a.isna(),
                a == b,
            ],
            ["new", "gone", "missing", "lost", "gained", "same"],
            "changed",
        )
        parts.append(
            both[files.KEY].assign(
                measure=name,
                before=a,
                now=b,
                difference=b - a,
                percent=100 * (b - a) / a.abs().where(a != 0),
                change=change,
                made_with=made_with.str.rstrip(","),
            )
        )
    return pd.concat(parts).sort_values([*files.KEY, "measure"], ignore_index=True)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """The drift of the cohort, a row per measure; counts and means, nobody is named.

    Returns
    -------
    DataFrame
        measure; participants per kind of change; mean and SD of the differences of those with
        both values (ml, or the measure's unit); median, 95th and 99th percentile of their
        absolute percentage.
    """
    rows = []
    kinds = ("same", "changed", "lost", "gained", "new", "gone", "missing")
    for name, part in table.groupby("measure", sort=False):
        both = part.dropna(subset=["difference"])
        size = both["percent"].abs().dropna()
        quantiles = {f"percent_p{q}": size.quantile(q / 100) for q in (50, 95, 99)}
        rows.append(
            {"measure": name}
            | {kind: int((part["change"] == kind).sum()) for kind in kinds}
            | {
                "difference_mean": both["difference"].mean(),
                "difference_sd": both["difference"].std(),
            }
            | quantiles
        )
    order = [measure.column for measure in MEASURES]
    return pd.DataFrame(rows).sort_values(
        "measure", key=lambda column: column.map(order.index), ignore_index=True
    )


def compare(results, tag: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`drift` and its summary of the current results against a frozen release."""
    verify(results, tag)
    before = files.read_tsv(frozen_folder(results, tag) / "volumes.tsv")
    table = drift(before, files.read_tsv(Path(results) / "volumes.tsv"))
    return table, summarise(table)
