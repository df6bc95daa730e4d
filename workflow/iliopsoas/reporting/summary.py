"""The page at the end of a run, what the run was made with, and its truthful exit status."""

import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from iliopsoas import files, starter
from iliopsoas.statistics.tables import table2_formatted
from iliopsoas.status import InputError, Verdict
from iliopsoas.versions import STAGES

LIBRARIES = (
    "snakemake",
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "jax",
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "statsmodels",
    "nibabel",
    "SimpleITK",
    "pydicom",
    "h5py",
    "matplotlib",
)


WHERE = (
    "Open first: `report.html` in `report.zip` (figures, tables), then `qc/review/index.html` "
    "(masks to look at). Numbers: `volumes.tsv`, `statistics/`; flags: `qc/flags.tsv`; reasons "
    "participant by participant: `shards/*/<stage>.tsv`."
)


def run_record(configuration: dict, repository=".") -> dict:
    """Software, configuration, machine and time of this run, for results/run.json.

    Parameters
    ----------
    configuration : dict
        The validated configuration; its seeds are part of it.
    repository : path
        Working tree whose commit is recorded, where it is one.
    """
    versions = {}
    for library in ("iliopsoas", *LIBRARIES):
        try:
            versions[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=repository,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git in the container, or no repository
        commit = None
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "python": platform.python_version(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "libraries": versions,
        "stages": STAGES,
        "configuration": configuration,
    }


def failed_share(volumes: pd.DataFrame) -> float:
    """Share of the cohort's participants without a volume."""
    return float((volumes["status"] != Verdict.OK).mean()) if len(volumes) else 0.0


def check(sample: pd.DataFrame, volumes: pd.DataFrame, max_failed_share: float) -> None:
    """Raise where the run must not count as a success.

    Raises
    ------
    InputError
        A participant of the sample has no verdict, or too many have failed.
    """
    asked = pd.MultiIndex.from_frame(sample[files.KEY])
    answered = pd.MultiIndex.from_frame(volumes.loc[volumes["status"].notna(), files.KEY])
    silent = len(asked.difference(answered)) + int((volumes["status"] == "no_verdict").sum())
    if silent:
        raise InputError(f"{silent} participants of the sample have no verdict")
    share = failed_share(volumes)
    if share > max_failed_share:
        raise InputError(
            f"{share:.1%} of the participants have no volume, more than the "
            f"{max_failed_share:.1%} that run.max_failed_share allows"
        )


def _table(frame: pd.DataFrame) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(map(str, frame.columns)) + " |", "|" + " --- |" * frame.shape[1]]
    for row in frame.itertuples(index=False):
        cells = (f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def withdrawn_from_models(results) -> dict[str, int]:
    """How many participants who have withdrawn each model was trained on, where any."""
    notes = sorted(Path(results).glob("model/*/withdrawn.json"))
    return {path.parent.name: files.read_json(path)["participants"] for path in notes}


def _accuracy(cross_validation) -> str | None:
    """The first thing to know: how near masks of people never seen come to those drawn by hand."""
    if cross_validation is None:
        return None
    rows = cross_validation.set_index("fold")
    if "all muscles" not in rows.index:
        return None
    row = rows.loc["all muscles"]
    whom, how = "unseen participants", f"in a cross-validation over {row['subjects']:.0f}"
    if "mean of folds" not in rows.index:  # weights from elsewhere
        whom = "annotated participants"
        how = f"by weights that may have been trained on them, over {row['subjects']:.0f}"
    return (
        f"**Dice of {whom}: {row['dice_mean']:.3f}** (SD {row['dice_sd']:.3f}, lowest muscle "
        f"{row['dice_min']:.3f}) and volumes {row['bias_percent']:+.1f} % on average, {how} "
        "annotated scans."
    )


def _networks(measured) -> list[str]:
    """What is to be known of the networks that made the masks."""
    networks = measured["network"] if "network" in measured else pd.Series(dtype=object)
    said = []
    if (networks == starter.NAME).any():
        said.append(
            f"Masks are by {starter.NOTE}: look at them before you use a volume, and "
            "see the model card, docs/starter.md."
        )
    if manual := int((networks == "manual").sum()):
        said.append(f"Masks of {manual} scans are manual ones, no network's.")
    return said


def _of_nobody(table_report) -> pd.DataFrame:
    """Zips and masks whose names are no visit's of the tables, from the cohort's table report."""
    if table_report is None:
        return pd.DataFrame()
    told = table_report["problem"].str.startswith(("unmatched_", "zip_of_", "annotation_"))
    found = table_report.loc[told, ["source", "problem", "count"]]
    return found.rename(columns={"problem": "found", "count": "files"})


def page(
    sample,
    volumes,
    flags,
    table2,
    recovery=None,
    withdrawn=None,
    table_report=None,
    cross_validation=None,
) -> str:
    """The summary page, in Markdown; counts only, nobody is named.

    Parameters
    ----------
    sample, volumes, flags, table2 : DataFrame
        The tables of the same name.
    recovery : DataFrame, optional
        results/phantom/recovery_summary.tsv of a synthetic cohort.
    withdrawn : dict, optional
        From `withdrawn_from_models`.
    table_report : DataFrame, optional
        cohort/table_report.tsv: files that match nobody are told.
    cross_validation : DataFrame, optional
        results/statistics/cross_validation.tsv.
    """
    measured = volumes[volumes["status"] == Verdict.OK]
    failed = volumes[volumes["status"] != Verdict.OK]
    parts = [
        "# Summary",
        "",
        f"{len(sample)} scans of {sample['eid'].nunique()} participants: {len(measured)} measured, "
        f"{len(failed)} without a volume.",
    ]
    said = [text for text in (_accuracy(cross_validation), *_networks(measured)) if text]
    for text in (*said, WHERE):
        parts += ["", text]
    for model, number in (withdrawn or {}).items():
        parts += [
            "",
            f"The model {model} was trained on participants who have withdrawn since ({number}): "
            "train it again before it is used or shared.",
        ]
    strangers = _of_nobody(table_report)
    if len(strangers):
        parts += ["", "## Files that match nobody", "", _table(strangers)]
    if len(failed):
        reasons = failed.groupby(["stopped_at", "status"]).size().rename("scans").reset_index()
        reasons.columns = ["stage", "reason", "scans"]
        parts += ["", "## Without a volume", "", _table(reasons)]
    if len(flags):
        counts = flags["flag"].value_counts().rename_axis("flag").rename("scans").reset_index()
        parts += ["", "## Quality flags", "", _table(counts)]
    parts += ["", "## Iliopsoas volumes (Table 2)", "", _table(table2_formatted(table2))]
    if recovery is not None:
        parts += ["", "## Recovery of the synthetic cohort's known truth", "", _table(recovery)]
    return "\n".join(parts) + "\n"
