"""The canvas that the synthetic body is painted on: coordinates, coverage and noise.

Shapes are described in canonical millimetres (see `habitus`): x to the left of
the midline, y in front of and z above the centres of the femoral heads.
A painted shape covers a voxel partly within half a voxel of its surface.
"""

import numpy as np

from iliopsoas.phantom import tissues

EDGE_MM = 2.4  # width of the partial-volume edge, about one voxel
FINE_WARP_MM, COARSE_WARP_MM = 1.3, 3.0  # standard deviations of the two scales of warp


def _spline_weights(size: int, wavelength: float) -> np.ndarray:
    """Cubic B-spline weights (size, knots) for knots every `wavelength` voxels."""
    position = np.arange(size) / wavelength + 1.0
    knots = int(np.ceil(position[-1])) + 3
    t = np.abs(position[:, None] - np.arange(knots)[None])
    inner = 2 / 3 - t**2 + t**3 / 2
    outer = np.clip(2 - t, 0, None) ** 3 / 6
    return np.where(t < 1, inner, outer).astype(np.float32)


def smooth_noise(rng, shape, wavelengths) -> np.ndarray:
    """Smooth normal noise, float32, standard deviation about 1.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    wavelengths : tuple of float
        Distance of the random knots along each axis in voxels.
    """
    weights = [_spline_weights(n, w) for n, w in zip(shape, wavelengths, strict=True)]
    knots = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    noise = np.tensordot(weights[0], knots, axes=(1, 0))
    noise = np.matmul(weights[1], noise)
    noise = np.matmul(noise, weights[2].T)
    return noise / np.float32(0.47 ** (3 / 2) * 1.07)


class Canvas:
    """Water, fat and labels on the stitched grid, with the body's own coordinates.

    Parameters
    ----------
    frame : habitus.Frame
        Maps the grid to canonical millimetres.
    rng : numpy.random.Generator
        Draws the smooth warp that keeps every outline from being geometric.

    Attributes
    ----------
    x, y : ndarray (nx, ny, nz), float32
        Canonical millimetres of each voxel.
    z : ndarray (nz,), float32
        Canonical millimetres of each slice.
    water, fat : ndarray (nx, ny, nz), float32
    labels : ndarray (nx, ny, nz), uint8
    """

    def __init__(self, frame, rng):
        self.frame = frame
        self.shape = frame.shape
        self.edge = EDGE_MM * frame.step
        self.z = frame.z
        self.x, self.y = (
            self.noise(rng, self.shape, (13, 13, 11)) * np.float32(FINE_WARP_MM)
            + self.noise(rng, self.shape, (38, 38, 28)) * np.float32(COARSE_WARP_MM)
            for _ in range(2)
        )
        self.x += frame.x[:, None, :]
        self.y += frame.y[None, :, None]
        self.y -= frame.sway[None, None, :]
        self.water = np.zeros(self.shape, np.float32)
        self.fat = np.zeros(self.shape, np.float32)
        self.labels = np.zeros(self.shape, np.uint8)
        self.finished = None  # voxels no later shape may cover

    def noise(self, rng, shape, wavelengths):
        """Smooth noise whose wavelengths are given in voxels of the stitched grid."""
        return smooth_noise(rng, shape, [max(w / self.frame.step, 1.0) for w in wavelengths])

    def box(self, x, y, z, margin=9.0):
        """Index slices that enclose canonical ranges (low, high), or None outside the grid."""
        zs = np.flatnonzero((self.z >= z[0] - margin) & (self.z <= z[1] + margin))
        if not zs.size:
            return None
        columns = self.frame.x[:, zs]
        xs = np.flatnonzero(((columns >= x[0] - margin) & (columns <= x[1] + margin)).any(axis=1))
        rows = self.frame.y[:, None] - self.frame.sway[None, zs]
        ys = np.flatnonzero(((rows >= y[0] - margin) & (rows <= y[1] + margin)).any(axis=1))
        if not xs.size or not ys.size:
            return None
        return tuple(slice(int(i[0]), int(i[-1]) + 1) for i in (xs, ys, zs))

    def coordinates(self, box):
        """Canonical x, y (3-D) and z (broadcastable) of a box."""
        return self.x[box], self.y[box], self.z[box[2]][None, None, :]

    def voxel(self, x, y, z):
        """Voxel indices (float) of a canonical point; None outside the field of view."""
        if not self.z[0] <= z <= self.z[-1]:
            return None
        k = float(np.interp(z, self.z, np.arange(self.shape[2])))
        plane = round(k)
        i, j = self.shape[0] / 2, self.shape[1] / 2
        for _ in range(12):  # the warp is gentle: each step leaves a small share of the error
            at = (
                int(np.clip(round(i), 0, self.shape[0] - 1)),
                int(np.clip(round(j), 0, self.shape[1] - 1)),
                plane,
            )
            i = at[0] + (x - self.x[at]) * self.frame.scale[0] / self.frame.in_plane_mm
            j = at[1] + (y - self.y[at]) * self.frame.scale[1] / self.frame.in_plane_mm
        return i, j, k

    def paint(self, box, distance, tissue, where=None):
        """Cover the inside of a shape with a tissue.

        Parameters
        ----------
        box : tuple of slice
        distance : ndarray of the box's shape
            Signed distance in millimetres, negative inside.
        tissue : tissues.Tissue
        where : ndarray, optional
            Share of each voxel that may be painted (mask or 0 to 1).
        """
        # Most boxes are mostly empty: work on the voxels that the shape reaches.
        hit = distance < self.edge / 2
        if where is not None:
            where = np.broadcast_to(where, distance.shape)
            hit &= where > 0
        if self.finished is not None:
            hit &= ~self.finished[box]
        cover = np.clip(np.float32(0.5) - distance[hit] / np.float32(self.edge), 0, 1)
        if where is not None:
            cover *= where[hit]
        for channel, value in ((self.water, tissue.water), (self.fat, tissue.fat)):
            view = channel[box]
            part = view[hit]
            part += cover * (np.float32(value) - part)
            view[hit] = part
        view = self.labels[box]
        part = view[hit]
        part[cover > 0.5] = tissue.label
        view[hit] = part

    def shape_of(self, shape, tissue, rim=None, rim_mm=1.6, where=None):
        """Paint a shape (box, distance), with a rim of another tissue around it first.

        The rim is how neighbouring muscles get the thin fat plane between them.
        """
        if shape is None:
            return
        box, distance = shape
        if rim is not None:
            self.paint(box, distance - rim_mm, rim, where)
        self.paint(box, distance, tissue, where)

    def bone(self, shape, marrow=tissues.MARROW, cortex_mm=2.6):
        """Paint a bone: dark cortex around marrow."""
        if shape is None:
            return
        box, distance = shape
        self.paint(box, distance, tissues.CORTEX)
        self.paint(box, distance + cortex_mm, marrow)
