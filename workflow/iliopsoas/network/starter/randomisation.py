"""Domain randomisation: one body of the bank becomes any number of crops, no two alike.

As SynthSeg (Billot et al. 2023) does: a label map is deformed, every tissue gets a signal at
random, and what a scanner adds is drawn at random too, so that a network learns the shape of
things and not the look of one phantom. Drawing the numbers (`draw`) is apart from applying them
(`render`), as in TorchIO 2: the same numbers give the same crop.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from iliopsoas import crops, grid
from iliopsoas.network.starter.bodies import STEPS_PER_MM, Body
from iliopsoas.phantom import tissues
from iliopsoas.phantom.canvas import smooth_noise

SPACING = np.array(grid.SPACING_MM)
BONES = tissues.membership((*tissues.BONES, tissues.DISC, tissues.CARTILAGE, tissues.CANAL))
OTHER_MUSCLES = tissues.membership(tissues.MUSCLES)
BOWELS = (tissues.BOWEL, tissues.GAS, tissues.STOMACH)
BELLY = tissues.membership((*BOWELS, tissues.VISCERAL_FAT))
BOWEL = tissues.membership(BOWELS)

# Water signal of tissues that are no muscle, in parts of muscle's: lowest, highest.
SIGNAL = {
    tissues.SKIN: (0.2, 1.0),
    tissues.MARROW: (0.03, 0.5),
    tissues.CORTEX: (0.0, 0.25),
    tissues.VERTEBRA: (0.15, 0.9),
    tissues.DISC: (0.3, 1.6),
    tissues.CANAL: (0.4, 1.6),
    tissues.LUNG: (0.02, 0.3),
    tissues.HEART: (0.5, 1.5),
    tissues.BLOOD: (0.2, 1.8),
    tissues.LIVER: (0.6, 1.6),
    tissues.SPLEEN: (0.6, 1.6),
    tissues.KIDNEY: (0.6, 1.9),
    tissues.BLADDER: (0.2, 2.0),
    tissues.PELVIC_ORGAN: (0.5, 1.6),
    tissues.CARTILAGE: (0.4, 1.3),
    tissues.BREAST: (0.2, 1.2),
    tissues.NERVE: (0.3, 1.0),
    tissues.FEMORAL_HEAD: (0.03, 0.5),
    tissues.ILIUM: (0.03, 0.6),
}


@dataclass(frozen=True)
class Parameters:
    """What one sample is made with; lengths in voxels of the stitched grid unless in mm.

    Attributes
    ----------
    side : str
    mirrored : bool
    miss : tuple of int
        How far the crop is beside its place (x, y, z).
    angles : tuple of float
        Degrees about x (pelvic tilt), y (leaning) and z.
    scale : tuple of float
        Growth along x, y, z.
    bend : tuple of float
        Amplitude, waves per crop and phase of the spine's curves: to the side, to the front.
    warp : tuple of float
        Standard deviation (mm) of the coarse and the fine deformation of everything.
    muscle_warp : tuple of float
        The same of the muscle against its surroundings.
    swelling : tuple of float
        Millimetres by which the surface lies further out: everywhere, standard deviation from
        place to place, of the iliacus beside.
    bone_wins : bool
        The muscle does not enter bone.
    signal : ndarray (256,), float32
        Water signal of each label, muscle about 1.
    muscle_signal : float
    plane : tuple of float
        Share of fat where muscles touch each other, and where psoas and iliacus touch.
    infiltration, texture : float
        Fat in streaks within the muscle; grain of everything.
    loops : tuple of float
        Bowel: share of it that is fat, coarseness (voxels), lowest and highest content.
    bias, seam : float
        Shading left over; largest step of gain between two stations.
    blur : tuple of float
        Standard deviation along x, y, z.
    ghost, noise, gamma, divisor, cap : float
    edge : int
        Columns at the outer face that the field of view does not reach.
    seed : int
        Of every random field.
    """

    side: str
    mirrored: bool
    miss: tuple
    angles: tuple
    scale: tuple
    bend: tuple
    warp: tuple
    muscle_warp: tuple
    swelling: tuple
    bone_wins: bool
    signal: np.ndarray
    muscle_signal: float
    plane: tuple
    infiltration: float
    texture: float
    loops: tuple
    bias: float
    seam: float
    blur: tuple
    ghost: float
    noise: float
    gamma: float
    divisor: float
    cap: float
    edge: int
    seed: int


def draw(rng) -> Parameters:
    """The numbers of one sample."""
    often = rng.random(6)
    return Parameters(
        side=("left", "right")[rng.integers(2)],
        mirrored=bool(rng.integers(2)),
        miss=tuple(int(n) for n in np.rint(np.clip(rng.normal(0, (3.5, 5, 8)), -20, 20))),
        angles=tuple(rng.normal(0, (6.0, 3.0, 3.0))),
        scale=tuple(np.exp(rng.normal(0, 0.1) + rng.normal(0, (0.07, 0.08, 0.07)))),
        bend=tuple(rng.normal(0, (2.5, 2.5)))
        + tuple(rng.uniform(0.3, 1.2, 2))
        + tuple(rng.uniform(0, 2 * np.pi, 2)),
        warp=(rng.uniform(0, 6.0), rng.uniform(0, 2.0)),
        muscle_warp=(rng.uniform(0, 6.0), rng.uniform(0, 2.5)),
        swelling=(rng.normal(-1.0, 1.9), rng.uniform(0, 1.5), rng.normal(-0.3, 1.4)),
        bone_wins=bool(often[0] < 0.85),
        signal=_signal(rng),
        muscle_signal=float(np.clip(rng.normal(1, 0.05), 0.85, 1.15)),
        plane=(rng.uniform(0, 0.9) * (often[1] < 0.75), rng.uniform(0, 0.7) * (often[2] < 0.6)),
        infiltration=float(rng.exponential(0.06)),
        texture=rng.uniform(0.0, 0.10),
        loops=(
            rng.uniform(0.15, 0.9),
            rng.uniform(4.0, 14.0),
            rng.uniform(0.0, 1.0),
            rng.uniform(0.8, 2.2),
        ),
        bias=rng.uniform(0, 0.15),
        seam=rng.uniform(0, 0.2),
        blur=tuple(rng.uniform(0, (1.2, 1.2, 1.6))) if often[3] < 0.6 else (0.0, 0.0, 0.0),
        ghost=rng.uniform(0, 0.15) * (often[4] < 0.2),
        noise=float(np.exp(rng.uniform(np.log(0.005), np.log(0.08)))),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        divisor=float(rng.uniform(0.9, 1.15)),
        cap=(0.975, 1.0)[rng.integers(2)],
        edge=int(rng.integers(1, 24)) if often[5] < 0.1 else 0,
        seed=int(rng.integers(2**31)),
    )


def usual(parameters: Parameters) -> Parameters:
    """The same sample, imaged as scanners mostly do: without what a training exaggerates."""
    return replace(
        parameters,
        bias=0.05,
        seam=0.05,
        blur=(0.4, 0.4, 0.4),
        ghost=0.0,
        noise=0.015,
        gamma=1.0,
        divisor=1.0,
        cap=1.0,
        edge=0,
    )


def _signal(rng):
    table = np.ones(256, np.float32)
    fat = rng.uniform(0.03, 0.35)
    table[tissues.AIR.label] = rng.uniform(0, 0.04)
    table[tissues.FAT.label] = fat
    table[tissues.VISCERAL_FAT.label] = fat * rng.uniform(0.7, 1.3)
    for tissue, (low, high) in SIGNAL.items():
        table[tissue.label] = rng.uniform(low, high)
    for tissue in tissues.MUSCLES:
        table[tissue.label] = np.clip(rng.normal(1, 0.08), 0.75, 1.25)
    for tissue in SIGNAL:  # now and then a tissue looks like nothing that is known
        if rng.random() < 0.05:
            table[tissue.label] = rng.uniform(0, 2)
    return table


def render(body: Body, parameters: Parameters, factor: int = 2):
    """One sample: a normalised crop and the share of muscle in each of its voxels.

    Parameters
    ----------
    body : Body
    parameters : Parameters
    factor : int
        As `crops.coarsen`: the crop is made at this resolution.

    Returns
    -------
    image, label : ndarray (96 / factor, 96 / factor, 192 / factor), float32
    """
    p = parameters
    rng = np.random.default_rng(p.seed)
    shape = tuple(n // factor for n in crops.CROP_SHAPE)
    noise = _Noise(rng, shape, factor)
    at, matrix = _places(body, p, shape, factor, noise)
    moved = _shifted(at, noise, p.muscle_warp)
    surface, beside = _surface(noise, p)
    steps = np.float32(STEPS_PER_MM)

    image = np.zeros(shape, np.float32)
    share, other, belly, bowel, iliac = (np.zeros(shape, np.float32) for _ in range(5))
    points = min(factor, 2)  # per axis and voxel: enough for its share of muscle
    offsets = factor * ((np.arange(points) + 0.5) / points - 0.5)
    for offset in np.stack(np.meshgrid(*[offsets] * 3, indexing="ij"), -1).reshape(-1, 3):
        step = (matrix @ offset).astype(np.float32)
        label = body.around.ravel()[_index(at, step, body.around.shape)]
        place = _index(moved, step, body.muscle.shape)
        iliacus = body.iliacus.ravel()[place]
        depth = body.muscle.ravel()[place] - steps * (surface + iliacus * beside)
        inside = depth < 0
        if p.bone_wins:
            inside &= ~BONES[label]
        share += inside
        iliac += inside & iliacus
        outside = ~inside
        image += p.signal[label] * (outside & ~BELLY[label])
        other += OTHER_MUSCLES[label] & outside
        belly += BELLY[label] & outside
        bowel += BOWEL[label] & outside
    for array in (image, share, other, belly, bowel, iliac):
        array /= points**3

    image += belly * _belly(noise, p, bowel / np.maximum(belly, 1e-3))
    fat = p.signal[tissues.FAT.label]
    image += share * _muscle(noise, p, fat)
    _planes(image, noise, p, fat, share, other, iliac)
    image *= 1 + np.float32(p.texture) * noise(2.5 * factor, 2.5 * factor, 3 * factor)
    image = _scanner(image, noise, p, rng)
    if p.mirrored:
        image, share = image[::-1], share[::-1]
    return np.ascontiguousarray(image), np.ascontiguousarray(share)


class _Noise:
    """Smooth noise at the sample's resolution, wavelengths in voxels of the stitched grid."""

    def __init__(self, rng, shape, factor):
        self.rng, self.shape, self.factor = rng, shape, factor

    def __call__(self, *wavelengths):
        return smooth_noise(self.rng, self.shape, [max(w / self.factor, 1.0) for w in wavelengths])


def _places(body, p, shape, factor, noise):
    """Where each voxel's middle comes from (three arrays of body voxels), and the matrix."""
    corner = np.array(crops.box(body.landmarks, p.side, grid.SHAPE)) - body.origin
    corner = corner + p.miss
    middle = (np.array(crops.CROP_SHAPE) - 1) / 2
    matrix = np.diag(1 / SPACING) @ _rotation(p.angles) @ np.diag(SPACING / np.array(p.scale))
    axes = [factor * (np.arange(n) + 0.5) - 0.5 - m for n, m in zip(shape, middle, strict=True)]
    x, y, z = (
        axis.astype(np.float32).reshape([-1 if i == k else 1 for k in range(3)])
        for i, axis in enumerate(axes)
    )
    at = [
        np.float32(corner[k] + middle[k])
        + np.float32(matrix[k, 0]) * x
        + np.float32(matrix[k, 1]) * y
        + np.float32(matrix[k, 2]) * z
        for k in range(3)
    ]
    for k in range(2):
        wave = 2 * np.pi * p.bend[2 + k] * z / crops.CROP_SHAPE[2] + p.bend[4 + k]
        at[k] = at[k] + np.float32(p.bend[k]) * np.sin(wave)
    return _shifted(at, noise, p.warp), matrix


def _rotation(angles):
    a, b, c = np.radians(angles)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _shifted(at, noise, warp):
    coarse, fine = warp
    return [
        at[k]
        + noise(36, 36, 30) * np.float32(coarse / SPACING[k])
        + noise(13, 13, 11) * np.float32(fine / SPACING[k])
        for k in range(3)
    ]


def _surface(noise, p):
    everywhere, spread, beside = p.swelling
    surface = np.float32(everywhere) + np.float32(spread) * noise(20, 20, 24)
    return surface, np.float32(beside)


def _index(at, step, shape):
    """Flat index of the nearest voxel of an array for each place."""
    flat = None
    for places, offset, extent in zip(at, step, shape, strict=True):
        index = np.rint(places + offset).astype(np.int32)
        np.clip(index, 0, extent - 1, out=index)
        flat = index if flat is None else flat * extent + index
    return flat


def _belly(noise, p, bowel):
    """Bowel and the fat between its loops, where the body has either."""
    fat_share, size, low, high = p.loops
    loops = noise(size, size, 0.8 * size) + np.float32(0.6) * noise(2 * size, 2 * size, 2 * size)
    content = noise(0.6 * size, 0.6 * size, 0.5 * size)
    content = low + (high - low) * np.clip(0.5 + 0.35 * content, 0, 1)
    fat = p.signal[tissues.VISCERAL_FAT.label]
    # half of it as the body has it, half loops of their own
    gut = np.clip(2.5 * (loops - np.float32(2 * fat_share - 1)) + 2 * bowel - 1, 0, 1)
    return fat + gut * (content.astype(np.float32) - fat)


def _muscle(noise, p, fat):
    streak = noise(3, 3, 18)
    share = np.clip(np.float32(p.infiltration) * np.exp(np.float32(0.8) * streak), 0, 0.6)
    muscle = np.float32(p.muscle_signal)
    return muscle + share * (np.float32(fat) - muscle)


def _planes(image, noise, p, fat, share, other, iliac):
    """Fat where two muscles meet in a voxel or in voxels side by side: it is part of neither."""
    between, within = p.plane
    meet = 2 * np.sqrt(share * other)
    apart = 2 * np.sqrt(np.clip((share - iliac) * iliac, 0, None))
    if between:
        _fill(image, share, np.clip(between * meet * (1 + 0.5 * noise(12, 12, 16)), 0, 0.9), fat)
    if within:
        _fill(image, share, np.clip(within * apart * (1 + 0.7 * noise(12, 12, 16)), 0, 0.8), fat)


def _fill(image, share, weight, fat):
    image += weight * (fat - image)
    share *= 1 - weight


def _scanner(image, noise, p, rng):
    """What the scanner and the reading of its images add, and the crop's normalisation."""
    nx, _, nz = image.shape
    if p.ghost:
        image = image + np.float32(p.ghost) * np.roll(image, nx // 3, axis=1)
    if any(p.blur):
        image = ndimage.gaussian_filter(image, np.array(p.blur) / (96 / nx), truncate=3)
    image = image * np.exp(np.float32(p.bias) * noise(70, 70, 90))
    heights = rng.uniform(0, nz, 2)
    for height, gain in zip(heights, rng.uniform(-p.seam, p.seam, 2), strict=True):
        image = image * (1 + gain / (1 + np.exp(height - np.arange(nz)))).astype(np.float32)
    first, second = (
        rng.standard_normal(image.shape, dtype=np.float32) * np.float32(p.noise) for _ in range(2)
    )
    image = np.hypot(image + first, second)
    if p.edge:
        columns = max(round(p.edge * nx / 96), 1)
        outer = p.side == "left"
        image[(slice(-columns, None) if outer else slice(0, columns))] = 0
    image = image / (np.float32(p.divisor) * max(crops.normaliser(image), 1e-3))
    image = np.where(image > 1, np.float32(p.cap), image)
    return (image ** np.float32(p.gamma)).astype(np.float32)
