"""Signed distances of simple shapes, evaluated in their bounding boxes only.

Every function takes a canvas and canonical millimetres and returns (box,
distance), distance negative inside, or None where the shape lies outside the
grid. `side` is +1 for left and -1 for right.
"""

import numpy as np
from scipy.interpolate import PchipInterpolator


def along(levels, z):
    """Monotone cubic interpolation of the columns of `levels` (first column z) at `z`."""
    table = np.asarray(sorted(levels), dtype=float)
    values = PchipInterpolator(table[:, 0], table[:, 1:], axis=0)(
        np.clip(z, table[0, 0], table[-1, 0])
    )
    return values.astype(np.float32).T


def ellipse_distance(dx, dy, a, b):
    """Approximate signed distance to an axis-aligned ellipse (exact on its surface)."""
    u, v = dx / a, dy / b
    k0 = np.sqrt(u * u + v * v)
    u /= a
    v /= b
    k1 = np.sqrt(u * u + v * v) + np.float32(1e-6)
    return k0 * (k0 - 1) / k1


def tube(canvas, side, levels):
    """A stack of ellipses along z.

    Parameters
    ----------
    levels : sequence of (z, x, y, a, b[, degrees])
        Centre, semi-axes and rotation (towards the front, outwards) at each height.
    """
    table = np.asarray(levels, dtype=float)
    reach = table[:, 3:5].max(axis=1)
    box = canvas.box(
        sorted((side * (table[:, 1] - reach).min(), side * (table[:, 1] + reach).max())),
        ((table[:, 2] - reach).min(), (table[:, 2] + reach).max()),
        (table[:, 0].min(), table[:, 0].max()),
    )
    if box is None:
        return None
    x, y, z = canvas.coordinates(box)
    columns = along(levels, canvas.z[box[2]])
    dx, dy = x - side * columns[0], y - columns[1]
    if len(columns) > 4:
        angle = np.radians(columns[4]) * side
        cosine, sine = np.cos(angle), np.sin(angle)
        dx, dy = dx * cosine + dy * sine, dy * cosine - dx * sine
    distance = ellipse_distance(dx, dy, columns[2], columns[3])
    ends = np.maximum(z - table[:, 0].max(), table[:, 0].min() - z)
    return box, np.maximum(distance, ends)


def ellipsoid(canvas, centre, radii, degrees=0.0):
    """An ellipsoid; `degrees` turns it in the coronal plane (left side up)."""
    reach = max(radii[0], radii[2]) if degrees else None
    rx, rz = (reach, reach) if degrees else (radii[0], radii[2])
    box = canvas.box(
        (centre[0] - rx, centre[0] + rx),
        (centre[1] - radii[1], centre[1] + radii[1]),
        (centre[2] - rz, centre[2] + rz),
    )
    if box is None:
        return None
    x, y, z = canvas.coordinates(box)
    dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
    if degrees:
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        dx, dz = dx * cosine + dz * sine, dz * cosine - dx * sine
    u, v, w = dx / radii[0], dy / radii[1], dz / radii[2]
    k0 = np.sqrt(u * u + v * v + w * w)
    k1 = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2) + 1e-6
    return box, (k0 * (k0 - 1) / k1).astype(np.float32)


def capsule(canvas, side, start, end, radius_start, radius_end=None):
    """A rod from `start` to `end` (x, y, z) whose radius changes along it."""
    radius_end = radius_start if radius_end is None else radius_end
    p = np.array([side * start[0], start[1], start[2]], dtype=np.float32)
    q = np.array([side * end[0], end[1], end[2]], dtype=np.float32)
    reach = max(radius_start, radius_end)
    low, high = np.minimum(p, q) - reach, np.maximum(p, q) + reach
    box = canvas.box(*zip(low, high, strict=True))
    if box is None:
        return None
    x, y, z = canvas.coordinates(box)
    axis = q - p
    dx, dy, dz = x - p[0], y - p[1], z - p[2]
    t = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / float(axis @ axis), 0, 1)
    distance = np.sqrt((dx - t * axis[0]) ** 2 + (dy - t * axis[1]) ** 2 + (dz - t * axis[2]) ** 2)
    return box, distance - (radius_start + t * (radius_end - radius_start))


def ribbon(canvas, side, levels):
    """A curved sheet: at each height a thick line through three points.

    Parameters
    ----------
    levels : sequence of (z, x0, y0, x1, y1, x2, y2, h0, h1, h2)
        Points from back to front and half-thickness at each.
    """
    table = np.asarray(levels, dtype=float)
    reach = table[:, 7:].max()
    xs, ys = table[:, 1:7:2], table[:, 2:7:2]
    box = canvas.box(
        sorted((side * (xs.min() - reach), side * (xs.max() + reach))),
        (ys.min() - reach, ys.max() + reach),
        (table[:, 0].min(), table[:, 0].max()),
    )
    if box is None:
        return None
    x, y, z = canvas.coordinates(box)
    x0, y0, x1, y1, x2, y2, h0, h1, h2 = along(levels, canvas.z[box[2]])
    x = x * np.float32(side)
    distance = None
    for px, py, hp, qx, qy, hq in ((x0, y0, h0, x1, y1, h1), (x1, y1, h1, x2, y2, h2)):
        ax, ay = qx - px, qy - py
        dx, dy = x - px, y - py
        t = np.clip((dx * ax + dy * ay) / (ax * ax + ay * ay + np.float32(1e-6)), 0, 1)
        part = np.hypot(dx - t * ax, dy - t * ay) - (hp + t * (hq - hp))
        distance = part if distance is None else np.minimum(distance, part)
    ends = np.maximum(z - table[:, 0].max(), table[:, 0].min() - z)
    return box, np.maximum(distance, ends)


def outline(canvas, levels, box=None):
    """The trunk: at each height a rounded box about the midline.

    Parameters
    ----------
    levels : sequence of (z, half width, front, back)
        Front and back are y; the box is widest halfway, a little to the back.
    box : tuple of slice, optional
        Where to evaluate it; default its own bounding box.
    """
    table = np.asarray(levels, dtype=float)
    if box is None:
        box = canvas.box(
            (-table[:, 1].max(), table[:, 1].max()),
            (table[:, 3].min(), table[:, 2].max()),
            (table[:, 0].min(), table[:, 0].max()),
        )
    x, y, z = canvas.coordinates(box)
    half, front, back = along(levels, canvas.z[box[2]])
    centre = back + np.float32(0.47) * (front - back)
    dy = y - centre
    u = np.abs(x / half)
    v = np.abs(dy / np.where(dy > 0, front - centre, centre - back))
    # A superellipse of power 2.5 and the distance along the ray to it.
    k = np.power(u * u * np.sqrt(u) + v * v * np.sqrt(v) + np.float32(1e-9), np.float32(0.4))
    distance = np.hypot(x, dy) * (1 - 1 / k)
    ends = np.maximum(z - table[:, 0].max(), table[:, 0].min() - z)
    return box, np.maximum(distance, ends)


def smooth_minimum(a, b, reach):
    """Minimum of two distances with a fillet of `reach` mm where they meet."""
    h = np.clip(reach - np.abs(a - b), 0, None) / reach
    return np.minimum(a, b) - h * h * (reach / 4)


def merge(box, parts, join=np.minimum):
    """Distance to the union of shapes, evaluated in `box`.

    Parameters
    ----------
    box : tuple of slice
    parts : sequence of (box, distance) or None
    join : callable
        Joins two distances, default their minimum.
    """
    total = np.full([s.stop - s.start for s in box], 1e3, np.float32)
    for part in parts:
        if part is None:
            continue
        own, values = part
        common = [
            slice(max(i.start, o.start), min(i.stop, o.stop)) for i, o in zip(own, box, strict=True)
        ]
        to, of = (
            tuple(
                slice(c.start - b.start, c.stop - b.start)
                for c, b in zip(common, bounds, strict=True)
            )
            for bounds in (box, own)
        )
        total[to] = join(total[to], values[of])
    return total


def partition(canvas, box, side, seeds):
    """Divide a region between muscles.

    Parameters
    ----------
    seeds : sequence of levels
        Each a sequence of (z, x, y, r): the line of one muscle's middle and its reach.

    Returns
    -------
    index : ndarray of int8
        The muscle each voxel belongs to.
    gap : ndarray
        Millimetres from the border with the next muscle.
    """
    x, y, _ = canvas.coordinates(box)
    x = x * np.float32(side)
    first = np.full(x.shape, 1e6, np.float32)
    second = first.copy()
    index = np.zeros(x.shape, np.int8)
    for number, levels in enumerate(seeds):
        cx, cy, r = along(levels, canvas.z[box[2]])
        distance = np.hypot(x - cx, y - cy) - r
        closer = distance < first
        second = np.where(closer, first, np.minimum(second, distance))
        index[closer] = number
        first = np.where(closer, distance, first)
    return index, (second - first) / 2
