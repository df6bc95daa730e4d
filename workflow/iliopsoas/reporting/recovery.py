"""How well the workflow recovered the synthetic cohort's known truth."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.logs import log
from iliopsoas.network.segmentation import dice
from iliopsoas.status import InputError, Verdict


def expected_status(fault: str) -> str:
    """The status that a planted fault should lead to.

    Parameters
    ----------
    fault : str
        As in truth.tsv: empty, ``truncated``, ``missing:STATION`` or ``swapped:STATION``.
    """
    if fault == "truncated":
        return Verdict.TRUNCATED_ZIP
    if fault.startswith("missing:") and fault.split(":")[1] in "2345":
        return Verdict.STATION_MISSING
    return Verdict.OK


def compare(sample, volumes, truth, *, results, folder) -> pd.DataFrame:
    """Measured against true volumes and masks, a row per participant and side.

    Parameters
    ----------
    sample, volumes, truth : DataFrame
        results/cohort/sample.tsv, results/volumes.tsv and the cohort's truth.tsv.
    results, folder : path
        Results folder; the synthetic cohort's folder, with truth/EID_I.nii.gz.

    Returns
    -------
    DataFrame
        eid, instance, annotated, planted_fault, status, expected_status, side, true_ml,
        measured_ml, error_ml, error_percent, dice.
    """
    rows = []
    everyone = volumes.merge(truth, on=files.KEY, suffixes=("", "_true")).merge(
        sample[[*files.KEY, "annotated"]], on=files.KEY
    )
    for person in everyone.to_dict("records"):
        fault = person["planted_fault"] if isinstance(person["planted_fault"], str) else ""
        masks = None
        if person["status"] == Verdict.OK:
            measured = files.subject_folder(results, person["eid"], person["instance"])
            masks = [
                np.asanyarray(nib.load(path).dataobj)
                for path in (
                    measured / "iliopsoas.nii.gz",
                    Path(folder)
                    / "truth"
                    / f"{files.subject_name(person['eid'], person['instance'])}.nii.gz",
                )
            ]
        for side, label in grid.SIDES.items():
            true_ml, measured_ml = person[f"{side}_ml_true"], person[f"{side}_ml"]
            rows.append(
                {
                    "eid": person["eid"],
                    "instance": person["instance"],
                    "annotated": person["annotated"],
                    "planted_fault": fault,
                    "status": person["status"],
                    "expected_status": str(expected_status(fault)),
                    "side": side,
                    "true_ml": true_ml,
                    "measured_ml": measured_ml,
                    "error_ml": measured_ml - true_ml,
                    "error_percent": 100.0 * (measured_ml - true_ml) / true_ml,
                    "dice": dice(*(mask == label for mask in masks)) if masks else np.nan,
                }
            )
    return pd.DataFrame(rows)


def summarise(comparison: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice and volume error, for participants seen in training and for those never seen."""
    rows = []
    for annotated, name in ((False, "never seen in training"), (True, "seen in training")):
        group = comparison[(comparison["annotated"] == annotated) & comparison["dice"].notna()]
        rows.append(
            {
                "participants": name,
                "muscles": len(group),
                "mean_dice": group["dice"].mean(),
                "lowest_dice": group["dice"].min(),
                "mean_absolute_error_percent": group["error_percent"].abs().mean(),
                "mean_error_percent": group["error_percent"].mean(),
            }
        )
    return pd.DataFrame(rows)


def check_planted_faults(comparison: pd.DataFrame) -> None:
    """Raise where anything else than a planted fault stopped a participant.

    Raises
    ------
    InputError
        Counting the participants whose status is not the expected one.
    """
    wrong = comparison[comparison["status"] != comparison["expected_status"]]
    wrong = wrong.drop_duplicates(files.KEY)
    if len(wrong):
        counts = wrong.groupby(["planted_fault", "expected_status", "status"]).size()
        for (fault, expected, found), count in counts.items():
            log.error(
                "%d with planted fault %r: expected %s, found %s",
                count,
                fault or "none",
                expected,
                found,
            )
        raise InputError(
            f"{len(wrong)} synthetic participants did not get the status their planted fault "
            "leads to; the ledgers under results/shards/ say why"
        )
