"""Where the body is: a quick foreground per station, and the body mask of the whole."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from iliopsoas.dixon.voxels import select
from iliopsoas.status import Refused, Verdict

IN_PLANE = np.zeros((3, 3, 3), bool)  # 4-connected within a slice
IN_PLANE[..., 1] = ndimage.generate_binary_structure(2, 1)

ENDS = (slice(None, 12), slice(-12, None))
MOSTLY_ZERO = 0.3
OTSU_BINS = 64
FADED_SLICES = 3  # published: the outermost slices carry no mask
SMALLEST_LITRES = 5.0


def noise_level(in_phase: np.ndarray) -> float:
    """Standard deviation of the noise, from the corners of every slice.

    Air has Rayleigh magnitude noise, whose mean is 1.253 standard deviations. The
    quietest of the four corners counts: an arm may lie in the others.
    """
    corners = _corners(in_phase)
    return float(min(float(corner.mean()) for corner in corners) / 1.253) if corners else 0.0


def masked_air(in_phase: np.ndarray) -> bool:
    """Whether a scanner set air to 0: noise alone seldom is."""
    corners = _corners(in_phase)
    return not corners or max(float((corner == 0).mean()) for corner in corners) > MOSTLY_ZERO


def _corners(in_phase: np.ndarray) -> list[np.ndarray]:
    rows = np.flatnonzero(in_phase.any(axis=(0, 2)))  # rows outside the slab are empty
    if not len(rows):
        return []
    seen = in_phase[:, rows[0] : rows[-1] + 1]
    return [part[side] for part in (seen[:, :12], seen[:, -12:]) for side in ENDS]


def foreground(in_phase: np.ndarray) -> np.ndarray:
    """Tissue of one station: brighter than noise, holes within a slice filled.

    Parameters
    ----------
    in_phase : ndarray (x, y, z)

    Returns
    -------
    ndarray of bool (x, y, z)
    """
    smooth = ndimage.uniform_filter(in_phase.T, (1, 3, 3), mode="nearest").T
    bright = float(np.percentile(smooth.T[::2, ::2, ::2], 98))
    threshold = max(4.0 * noise_level(in_phase), 0.06 * bright)
    return fill_slices(smooth > threshold)


def fill_slices(tissue: np.ndarray) -> np.ndarray:
    """Fill what the background cannot reach from a slice's border (lungs, bowel gas)."""
    labels, count = ndimage.label(~tissue.T, IN_PLANE.T)
    labels = labels.T
    outside = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outside[edge] = True
    outside[0] = False
    return ~outside[labels]


def body_mask(in_phase: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Body mask of the stitched volume.

    Parameters
    ----------
    in_phase : ndarray float32 (x, y, z)
        Bias-corrected and blended, on the stitched grid.
    covered : ndarray of bool (z,)
        Slices that a station covers.

    Returns
    -------
    ndarray uint8 (x, y, z)

    Raises
    ------
    Refused
        ``no_body`` where less than 5 litres are found.

    Notes
    -----
    After recoh/pipeline: the lowest of four Otsu thresholds (valley emphasis) of the
    smoothed in-phase signal parts tissue from air; background is grown from the border
    slice by slice, so lungs and bowel are body; arms stay in; largest component; closing;
    the three outermost slices carry no mask.
    """
    smooth = ndimage.uniform_filter(in_phase.T, 3, mode="nearest").T
    slices = np.flatnonzero(covered)
    threshold = lowest_otsu(smooth.T[slices[::2], ::2, ::2].T)
    mask = fill_slices(smooth > threshold)
    mask[..., ~covered] = False
    labels, count = ndimage.label(mask.T)
    if count > 1:
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = (labels == sizes.argmax()).T
    ball = np.zeros((3, 3, 5), bool)
    ball[1, :, 1:-1] = ball[:, 1, 1:-1] = ball[1, 1] = True
    padded = np.pad(mask, ((1, 1), (1, 1), (2, 2)), mode="edge")
    mask = ndimage.binary_closing(padded.T, ball.T).T[1:-1, 1:-1, 2:-2] | mask
    mask[..., slices[:FADED_SLICES]] = False
    mask[..., slices[-FADED_SLICES:]] = False
    return mask.astype(np.uint8)


def require_body(mask: np.ndarray, voxel_ml: float) -> float:
    """Litres of the mask; refuse a scan that shows no body."""
    litres = float(np.count_nonzero(mask)) * voxel_ml / 1000
    if litres < SMALLEST_LITRES:
        raise Refused(
            Verdict.NO_BODY, f"scan: {litres:.1f} litres of body found, expected 30 to 150"
        )
    return litres


def lowest_otsu(values: np.ndarray, thresholds: int = 4) -> float:
    """Lowest of `thresholds` Otsu thresholds with valley emphasis, of the positive values.

    The published code has four. Values above the 99th percentile count as that.
    """
    values = select(values, values > 0)
    if not values.size:
        return np.inf
    top = float(np.percentile(values, 99))
    image = sitk.GetImageFromArray(np.minimum(values, top).astype(np.float32)[None])
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(thresholds)
    otsu.SetNumberOfHistogramBins(OTSU_BINS)
    otsu.ValleyEmphasisOn()
    otsu.Execute(image)
    return float(otsu.GetThresholds()[0])
