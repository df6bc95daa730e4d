"""How well this run's masks and those of other tools agree, participant by participant."""

from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import grid
from iliopsoas.config import Run
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Shard, Stage, output_of
from iliopsoas.status import Verdict

OWN = "own"  # this run among the methods; no other one may be called so


def participant(folder, masks: dict[str, str]) -> dict:
    """Dice of every two masks of one participant.

    Parameters
    ----------
    folder : path
        The participant's.
    masks : dict of str to str
        Method to its label map's file name, this run's (`OWN`) first.

    Returns
    -------
    dict
        ``dice_<a>_<b>_<side>``, missing where a mask lacks the side, and ``dice_own_<side>``:
        the median over the other methods of their Dice with this run's mask.
    """
    from iliopsoas.masks.overlap import dice

    arrays = {}
    for name, file in masks.items():
        with output_of("segment" if name == OWN else f"other-{name}", Path(folder) / file):
            arrays[name] = np.asanyarray(nib.load(Path(folder) / file).dataobj)
    record = {}
    for side, label in grid.SIDES.items():
        drawn = {name: mask for name, array in arrays.items() if (mask := array == label).any()}
        found = {pair: dice(*(drawn[name] for name in pair)) for pair in combinations(drawn, 2)}
        record |= {f"dice_{a}_{b}_{side}": value for (a, b), value in found.items()}
        own = [value for (a, _), value in found.items() if a == OWN]
        record[f"dice_own_{side}"] = float(np.median(own)) if own else None
    return record


def run(
    manifest, segment, others: dict, ledger, *, results, version: str, processes: int, options: Run
) -> pd.DataFrame:
    """Compare the masks of a shard.

    Parameters
    ----------
    segment : path
        Ledger of this run's masks.
    others : dict of str to path
        Method to the ledger of its masks; whoever has no mask of one method is compared in the
        others.
    """
    rows = {name: Ledger(path).rows() for name, path in others.items()}

    def inputs(row, earlier):
        found = {name: ledger.get((row.eid, row.instance), {}) for name, ledger in rows.items()}
        found = {n: state for n, state in found.items() if state.get("verdict") == Verdict.OK}
        masks = {OWN: "iliopsoas.nii.gz"} | {name: f"other-{name}.nii.gz" for name in found}
        return [[n, state["fingerprint"]] for n, state in found.items()], {"masks": masks}

    shard = Shard(
        Stage("methods", work=participant, after="segment"),
        manifest,
        ledger,
        results=results,
        parts=("methods", version, sorted(others)),
        previous=segment,
        inputs=inputs,
        options=options,
    )
    return shard.run(processes)
