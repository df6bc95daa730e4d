"""Regions inside a station in which fat and water are exchanged: found, mended, or named.

At the border of such a region the in-phase signal goes on, since it knows nothing of fat and
water, while (fat - water) / (fat + water), the balance, jumps to its opposite within one
voxel. No tissue does that: at a real surface of fat and muscle the in-phase signal changes
(fat has twice muscle's in this T1-weighted sequence), and voxels that hold both have a
balance between the two (the dark line of opposed-phase images). So neighbours tell each
other whether they are alike or exchanged, and the best answer of all of them together is
the region.

Only regions that hold fat as dim as the water around them count: that is what muscle looks
like when exchanged. Bowel contents as bright as the fat around them look the same from
their border alone, and no muscle. A thin layer is no region either: fat at the lung or the
skin is as dim as water where air shares its voxels.
"""

from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from iliopsoas.dixon.body import noise_level
from iliopsoas.dixon.voxels import exchange, select

PURE = 0.5  # balance from which a voxel is one tissue rather than two
SMOOTH = 0.1  # log in-phase between neighbours of one tissue, at least
OPPOSITE = 0.2  # how far the sum of two exchanged balances may be from 0
LEAST_SIGNAL = 0.25  # of the median: below, no tissue is told
LEVEL_MM = 60.0  # around a voxel, where the usual signal of fat and of water is looked up
BOX_MM = 27.0
SUSPICIOUS = 30  # jumps within a box of that size; what is below is not looked into
SMALLEST_ML = 4.0
ALONE_ML = 10.0  # a thirtieth of a muscle: smaller ones count beside one of that size only
CORE_MM, CORE_SHARE = 5.0, 0.1  # so much of such a region lies so deep in it
CLEAR_SHARE, CLEAR_FACETS = 0.7, 80
DOUBTFUL_SHARE, DOUBTFUL_FACETS = 0.5, 40
COHESION = 0.02  # of neighbours that say nothing
ANCHOR = 0.0001  # pull of a voxel towards what is labelled
RIM = 0.05  # pull of a voxel at the surface towards what the surface says
ROUNDS = 4
LEVELS = ((6, 6, 2), (2, 2, 1))  # voxels of a node, coarse to fine


@dataclass
class Region:
    """One exchanged region of a station.

    Attributes
    ----------
    station : int
    where : ndarray of bool (x, y, z)
    ml : float
        Volume of its tissue.
    centre_mm : tuple
        Mean place, RAS mm (x, y, z).
    facets : int
        Pairs of neighbours across its border that jump.
    share : float
        These, of the pairs that would say either.
    mended : bool
    """

    station: int
    where: np.ndarray
    ml: float
    centre_mm: tuple
    facets: int
    share: float
    mended: bool = False


@dataclass
class _Tissue:
    """What a station says voxel by voxel: balance, log in-phase, and whether it is bright."""

    inside: np.ndarray
    balance: np.ndarray
    log_in: np.ndarray
    smooth: float

    def exchanged(self, where):
        return _Tissue(
            self.inside, np.where(where, -self.balance, self.balance), self.log_in, self.smooth
        )


def find(
    channels: dict, mask: np.ndarray, surface: np.ndarray, station, target, in_part: bool = False
) -> list[Region]:
    """Exchanged regions of one station, largest first.

    Parameters
    ----------
    channels : dict
        "in", "F", "W": float32 (x, y, z), whole stations and legs already put right.
    mask : ndarray of bool (x, y, z)
    surface : ndarray (x, y, z)
        What voxels near the surface say of the labels, `Rim.voxels`.
    station, target
        The station, for its number, height and slices; and the grid of rows and columns.
    in_part
        One side of it was put right already: what is left over need not stand alone.

    Returns
    -------
    list of Region
        `mended` tells whether the evidence is clear enough to exchange it back; those that
        are not clear are to be flagged.
    """
    spacing = (*target.spacing[:2], float(station.spacing[2]))
    tissue = _tissue(channels, mask)
    if not tissue.inside.any():
        return []
    found: list[Region] = []
    for _ in range(ROUNDS):
        jumps = _jumps(tissue, spacing)
        if _densest(jumps, spacing) < SUSPICIOUS:
            break
        regions = _regions(tissue, surface, spacing)
        alone = any(_stands_alone(region, spacing) for region in regions)
        if not (found or in_part or alone):
            break
        for region in regions:
            region.station = station.number
            x, y, z = region.centre_mm
            region.centre_mm = (target.origin[0] - x, target.origin[1] + y, station.low + z)
        found += regions
        clear = [region.where for region in regions if region.mended]
        if not clear:
            break
        tissue = tissue.exchanged(reduce(np.logical_or, clear))
    return sorted(found, key=lambda region: -region.ml)


def mend(channels: dict, regions: list[Region]) -> dict:
    """The channels with fat and water exchanged back in the regions that are clear."""
    clear = [region.where for region in regions if region.mended]
    return exchange(channels, reduce(np.logical_xor, clear)) if clear else channels


def record(regions: list[Region]) -> dict:
    """What goes into the record: millilitres, and each region's station, volume and place."""
    result = {}
    for name, mended in (("exchanges_mended", True), ("exchanges_doubtful", False)):
        mine = [region for region in regions if region.mended is mended]
        result[name] = [
            f"{region.station}:{region.ml:.0f}ml@{'/'.join(f'{mm:.0f}' for mm in region.centre_mm)}"
            for region in mine
        ]
        result[f"{name}_ml"] = round(sum(region.ml for region in mine), 1)
    return result


# -- what voxels say -----------------------------------------------------------------------


def _tissue(channels, mask) -> _Tissue:
    fat, water, both = channels["F"], channels["W"], channels["in"]
    some = select(both[::2, ::2, ::2], mask[::2, ::2, ::2])
    usual = float(np.median(some)) if some.size else 0.0
    total = fat + water
    inside = mask & (np.minimum(total, both) > max(LEAST_SIGNAL * usual, 1e-3))
    balance = np.divide(fat - water, total, out=np.zeros_like(total), where=inside)
    log_in = np.log(both, out=np.zeros_like(both), where=inside)
    noisy = 3.0 * noise_level(both) / usual if usual else 0.0
    smooth = max(SMOOTH, min(2 * SMOOTH, noisy))
    return _Tissue(inside, balance, log_in, smooth)


def _neighbours(axis: int) -> tuple:
    first, second = [slice(None)] * 3, [slice(None)] * 3
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return tuple(first), tuple(second)


def _jumps(tissue: _Tissue, spacing) -> np.ndarray:
    """Jumps between each voxel and its next ones, where both are as dim as water is here."""
    label = np.sign(tissue.balance).astype(np.int8)
    label[np.abs(tissue.balance) < PURE] = 0
    jumps = np.zeros(label.shape, np.float32, order="F")
    balance, log_in = tissue.balance.ravel("F"), tissue.log_in.ravel("F")
    middle = None
    for axis in range(3):
        first, second = _neighbours(axis)
        step = int(np.prod(label.shape[:axis]))
        opposite = np.zeros(label.shape, bool, order="F")
        opposite[first] = label[first] * label[second] < 0
        at = np.flatnonzero(opposite.ravel("F"))
        at = at[
            (np.abs(log_in[at] - log_in[at + step]) < tissue.smooth)
            & (np.abs(balance[at] + balance[at + step]) < OPPOSITE)
        ]
        if not len(at):
            continue
        if middle is None:
            middle = _between(tissue, label, spacing)
        places = np.unravel_index(at, label.shape, order="F")
        dim = log_in[at] < middle(places)
        jumps[tuple(place[dim] for place in places)] += 1
    return jumps


def _between(tissue, label, spacing):
    """Signal half way between the usual fat and water near a voxel, on a coarse grid.

    It is the same whichever of the two is called fat.
    """
    steps = (4, 4, 2)
    thin = tuple(slice(None, None, step) for step in steps)
    size = [round(LEVEL_MM / (step * mm)) | 1 for step, mm in zip(steps, spacing, strict=True)]
    kind, values = label[thin], tissue.log_in[thin]
    levels = []
    for sign in (1, -1):
        mine = (kind == sign).astype(np.float32)
        usual = float(np.median(select(values, kind == sign))) if mine.any() else 0.0
        amount = ndimage.uniform_filter(mine.T, size[::-1]).T + 1e-3
        total = ndimage.uniform_filter((mine * (values - usual)).T, size[::-1]).T
        levels.append(usual + total / amount)
    middle = (levels[0] + levels[1]) / 2

    def at(places):
        return middle[tuple(place // step for place, step in zip(places, steps, strict=True))]

    return at


def _densest(jumps, spacing) -> float:
    """Most jumps in a box."""
    size = [max(1, round(BOX_MM / mm)) for mm in spacing[::-1]]
    return float(ndimage.uniform_filter(jumps.T, size, mode="constant").max() * np.prod(size))


# -- the regions ---------------------------------------------------------------------------


def _regions(tissue, surface, spacing) -> list[Region]:
    state = None
    for block in LEVELS:
        state = _solve(tissue, block, state, surface)
    voxel_ml = float(np.prod(spacing)) / 1000
    labels, count = ndimage.label((state < 0).T)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * voxel_ml
    regions = []
    for number in np.flatnonzero(sizes > SMALLEST_ML):
        if number == 0:
            continue
        where = _sharpened((labels == number).T, tissue)
        region = _judged(where, tissue, spacing)
        if region is not None:
            regions.append(region)
    return regions


def _solve(tissue, block, start, said) -> np.ndarray:
    """State of every voxel, near -1 where it is exchanged: minimum of a sum of squares.

    A node is what a block holds of one label; two nodes are drawn to the same state, or to
    opposite ones, by the pairs of neighbours between them.
    """
    shape = tissue.inside.shape
    x, y, z = (np.arange(n) // step for n, step in zip(shape, block, strict=True))
    nx, ny, nz = (int(part[-1]) + 1 for part in (x, y, z))
    number = ((z[:, None, None] * ny + y[:, None]) * nx + x).T
    number = 2 * number + (tissue.balance > 0)
    held = np.bincount(select(number, tissue.inside), minlength=2 * nx * ny * nz)
    used = np.flatnonzero(held)
    node = np.full(len(held), -1, np.int32)
    node[used] = np.arange(len(used))
    nodes = np.where(tissue.inside, node[number], -1)
    held = held[used].astype(float)

    rows, columns, weights = [], [], []
    for axis in (2, 1, 0):
        first, second = _neighbours(axis)
        a, b = nodes[first], nodes[second]
        use = (a >= 0) & (b >= 0) & (a != b)
        rows.append(select(a, use))
        columns.append(select(b, use))
        weights.append(_alike(tissue, first, second, use))
    rows, columns, weights = map(np.concatenate, (rows, columns, weights))
    size = len(used)
    strength = np.abs(weights) + COHESION
    degree = np.bincount(rows, strength, size) + np.bincount(columns, strength, size)
    matrix = sparse.coo_matrix((weights + COHESION, (rows, columns)), shape=(size, size)).tocsr()
    matrix = matrix + matrix.T

    pull = ANCHOR * held
    target = pull.copy()
    near = tissue.inside & (said != 0)
    at, said = select(nodes, near), select(said, near)
    force = RIM * np.bincount(at, np.abs(said), size)
    target += RIM * np.bincount(at, said, size)
    pull = pull + force
    diagonal = degree + pull
    guess, at = np.ones(size), select(nodes, tissue.inside)
    if start is not None:
        guess = np.bincount(at, select(start, tissue.inside), size) / held
    solution, _ = cg(
        sparse.diags(diagonal) - matrix,
        target,
        x0=guess,
        rtol=1e-3,
        maxiter=300,
        M=sparse.diags(1 / diagonal),
    )
    state = np.ones(shape, np.float32, order="F")
    state.T[tissue.inside.T] = solution[at]
    return state


def _alike(tissue, first, second, use) -> np.ndarray:
    """Evidence of neighbours that they are alike (positive) or exchanged (negative)."""
    a, b = (select(tissue.log_in[side], use) for side in (first, second))
    step = (a - b) / (0.7 * tissue.smooth)
    a, b = (select(tissue.balance[side], use) for side in (first, second))
    value = a * b * np.exp(-0.5 * step**2)
    value[(value < 0) & (value > -0.15)] = 0  # voxels of two tissues
    return value


def _sharpened(where, tissue, rounds: int = 6) -> np.ndarray:
    """The region with its border moved, by up to three voxels, to where the jump is."""
    box = _box(where, (4, 4, 4))
    part = _Tissue(tissue.inside[box], tissue.balance[box], tissue.log_in[box], tissue.smooth)
    inner = where[box]
    band = ndimage.binary_dilation(inner.T, iterations=3).T & part.inside
    band &= ~ndimage.binary_erosion(inner.T, iterations=3, border_value=1).T
    state = np.where(inner, -1.0, 1.0).astype(np.float32) * part.inside
    pairs = []
    for axis in (2, 1, 0):
        first, second = _neighbours(axis)
        both = part.inside[first] & part.inside[second]
        weight = np.zeros(both.shape, np.float32, order="F")
        weight.T[both.T] = _alike(part, first, second, both) + 0.02
        pairs.append((first, second, weight))
    for _ in range(rounds):
        total = np.zeros_like(state)
        for first, second, weight in pairs:
            total[first] += weight * state[second]
            total[second] += weight * state[first]
        state = np.where(band & (total != 0), np.sign(total), state)
    inner = state < 0
    inner |= ndimage.binary_closing(inner.T, iterations=2).T & ~part.inside  # holes of no tissue
    result = np.zeros(where.shape, bool, order="F")
    result[box] = inner
    return result


def _box(where, margin) -> tuple:
    """Slices of the box around a region, wider by `margin` voxels along x, y, z."""
    found = ndimage.find_objects(where.T.astype(np.uint8))[0][::-1]
    return tuple(
        slice(max(part.start - n, 0), part.stop + n) for part, n in zip(found, margin, strict=True)
    )


def _judged(where, tissue, spacing) -> Region | None:
    """The region, if its border and its signal say that it is one."""
    held = where & tissue.inside
    ml = float(held.sum() * np.prod(spacing)) / 1000
    if ml < SMALLEST_ML:
        return None
    jumps = goes_on = 0
    for axis in range(3):
        first, second = _neighbours(axis)
        border = where[first] != where[second]
        border &= tissue.inside[first] & tissue.inside[second]
        a, b = (select(tissue.log_in[side], border) for side in (first, second))
        step = np.abs(a - b)
        a, b = (select(tissue.balance[side], border) for side in (first, second))
        pure = (step < tissue.smooth) & (np.abs(a) > PURE) & (np.abs(b) > PURE)
        jumps += int((pure & (a * b < 0)).sum())
        goes_on += int((pure & (a * b > 0)).sum())
    share = jumps / max(jumps + goes_on, 1)
    if jumps < DOUBTFUL_FACETS or share < DOUBTFUL_SHARE or not _is_dim(held, tissue, spacing):
        return None
    middle = [float(axis.mean()) for axis in np.nonzero(held.T)[::-1]]
    place = tuple(at * mm for at, mm in zip(middle, spacing, strict=True))
    clear = jumps >= CLEAR_FACETS and share >= CLEAR_SHARE
    return Region(0, where, ml, place, jumps, share, clear)


def _stands_alone(region: Region, spacing) -> bool:
    """Whether a region is large enough to matter, and a body of its own rather than a layer."""
    where = region.where[_box(region.where, (1, 1, 1))]
    depth = ndimage.distance_transform_edt(where.T, spacing[::-1])
    core = np.count_nonzero(depth > CORE_MM) > CORE_SHARE * np.count_nonzero(depth)
    return region.ml >= ALONE_ML and core


def _is_dim(held, tissue, spacing) -> bool:
    """Whether what is labelled fat inside is as dim as what is labelled water around."""
    fat = held & (tissue.balance > PURE)
    if fat.sum() < max(50, 0.03 * held.sum()):
        return False
    box = _box(held, [max(1, round(20.0 / mm)) for mm in spacing])
    around = tissue.inside[box] & ~held[box]
    log_in, balance = tissue.log_in[box], tissue.balance[box]
    water, other = (select(log_in, around & kind) for kind in (balance < -PURE, balance > PURE))
    dim = float(np.median(select(tissue.log_in, fat)))
    if len(water) < 50 or len(other) < 50:
        bright = select(tissue.log_in, held & (tissue.balance < -PURE))
        return len(bright) >= 50 and dim < float(np.median(bright)) - 0.2
    return abs(dim - float(np.median(water))) < abs(dim - float(np.median(other)))
