"""Figure S1: where the two crops lie in the body."""

import numpy as np
from matplotlib.patches import Rectangle

from iliopsoas import grid
from iliopsoas.crops import CROP_SHAPE, box
from iliopsoas.figures import style
from iliopsoas.figures.images import aspect_of, grey, slice_of

_AXES = {"coronal": (0, 2), "axial": (0, 1), "sagittal": (1, 2)}  # across, up


@style.styled
def draw_crop_boxes(water, landmarks, spacing=grid.SPACING_MM):
    """Both crop boxes over a body (Figure S1).

    Parameters
    ----------
    water : ndarray, shape (x, y, z)
        Stitched water volume, voxel order LAS.
    landmarks : dict
        Published keys -> voxel indices, as given to `crops.crop`.
    spacing : tuple of float
        Millimetres along x, y, z.

    Returns
    -------
    Figure
        a coronal slice through the femoral heads, b sagittal slice through the left one,
        c axial slice above them; boxes in the sides' colours, solid left and dashed
        right, landmarks as dots, the midline between the hips as a line.

    Raises
    ------
    Refused
        ``hips_not_found`` or ``shoulders_not_found``: there are no boxes.
    """
    water = np.asarray(water)
    corners = {side: box(landmarks, side, water.shape) for side in grid.SIDES}
    bright = grey(water)
    points = {
        key: np.asarray(landmarks.get(key, landmarks.get(int(key)))) for key in _known(landmarks)
    }
    hips = (points["11"] + points["12"]) / 2
    above = min(int(hips[2]) + 25, water.shape[2] - 1)
    levels = {"coronal": int(hips[1]), "sagittal": int(points["12"][0]), "axial": above}
    size = np.array(water.shape) * spacing
    drawing = style.figure(style.DOUBLE_MM, 95)
    layout = drawing.add_gridspec(1, 3, width_ratios=[size[0], size[1], size[0]])
    for column, (plane, level) in enumerate(levels.items()):
        panel = drawing.add_subplot(layout[0, column])
        panel.imshow(
            slice_of(bright, plane, level),
            cmap="gray",
            vmin=0,
            vmax=1,
            aspect=aspect_of(plane, spacing),
            interpolation="bilinear",
        )
        shown = corners if plane != "sagittal" else {"left": corners["left"]}
        for side, corner in shown.items():
            _draw_box(panel, plane, corner, water.shape, side)
        _draw_points(panel, plane, level, points, water.shape)
        panel.set_axis_off()
        panel.set_anchor("N")
        panel.set_title(f"$\\bf{{{'abc'[column]}}}$  {plane}")
    # under the axial slice, which is the shortest picture
    drawing.axes[2].legend(
        handles=[_patch(side) for side in grid.SIDES],
        labels=["left crop", "right crop"],
        loc="upper left",
        bbox_to_anchor=(0, -0.05),
        borderaxespad=0,
    )
    for panel in (drawing.axes[0], drawing.axes[2]):
        _sides(panel)
    return drawing


def _sides(panel):
    """R and L at the edges: radiological convention."""
    for position, text in ((0.03, "R"), (0.97, "L")):
        panel.text(
            position, 0.97, text, transform=panel.transAxes, color="white", ha="center", va="top"
        )


def _known(landmarks):
    return [
        key
        for key in ("1", "2", "11", "12", "21", "22")
        if key in landmarks or int(key) in landmarks
    ]


def _line(side):
    return {
        "edgecolor": style.SIDE[side],
        "facecolor": "none",
        "linewidth": 1.3,
        "linestyle": "-" if side == "left" else (0, (4, 2)),
    }


def _patch(side):
    return Rectangle((0, 0), 1, 1, **_line(side))


def _place(plane, point, shape):
    """Column and row of a voxel in `slice_of`'s picture."""
    across, up = _AXES[plane]
    column = shape[across] - 1 - point[across] if plane == "sagittal" else point[across]
    return column, shape[up] - 1 - point[up]


def _draw_box(panel, plane, corner, shape, side):
    first = np.asarray(corner, dtype=float) - 0.5
    last = first + CROP_SHAPE
    ends = np.array([_place(plane, end, shape) for end in (first, last)])
    low = ends.min(axis=0)
    panel.add_patch(Rectangle(low, *(ends.max(axis=0) - low), **_line(side)))


def _draw_points(panel, plane, level, points, shape):
    if plane == "coronal":
        marked = points
        middle = (points["11"] + points["12"]) / 2
        column = int(middle[0]) - 0.5
        panel.axvline(column, color="white", linewidth=0.5, alpha=0.6)
    elif plane == "sagittal":
        marked = {"12": points["12"]}
    else:
        return
    for point in marked.values():
        panel.plot(
            *_place(plane, point, shape),
            marker="o",
            markersize=3.2,
            markerfacecolor=style.OKABE_ITO["yellow"],
            markeredgecolor="black",
            markeredgewidth=0.5,
        )
