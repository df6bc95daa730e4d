"""A second opinion on masks: what the starter network draws in the same crops."""

import numpy as np

from iliopsoas import grid, starter
from iliopsoas.masks.opinion import OPINION, surface_distance
from iliopsoas.masks.overlap import dice
from iliopsoas.network.segmentation.masks import certainty
from iliopsoas.network.segmentation.segmenter import Segmenter


def load(batch_size: int = 2) -> Segmenter:
    """The starter network as a second opinion: with its mirror image, at its own threshold."""
    return Segmenter.load([starter.WEIGHTS], batch_size=batch_size, flip=True)


def compare(segmenter: Segmenter, crops: dict, masks: dict, own: bool = False) -> dict:
    """What the starter network says of one participant's masks.

    Parameters
    ----------
    segmenter : Segmenter
        Of `load`.
    crops : dict of str to ndarray
        Side -> normalised crop (96, 96, 192).
    masks : dict of str to ndarray of bool
        Side -> mask in that crop.
    own : bool
        The masks are the starter network's: then only its mirror image says something new.

    Returns
    -------
    dict
        ``<side>_<name>`` for the names of `OPINION`; None where a mask has no voxel.
    """
    predicted = segmenter.predict([crops[side] for side in crops])
    record = {}
    for number, side in enumerate(crops):
        members = [segmenter.finest(member[number]) for member in predicted]
        found = of_members(segmenter, members, masks[side], own)
        record |= {f"{side}_{name}": value for name, value in found.items()}
    return record


def of_members(segmenter: Segmenter, members, mask, own: bool = False) -> dict:
    """The names of `OPINION` for one muscle.

    Parameters
    ----------
    segmenter : Segmenter
        Of `load`.
    members : sequence of two ndarray (x, y, z)
        Probabilities: of the crop, and of its mirror image turned back.
    mask : ndarray of bool (x, y, z)
    own : bool
        As for `compare`.
    """
    mean = np.mean(members, axis=0)
    second = segmenter.mask(mean).mask
    probability, entropy = certainty(mean, second)
    found = {
        "mirror_dice": dice(*(segmenter.mask(member).mask for member in members)),
        "second_probability": probability,
        "second_entropy": entropy,
    }
    if not own and mask.any():
        found["second_dice"] = dice(mask, second)
        difference = np.count_nonzero(mask) - np.count_nonzero(second)
        found["second_difference_ml"] = difference * grid.VOXEL_ML
        found["second_surface_mm"] = surface_distance(mask, second)
    return {
        name: float(found[name]) if np.isfinite(found.get(name, np.nan)) else None
        for name in OPINION
    }
