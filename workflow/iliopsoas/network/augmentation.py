"""Training samples from one annotated muscle: mirror images, shifts and scalings.

Paper, Methods: "{as is, mirrored} x {original + seven random transformations}", 16 samples
per muscle; translations up to 6 voxels in plane and 24 along z, scaling by -25..+25 %
in plane and -50..+50 % along z.

The transformations have no rotation, so linear interpolation is separable: one small
matrix per axis. They are drawn on the host and applied by `apply` on whatever device
Keras uses. A sample's transformation depends on (seed, muscle, sample, round) alone,
not on the order of work, so an interrupted training goes on with the same ones.
"""

from dataclasses import dataclass

import keras
import numpy as np

SAMPLES_PER_MUSCLE = 16
SHIFT_IN_PLANE, SHIFT_Z = 6.0, 24.0  # voxels
SCALE_IN_PLANE, SCALE_Z = 0.25, 0.5


@dataclass(frozen=True)
class Transform:
    """One transformation of a crop about its centre; axes x, y, z.

    Parameters
    ----------
    mirrored : bool
        Left and right exchanged (x reversed), before shift and scale.
    shift : tuple of float
        Voxels by which the content moves.
    scale : tuple of float
        Factor by which the content grows.
    """

    mirrored: bool = False
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


def draw(
    muscle: int,
    sample: int,
    seed: int,
    round_: int = 0,
    samples: int = SAMPLES_PER_MUSCLE,
    coarsen: float = 1,
    strength: float = 1.0,
) -> Transform:
    """The transformation of one of a muscle's samples.

    Parameters
    ----------
    muscle : int
        Which crop of the training set.
    sample : int
        0 to `samples` - 1. The first half is as is, the second half mirrored; the first
        of each half is the original.
    seed : int
    round_ : int
        0 gives the paper's fixed samples; another number, such as the epoch, gives others
        (augmentation on the fly).
    samples : int
        Samples per muscle; 16 in the paper.
    coarsen : float
        Factor by which the crops were coarsened: shifts in voxels shrink by it.
    strength : float
        Share of the paper's ranges that is used.
    """
    half = max(samples // 2, 1)
    mirrored = sample >= half
    if sample % half == 0 and round_ == 0:
        return Transform(mirrored)
    rng = np.random.default_rng([seed, muscle, sample, round_])
    limits = np.array([SHIFT_IN_PLANE, SHIFT_IN_PLANE, SHIFT_Z]) * strength / coarsen
    shift = rng.uniform(-limits, limits)
    scale = np.array([SCALE_IN_PLANE, SCALE_Z]) * strength
    plane, z = rng.uniform(-scale, scale)
    if round_ and samples < 4:  # too few samples for a half of mirror images
        mirrored = bool(rng.integers(2))
    return Transform(mirrored, tuple(float(s) for s in shift), (1.0 + plane, 1.0 + plane, 1.0 + z))


def matrices(transform: Transform, shape) -> list[np.ndarray]:
    """One linear-interpolation matrix per axis, float32, (n, n): output from input voxels.

    Outside the crop there are zeros. The identity and the mirror image are exact.
    """
    result = []
    for axis, n in enumerate(shape):
        centre = (n - 1) / 2
        source = (np.arange(n) - centre - transform.shift[axis]) / transform.scale[axis] + centre
        lower = np.floor(source).astype(int)
        weight = source - lower
        matrix = np.zeros((n, n), dtype="float32")
        for index, share in ((lower, 1 - weight), (lower + 1, weight)):
            inside = (index >= 0) & (index < n)
            matrix[np.arange(n)[inside], index[inside]] += share[inside]
        if axis == 0 and transform.mirrored:
            matrix = matrix[:, ::-1].copy()
        result.append(matrix)
    return result


def apply(images, labels, transforms):
    """Transform a batch on Keras's device.

    Parameters
    ----------
    images, labels : array (n, x, y, z)
        Normalised signal; share of muscle in a voxel, 0 to 1.
    transforms : list of Transform

    Returns
    -------
    images, labels : tensor (n, x, y, z, 1), float32
        Both interpolated linearly. Where `labels` hold 0 and 1 alone, they are cut at one
        half again; the shares of coarsened labels stay shares.
    """
    labels = np.asarray(labels, dtype="float32")
    shares = bool(((labels > 0) & (labels < 1)).any())
    axes = [matrices(transform, images.shape[1:4]) for transform in transforms]
    stack = keras.ops.convert_to_tensor(
        np.concatenate([np.asarray(images, dtype="float32"), labels])
    )
    for axis, rule in enumerate(("nax,nxyz->nayz", "nbx,naxz->nabz", "ncx,nabx->nabc")):
        matrix = np.stack([per_axis[axis] for per_axis in axes] * 2)
        stack = keras.ops.einsum(rule, keras.ops.convert_to_tensor(matrix), stack)
    images, labels = stack[: len(axes)], stack[len(axes) :]
    if not shares:
        labels = keras.ops.cast(labels >= 0.5, "float32")
    return images[..., None], labels[..., None]
