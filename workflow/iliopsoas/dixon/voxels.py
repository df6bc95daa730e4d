"""Voxels of arrays (x, y, z) that lie in memory as in a NIfTI file: x fastest, then y, then z.

NumPy selects voxels and scipy.ndimage walks through them as they lie in an array (z, y, x).
Given the transposed view, which costs nothing, both go along memory, several times faster.
"""

import numpy as np


def select(array: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Values (n,) of the voxels `where`, in the order of memory."""
    return array.T[where.T]


def exchange(channels: dict, where: np.ndarray) -> dict:
    """The channels with fat and water exchanged in the voxels `where`, which broadcasts."""
    fat, water = channels["F"], channels["W"]
    return channels | {"F": np.where(where, water, fat), "W": np.where(where, fat, water)}
