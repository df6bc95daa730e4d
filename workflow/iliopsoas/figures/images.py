"""Figures 1 and 3: the muscles on the images, and in three dimensions.

Arrays come in voxel order LAS (index axes x to the patient's left, y to anterior, z to
the head). Pictures follow radiological convention: the patient's left is on the right.
"""

import numpy as np
from matplotlib.colors import LightSource, to_rgb
from skimage.measure import marching_cubes

from iliopsoas.figures import style
from iliopsoas.grid import LEFT, RIGHT, SPACING_MM

PLANES = {"axial": 2, "sagittal": 0, "coronal": 1}


def grey(image) -> np.ndarray:
    """An image on 0 to 1, its 99.5th percentile (of what is above 0) being 1."""
    image = np.asarray(image, dtype=float)
    positive = image[image > 0]
    top = np.percentile(positive, 99.5) if positive.size else 1.0
    return np.clip(image / (top or 1.0), 0, 1)


def slice_of(volume, plane: str, index: int) -> np.ndarray:
    """One slice as it is shown: rows from the top of the picture, radiological convention.

    Parameters
    ----------
    volume : ndarray, shape (x, y, z)
    plane : {"axial", "sagittal", "coronal"}
    index : int
        Along z, x or y.

    Returns
    -------
    ndarray
        axial: anterior up; coronal: head up; both with the patient's right at the left
        edge. sagittal: head up, anterior to the left.
    """
    part = np.take(volume, index, axis=PLANES[plane])
    if plane == "sagittal":  # (y, z): anterior to the left
        return part.T[::-1, ::-1]
    return part.T[::-1]


def aspect_of(plane: str, spacing=SPACING_MM) -> float:
    """Row height over column width of `slice_of`."""
    x, y, z = spacing
    return {"axial": y / x, "sagittal": z / y, "coronal": z / x}[plane]


def best_slice(mask, plane: str) -> int:
    """The slice with the most mask voxels."""
    others = tuple(axis for axis in range(3) if axis != PLANES[plane])
    return int(np.argmax(np.count_nonzero(mask, axis=others)))


def window(mask, spacing=SPACING_MM, margin_mm=(60.0, 60.0, 25.0)):
    """Slices (x, y, z) around the mask's bounding box, `margin_mm` wider, inside the array."""
    margins = np.broadcast_to(margin_mm, 3)
    where = np.nonzero(mask)
    if not len(where[0]):
        return tuple(slice(0, n) for n in mask.shape)
    return tuple(
        slice(max(0, int(index.min() - m / s)), min(n, int(index.max() + m / s) + 1))
        for index, s, m, n in zip(where, spacing, margins, mask.shape, strict=True)
    )


def _tinted(picture, mask, colours, strength=0.55):
    """Grey picture (rows, columns) with labels tinted: (rows, columns, 3)."""
    result = np.repeat(picture[..., None], 3, axis=2)
    for label, colour in colours.items():
        where = mask == label
        result[where] = (1 - strength) * result[where] + strength * np.array(to_rgb(colour))
    return result


def surface(axes, mask, spacing=SPACING_MM, colours=None, elevation=12, azimuth=-75):
    """3-D rendering of each label on `axes` (projection "3d"), seen from the front.

    Parameters
    ----------
    mask : ndarray of uint8, shape (x, y, z)
        1 = left, 2 = right.
    spacing : tuple of float
        Millimetres along x, y, z.
    """
    colours = colours or {LEFT: style.SIDE["left"], RIGHT: style.SIDE["right"]}
    light = LightSource(azdeg=225, altdeg=45)
    box = window(mask, spacing, 6)
    part = np.pad(mask[box], 1)
    for label, colour in colours.items():
        if not (part == label).any():
            continue
        corners, faces, _, _ = marching_cubes(
            _smooth(part == label, spacing), 0.5, spacing=spacing, step_size=1
        )
        # the patient faces the viewer: patient's left to the right, as in the slices
        placed = corners * (1, -1, 1)
        collection = axes.plot_trisurf(
            placed[:, 0],
            placed[:, 1],
            faces,
            placed[:, 2],
            color=colour,
            lightsource=light,
            shade=True,
            antialiased=False,
            linewidth=0,
        )
        collection.set_rasterized(True)
        collection.set_clip_on(False)
    size = np.array(part.shape) * spacing
    axes.set(xlim=(0, size[0]), ylim=(-size[1], 0), zlim=(0, size[2]))
    frame = axes.get_position()
    page = axes.figure.get_size_inches()
    tall = frame.height * page[1] / (frame.width * page[0])
    # Matplotlib fits the box's diagonal into the shorter edge; here its front is to fit
    fit = min(tall / size[2], 1 / size[0]) * np.linalg.norm(size) / 0.76
    axes.set_box_aspect(size, zoom=float(fit))
    axes.view_init(elev=elevation, azim=azimuth)
    axes.set_proj_type("ortho")
    axes.set_axis_off()


def _smooth(mask, spacing):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(mask.astype(np.float32), [2.2 / s for s in spacing])


@style.styled
def figure1(water, annotation, spacing=SPACING_MM):
    """Manual annotation of one participant (Figure 1): three views, overlays, 3-D.

    Parameters
    ----------
    water : ndarray, shape (x, y, z)
        LAS intensities.
    annotation : ndarray of uint8, shape (x, y, z)
        1 = left, 2 = right, on the same grid.
    spacing : tuple of float
        Millimetres along x, y, z.

    Returns
    -------
    Figure
        a-c axial, sagittal and coronal slice, each through the most muscle; d-f with the
        annotation; g its surface.
    """
    water, annotation = np.asarray(water), np.asarray(annotation)
    if not annotation.any():
        return style.empty("The annotation is empty.")
    box = window(annotation, spacing)
    inside = annotation[box]
    bright = grey(np.asarray(water)[box])
    size = np.array(inside.shape) * spacing
    # millimetres on paper: three columns as wide as the body parts they show, then the surface
    shown = np.array([size[0], size[1], size[0]])
    widths = shown / shown.sum() * 126
    height = widths[2] / size[0] * size[2]
    drawing = style.figure(style.DOUBLE_MM, 2 * height + 12)
    layout = drawing.add_gridspec(2, 4, width_ratios=[*widths, style.DOUBLE_MM - 126])
    colours = {LEFT: style.MANUAL, RIGHT: style.MANUAL}
    for column, plane in enumerate(PLANES):
        if plane == "sagittal":  # through one muscle, not between them
            index = best_slice(inside == RIGHT if (inside == RIGHT).any() else inside, plane)
        else:
            index = best_slice(inside, plane)
        picture, mask = slice_of(bright, plane, index), slice_of(inside, plane, index)
        plain, tinted = _tinted(picture, mask, {}), _tinted(picture, mask, colours)
        for row, (name, image) in enumerate(zip(("abc", "def"), (plain, tinted), strict=True)):
            panel = drawing.add_subplot(layout[row, column])
            panel.imshow(image, aspect=aspect_of(plane, spacing), interpolation="bilinear")
            panel.set_axis_off()
            panel.set_anchor("N")
            panel.set_title(f"$\\bf{{{name[column]}}}$" + (f"  {plane}" if row == 0 else ""))
            if plane != "sagittal":
                _sides(panel)
    panel = drawing.add_subplot(layout[:, 3])
    panel.set_axis_off()
    panel.set_title(r"$\bf{g}$  surface")
    corner = 128 / style.DOUBLE_MM
    solid = drawing.add_axes((corner, 0.04, 0.99 - corner, 0.9), projection="3d")
    solid.set_in_layout(False)
    surface(solid, annotation, spacing)
    return drawing


def _sides(panel):
    for position, text in ((0.03, "R"), (0.97, "L")):
        panel.text(
            position, 0.5, text, transform=panel.transAxes, color="white", fontsize=6,
            ha="center", va="center",
        )  # fmt: skip


@style.styled
def figure3(panels):
    """Twelve participants (Figure 3): water image above, with the segmentation below.

    Parameters
    ----------
    panels : sequence of dict
        In reading order, four rows of three (see `selection.twelve`): ``water`` and
        ``mask`` (2-D, as from `slice_of`; mask 1 = left, 2 = right), ``aspect``,
        ``group`` (smallest, typical, largest, most asymmetric), ``text`` (volume; never
        an id).

    Returns
    -------
    Figure
        Two picture rows per group.
    """
    panels = list(panels)
    if not panels:
        return style.empty("No participant to show.")
    colours = {LEFT: style.SIDE["left"], RIGHT: style.SIDE["right"]}
    groups = list(dict.fromkeys(panel["group"] for panel in panels))
    wide = max(sum(panel["group"] == group for panel in panels) for group in groups)
    tallest = max(
        np.shape(panel["mask"])[0] / np.shape(panel["mask"])[1] * panel.get("aspect", 1.0)
        for panel in panels
    )
    lines = (len(groups) + 1) // 2
    one = style.DOUBLE_MM / 2 / wide * tallest
    drawing = style.figure(style.DOUBLE_MM, lines * (2 * one + 13))
    layout = drawing.add_gridspec(lines, 2, hspace=0, wspace=0.03)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    for position, group in enumerate(groups):
        sub = drawing.add_subfigure(layout[position // 2, position % 2])
        sub.suptitle(group.capitalize(), fontsize=8, x=0.02, ha="left")
        axes = sub.subplots(2, wide, squeeze=False)
        members = [panel for panel in panels if panel["group"] == group]
        for column in range(wide):
            for row in range(2):
                axes[row, column].set_axis_off()
                axes[row, column].set_anchor("N")  # pictures of unequal height hang from one line
            if column >= len(members):
                continue
            item = members[column]
            bright = grey(item["water"])
            for row, shown in enumerate(
                (np.repeat(bright[..., None], 3, 2), _tinted(bright, item["mask"], colours))
            ):
                axes[row, column].imshow(
                    shown, aspect=item.get("aspect", 1.0), interpolation="bilinear"
                )
            name = next(letters, "")
            axes[0, column].set_title(f"$\\bf{{{name}}}$  {item.get('text', '')}", fontsize=6.5)
    return drawing
