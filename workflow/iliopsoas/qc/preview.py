"""A small picture of one participant: three views, both outlines, the crops' boxes."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.qc.evidence import crop_boxes

MAX_BYTES = 100_000
PIXEL_MM = 1.6  # of the picture; views are drawn to scale
MARGIN_MM = 25.0  # around the crops
GAP = 6  # pixels between views
# Okabe and Ito's palette, told apart by the colour-blind: left sky blue, right orange
COLOURS = {"left": (86, 180, 233), "right": (230, 159, 0), "box": (140, 150, 170)}


def _window(landmarks, shape, spacing, mask):
    """Index ranges of what is shown: both crops and a margin; without landmarks the mask's."""
    boxes = crop_boxes(landmarks or {}, shape)
    if boxes:
        low = np.min([low for low, _ in boxes.values()], axis=0)
        high = np.max([high for _, high in boxes.values()], axis=0)
    elif mask.any():
        found = np.argwhere(mask)
        low, high = found.min(axis=0), found.max(axis=0) + 1
    else:
        low, high = np.zeros(3, int), np.array(shape)
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    low, high = np.maximum(low - margin, 0), np.minimum(high + margin, shape)
    # a box wholly off the image still gives a picture: the image itself
    empty = high <= low
    return np.where(empty, 0, low), np.where(empty, shape, high), boxes


def _level(inside, axis) -> int:
    """The index along an axis where a mask is largest; the middle where it is empty."""
    counts = inside.sum(axis=tuple(other for other in range(3) if other != axis))
    return int(np.argmax(counts)) if counts.any() else inside.shape[axis] // 2


def _to_scale(plane, spacing, order):
    """A plane at `PIXEL_MM` per pixel, turned as radiologists hang it: row 0 is up."""
    zoomed = ndimage.zoom(
        plane, np.asarray(spacing) / PIXEL_MM, order=order, mode="nearest", grid_mode=True
    )
    return np.flipud(zoomed.T)


class _View:
    """One plane: grey image and coloured lines, drawn in the picture's palette."""

    def __init__(self, water, mask, axis, index, spacing):
        self.axes = [other for other in range(3) if other != axis]
        self.spacing = spacing[self.axes]
        # the square root: dark muscle is seen better
        grey = np.sqrt(np.clip(np.take(water, index, axis), 0, 1))
        self.grey = np.clip(_to_scale(grey, self.spacing, 1), 0, 1)
        labels = np.take(mask, index, axis)
        # outlines at the picture's resolution, so that they are one pixel wide
        self.lines = np.zeros(self.grey.shape, np.uint8)
        for side, label in grid.SIDES.items():
            share = _to_scale((labels == label).astype(np.float32), self.spacing, 1)
            inside = np.pad(share >= 0.5, 1)
            edge = inside & ~ndimage.binary_erosion(inside)
            self.lines[edge[1:-1, 1:-1]] = list(COLOURS).index(side) + 1

    def draw_box(self, corners):
        """The crop's rectangle, dotted; sides off the picture are not drawn."""
        rows, columns = self.lines.shape
        scale = self.spacing / PIXEL_MM
        (c0, r0), (c1, r1) = (
            [corner[a] * s for a, s in zip(self.axes, scale, strict=True)] for corner in corners
        )
        colour = list(COLOURS).index("box") + 1
        r0, r1 = rows - r1, rows - r0
        for row in (round(r0), round(r1) - 1):
            if 0 <= row < rows:
                self.lines[row, max(round(c0), 0) : max(round(c1), 0) : 3] = colour
        for column in (round(c0), round(c1) - 1):
            if 0 <= column < columns:
                self.lines[max(round(r0), 0) : max(round(r1), 0) : 3, column] = colour

    def picture(self, levels):
        """Palette indices: greys first, then the colours."""
        grey = np.rint(self.grey * (levels - 1)).astype(np.uint8)
        return np.where(self.lines > 0, levels - 1 + self.lines, grey).astype(np.uint8)


def _encode(indices, levels) -> bytes:
    greys = np.rint(np.linspace(0, 255, levels)).astype(int)
    palette = [int(value) for grey in greys for value in (grey,) * 3]
    palette += [channel for colour in COLOURS.values() for channel in colour]
    image = Image.fromarray(indices, mode="P")
    image.putpalette(palette)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def preview(water, mask, landmarks=None, affine=None) -> bytes:
    """Three views of one participant as a PNG.

    Parameters
    ----------
    water : ndarray (x, y, z)
        Water image, voxel order LAS.
    mask : ndarray of int (x, y, z)
        1 = left, 2 = right; may be empty.
    landmarks : dict, optional
        Their crops are drawn dotted and set what is shown.
    affine : ndarray (4, 4), optional
        Default: the stitched grid's.

    Returns
    -------
    bytes
        Above: coronal, sagittal through the right and through the left muscle, each at the index
        where the mask is largest; below: axial at the largest level and at the lower quarter of
        the mask's levels. The patient's right is on the picture's left. Less than `MAX_BYTES`;
        no text, no metadata.

    Raises
    ------
    ValueError
        Shapes that differ.
    """
    water, mask = np.asarray(water), np.asarray(mask)
    if water.shape != mask.shape or water.ndim != 3:
        raise ValueError(f"preview: water has shape {water.shape}, the mask {mask.shape}")
    spacing = np.abs(np.diag(grid.las_affine() if affine is None else np.asarray(affine))[:3])
    low, high, boxes = _window(landmarks, mask.shape, spacing, mask)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    water, mask = np.asarray(water[window], dtype=np.float32), mask[window]
    bright = float(np.percentile(water[water > 0], 99.5)) if (water > 0).any() else 1.0
    water = water / bright

    def view(axis, index):
        drawn = _View(water, mask, axis, index, spacing)
        for corners in boxes.values():
            first, last = np.subtract(corners, low)
            if first[axis] <= index < last[axis]:
                drawn.draw_box((first, last))
        return drawn

    both = mask > 0
    occupied = np.flatnonzero(both.any(axis=(0, 1)))
    lower = occupied[len(occupied) // 4] if len(occupied) else mask.shape[2] // 4
    coronal = view(1, _level(both, 1))
    sagittal = [view(0, _level(mask == grid.SIDES[side], 0)) for side in ("right", "left")]
    axial = [view(2, _level(both, 2)), view(2, int(lower))]

    def compose(grey_levels):
        rows = []
        for views in ((coronal, *sagittal), axial):
            parts = [part.picture(grey_levels) for part in views]
            gap = np.zeros((parts[0].shape[0], GAP), np.uint8)
            rows.append(np.hstack([piece for part in parts for piece in (part, gap)][:-1]))
        width = max(row.shape[1] for row in rows)
        rows.insert(1, np.zeros((GAP, width), np.uint8))
        return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]))) for row in rows])

    for grey_levels in (64, 40, 28, 20, 14, 10, 6):
        data = _encode(compose(grey_levels), grey_levels)
        if len(data) < MAX_BYTES:
            break
    return data
