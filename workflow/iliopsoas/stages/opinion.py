"""A second opinion on a shard's masks: how far the starter network disagrees with them."""

import nibabel as nib
import numpy as np
import pandas as pd

from iliopsoas import files, grid, starter
from iliopsoas.config import Run
from iliopsoas.stages.landmarks import FILE as LANDMARKS
from iliopsoas.stages.shards import Shard, Stage, guarded, output_of
from iliopsoas.stages.volumes import MASK


def run(
    manifest,
    crops,
    segment,
    ledger,
    *,
    results,
    version: str,
    normalisation: str,
    batch_size: int,
    options: Run,
) -> pd.DataFrame:
    """Compare a shard's masks with the starter network's; see `network.segmentation.opinion`.

    Parameters
    ----------
    manifest, crops, segment, ledger : path
        The shard's participants, their crops, the ledger of their masks, the ledger written.
    normalisation : str
        Of the crops.
    """
    from iliopsoas.crops import CropReader
    from iliopsoas.network.segmentation import opinion

    shard = Shard(
        Stage("opinion", after="segment"),
        manifest,
        ledger,
        results=results,
        parts=("opinion", version, normalisation, files.sha256(starter.WEIGHTS)),
        previous=segment,
        options=options,
    )
    if not shard.pending:
        return shard.close()
    drawn_by = files.read_tsv(segment).set_index(files.KEY)["network"]
    segmenter, reader = opinion.load(batch_size), CropReader(crops)

    def compare(task):
        cut = {side: reader.read(task.name, side, normalisation) for side in grid.SIDES}
        masks = masks_in_crops(task.folder)
        return opinion.compare(segmenter, cut, masks, drawn_by[task.key] == starter.NAME)

    for task in shard.pending:
        outcome = guarded(compare, task)
        shard.finish(task, outcome, outcome.value)
    return shard.close()


def masks_in_crops(folder) -> dict[str, np.ndarray]:
    """Each side's mask in its crop, bool (96, 96, 192), of a participant's folder."""
    from iliopsoas.crops import cut

    with output_of("segment", folder / MASK):
        mask = np.asanyarray(nib.load(folder / MASK).dataobj)
    with output_of("landmarks", folder / LANDMARKS):
        found = files.read_json(folder / LANDMARKS)
    return {side: cut(mask, found, side) == label for side, label in grid.SIDES.items()}
