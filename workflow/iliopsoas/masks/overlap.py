"""How far two masks cover the same voxels."""

import numpy as np


def dice(a, b) -> float:
    """Dice coefficient of two masks; not-a-number where both are empty."""
    both = np.count_nonzero(a) + np.count_nonzero(b)
    return 2.0 * np.count_nonzero(a & b) / both if both else float("nan")
