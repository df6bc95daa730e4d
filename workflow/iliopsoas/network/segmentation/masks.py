"""From the network's output to one muscle's mask (recoh/iliopsoas_muscle)."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Mask(NamedTuple):
    """One muscle's mask and what was done to make it.

    Attributes
    ----------
    mask : ndarray (x, y, z), bool
    filled_voxels : int
        Voxels that were filled as holes.
    components_removed, removed_voxels : int
        Pieces that were not kept, and their size.
    """

    mask: np.ndarray
    filled_voxels: int
    components_removed: int
    removed_voxels: int


def post_process(probability, threshold: float = 0.5, least_piece: float = 1.0) -> Mask:
    """Threshold, fill holes, keep the largest component; both with 6 neighbours.

    Parameters
    ----------
    probability : ndarray (x, y, z)
        Of one muscle.
    threshold : float
        A voxel is muscle from this probability on.
    least_piece : float
        Other components are kept from this share of the largest one's size on: fat may part psoas
        and iliacus. 1, the published way, keeps none.
    """
    mask = np.asarray(probability) >= threshold
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return Mask(mask, 0, 0, 0)
    inside = np.pad(mask[found[0]], 1)  # a hole has no way out of this frame
    background, _ = ndimage.label(~inside)
    solid = background != background[0, 0, 0]
    filled = int(solid.sum() - inside.sum())
    labels, _ = ndimage.label(solid)
    sizes = np.bincount(labels.ravel())[1:]
    kept = sizes >= least_piece * sizes.max()
    if least_piece == 1.0:
        kept[np.argmax(sizes) + 1 :] = False  # one of several that are equally large
    whole = np.append(False, kept)[labels]
    mask = np.zeros_like(mask)
    mask[found[0]] = whole[1:-1, 1:-1, 1:-1]
    return Mask(mask, filled, int((~kept).sum()), int(sizes[~kept].sum()))


def border_voxels(mask) -> int:
    """Mask voxels on the faces of the crop: the muscle may be cut off there."""
    core = mask[1:-1, 1:-1, 1:-1]
    return int(np.count_nonzero(mask) - np.count_nonzero(core))


def certainty(probability, mask) -> tuple[float, float]:
    """Mean probability inside the mask, and mean binary entropy (bits) in and around it.

    The entropy is that of the voxels of the mask or of a probability above 0.05; lower
    is better. Not-a-number where the mask is empty.
    """
    if not mask.any():
        return float("nan"), float("nan")
    p = np.clip(probability[mask | (probability > 0.05)].astype(float), 1e-7, 1 - 1e-7)
    entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return float(probability[mask].mean()), float(entropy.mean())


def describe(result: Mask, probability) -> dict:
    """What is recorded of one muscle's mask; not-a-number where it is empty.

    Parameters
    ----------
    result : Mask
    probability : ndarray (x, y, z)
        That it was made from.

    Returns
    -------
    dict
        components_removed, removed_percent, filled_voxels, filled_percent, border_voxels,
        mean_probability, entropy (see `certainty`), soft_percent (sum of all probabilities, in
        percent of the mask's voxels: above 100 where much was nearly muscle).
    """
    voxels = np.count_nonzero(result.mask)
    share = 100.0 / voxels if voxels else float("nan")
    mean, entropy = certainty(probability, result.mask)
    return {
        "components_removed": result.components_removed,
        "removed_percent": result.removed_voxels * share,
        "filled_voxels": result.filled_voxels,
        "filled_percent": result.filled_voxels * share,
        "border_voxels": border_voxels(result.mask),
        "mean_probability": mean,
        "entropy": entropy,
        "soft_percent": float(np.sum(probability, dtype=np.float64)) * share,
    }
