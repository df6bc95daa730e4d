"""What a second opinion says of a mask: names, and the distance between two masks' surfaces."""

import numpy as np
from scipy import ndimage

from iliopsoas import grid

# per side: name without the side -> (unit, definition)
OPINION = {
    "second_dice": ("ratio", "Dice of the mask and the starter network's"),
    "second_difference_ml": ("ml", "volume of the mask - of the starter network's"),
    "second_surface_mm": ("mm", "mean distance between the surfaces of both masks, both ways"),
    "mirror_dice": (
        "ratio",
        "Dice of the starter network's masks of the crop and of its mirror image",
    ),
    "second_probability": ("probability", "mean output of the starter network in its mask"),
    "second_entropy": ("bits", "mean binary entropy in and around the starter network's mask"),
}
COLUMNS = {
    f"{side}_{name}": (unit, f"{side} muscle: {text}")
    for side in grid.SIDES
    for name, (unit, text) in OPINION.items()
}


def surface_distance(one, other, spacing=grid.SPACING_MM) -> float:
    """Mean distance between the surfaces of two masks, over the surface voxels of both, in mm.

    Not-a-number where either has no voxel.

    Parameters
    ----------
    one, other : ndarray of bool (x, y, z)
    spacing : sequence of float
    """
    if not (one.any() and other.any()):
        return float("nan")
    (box,) = ndimage.find_objects((one | other).astype(np.uint8))
    surfaces = [_surface(np.pad(mask[box], 1)) for mask in (one, other)]
    far = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    apart = np.concatenate([far[1][surfaces[0]], far[0][surfaces[1]]])
    return float(apart.mean())


def _surface(mask):
    return mask & ~ndimage.binary_erosion(mask)
