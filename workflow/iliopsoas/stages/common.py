"""What several stages share: tasks made from a manifest, ledgers read back."""

import pandas as pd

from iliopsoas import files
from iliopsoas.stages.shards import Task, read_state
from iliopsoas.status import Verdict

MASKS = ("iliopsoas.nii.gz", "probability.nii.gz")


def tasks_after(manifest, results, previous: str, *parts, arguments=None) -> list[Task]:
    """A task per participant of a manifest, fingerprinted by the state of the previous stage.

    `arguments` gives a manifest row's keyword arguments beyond its folder.
    """
    found = []
    for row in files.read_tsv(manifest).itertuples():
        state = read_state(results, row.eid, row.instance, previous)
        blocked = None
        if state is None:
            blocked = f"{previous}: no verdict"
        elif state["verdict"] == Verdict.EARLIER_STAGE:
            blocked = state["message"]
        elif state["verdict"] != Verdict.OK:
            blocked = f"{previous}: {state['verdict']}"
        folder = files.subject_folder(results, row.eid, row.instance)
        found.append(
            Task(
                row.eid,
                row.instance,
                files.fingerprint(state and state["fingerprint"], *parts),
                {"folder": str(folder)} | (arguments(row) if arguments else {}),
                blocked,
            )
        )
    return found


def read_ledgers(paths_by_stage: dict) -> dict[str, pd.DataFrame]:
    """The ledgers of all shards, one table per stage.

    Parameters
    ----------
    paths_by_stage : dict of str to list of path
    """
    return {
        stage: pd.concat([files.read_tsv(path) for path in paths], ignore_index=True)
        for stage, paths in paths_by_stage.items()
    }
