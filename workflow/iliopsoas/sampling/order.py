"""An order of participants that depends on the seed and on nothing else."""

import hashlib

import numpy as np


def ranks(eids, seed: int, purpose: str = "") -> np.ndarray:
    """A number per participant, as good as random and the same in every table.

    Parameters
    ----------
    eids : iterable of str
    seed : int
    purpose : str
        Numbers for one purpose are independent of those for another.

    Returns
    -------
    ndarray of uint64
        Drawing the lowest ones is drawing at random; neither the order of the rows nor who
        else is there changes a participant's number.
    """
    key = f"{int(seed)}{purpose}".encode()
    return np.array(
        [
            int.from_bytes(hashlib.blake2b(str(eid).encode(), digest_size=8, key=key).digest())
            for eid in eids
        ],
        dtype=np.uint64,
    )
