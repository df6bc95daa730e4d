"""Exchanges inside a station, planted in scans painted on real shapes (see `bodies`).

    python benchmarks/exchanges.py [BODIES] [--per N] [--reference FOLDER] [--output FILE]

BODIES outlines, of those in turn every third as it is, 1.25 and 1.5 times as wide. Of every
body, stations 2 to 5 are judged as they are; then N regions, one at a time, are exchanged in
one station and judged: half a station, a quarter, a wedge, a ball of 4.5 cm in the muscle, a
ragged blob of 20 to 200 ml in it, the dome of the liver, one arm. A border is sharp where the
number of the body is even, else a random surface within 6 mm. A region counts as touching
where it holds a voxel of the iliopsoas.

A voxel is wrong where its water is off by more than a fifth of fat + water. mended: at most
5 % of the region's muscle is wrong, and 1 % of the muscle outside; flagged: a doubtful region,
or a margin too small; else found, where a region in the record overlaps it, or silent.
"""

import argparse
import os
import time
from collections import Counter, defaultdict
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import bodies  # noqa: E402  (after the thread settings)
import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

from iliopsoas import grid  # noqa: E402
from iliopsoas.config import Dixon  # noqa: E402
from iliopsoas.dixon import process, stitch, voxels  # noqa: E402

KINDS = ("half", "quarter", "wedge", "ball", "blob", "dome", "arm")
WIDTHS = (1.0, 1.25, 1.5)
TARGET = stitch.Target(grid.SHAPE, grid.ORIGIN_RAS_MM)


def on_slab(volume, slab, rows: slice):
    """A volume (x, y, z) of the stitched grid at a slab's slices."""
    z = slab.low + slab.spacing[2] * np.arange(slab.slices) - grid.ORIGIN_RAS_MM[2]
    z = np.clip(np.rint(z / grid.SLICE_MM), 0, volume.shape[2] - 1).astype(int)
    return np.asfortranarray(volume[:, rows, z])


def region(kind, body, slab, muscle, rng, ragged):
    """A region (x, y, z) of one slab; None where the body has none there."""
    shape = muscle.shape
    x, y, z = (axis.T for axis in np.indices(shape[::-1], dtype=np.float32)[::-1])
    z *= slab.spacing[2] / grid.IN_PLANE_MM  # all in voxels in plane
    if ragged:
        for axis in (z, y, x):
            drawn = rng.standard_normal(shape[::-1]).astype("f4")
            rough = ndimage.gaussian_filter(drawn, (2, 4, 4)).T
            axis += rough / np.abs(rough).max() * 2.7
    middle = (body.hips[11][0] + body.hips[12][0]) / 2
    side = rng.choice((-1, 1))
    beside = (x - middle) * side > rng.normal(0, 3)
    points = np.argwhere(muscle.T > 0)[:, ::-1]
    if kind == "half":
        return beside
    if kind == "quarter":
        upper = z > z.mean() if rng.random() < 0.5 else z < z.mean()
        return beside & upper
    if kind == "dome":
        liver = on_slab(body.liver, slab, np.s_[: shape[1]])
        if not liver.any():
            return None
        return liver & (z > np.median(z[liver]))
    if kind == "arm":
        arms = on_slab(body.arms, slab, np.s_[: shape[1]]) == rng.integers(1, 3)
        return arms if arms.sum() > 500 else None
    if not len(points):
        return None
    c = points[rng.integers(len(points))]
    cx, cy, cz = (float(axis[tuple(c)]) for axis in (x, y, z))
    if kind == "wedge":
        angle = rng.uniform(0, 2 * np.pi)
        turned = np.arctan2(y - cy, x - cx) - angle
        return np.abs(np.angle(np.exp(1j * turned))) < rng.uniform(0.4, 1.0)
    ml = 47.7 if kind == "ball" else rng.uniform(20, 200)
    stretch = rng.uniform(0.7, 1.4, 3) if kind == "blob" else np.ones(3)
    stretch /= np.prod(stretch) ** (1 / 3)
    radius = (ml * 1000 * 3 / (4 * np.pi)) ** (1 / 3) / grid.IN_PLANE_MM
    offset = ((z - cz) / stretch[0]) ** 2 + ((y - cy) / stretch[1]) ** 2
    return offset + ((x - cx) / stretch[2]) ** 2 < radius**2


def judged(slabs, exchanged=None):
    """What the workflow makes of slabs, of which one has a region exchanged."""
    planes = {}
    for slab in slabs:
        planes[slab.number] = slab.channels
        if exchanged is not None and exchanged[0] == slab.number:
            planes[slab.number] = voxels.exchange(slab.channels, exchanged[1])
    planes, decided, _, regions = process.undo_exchanges(slabs, planes, TARGET)
    margin = min(decided.confidence.values())
    return planes, margin, regions


def outcome(slab, planes, margin, regions, where, muscle):
    """What became of a planted region, and the share of it that is still wrong."""
    truth, total = slab.channels["W"], slab.channels["F"] + slab.channels["W"]
    wrong = np.abs(planes[slab.number]["W"] - truth) > 0.2 * total
    counted = (muscle > 0) if (where & (muscle > 0)).any() else slab.channels["in"] > 80
    still = float(wrong[where & counted].mean())
    newly = int((wrong & ~where & counted).sum())
    if still < 0.05 and newly < 0.01 * counted.sum():
        return "mended", still
    if any(not region.mended for region in regions) or margin < Dixon().swap_margin:
        return "flagged", still
    if any((region.where & where & counted).any() for region in regions):
        return "found, partly mended", still
    return "silent", still


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bodies", nargs="?", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--per", type=int, default=7)
    parser.add_argument("--reference", type=Path, default=bodies.REFERENCE)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folders = bodies.outlines(options.reference)
    counts, seconds, clean = defaultdict(Counter), [], Counter()
    for number in range(options.first, options.first + options.bodies):
        wider = WIDTHS[number % 3]
        rng = np.random.default_rng([number, 11])
        body = bodies.paint(folders[number % len(folders)], number, wider, options.reference)
        slabs = bodies.scan(
            body, number, noise=rng.choice([0.008, 0.012, 0.025]), numbers=(2, 3, 4, 5)
        )
        full = {s.number: dict(s.channels) for s in slabs}
        start = time.process_time()
        planes, margin, regions = judged(slabs)
        seconds.append(time.process_time() - start)
        wrong = any((planes[n]["W"] != full[n]["W"]).any() for n in full)
        doubtful = any(not r.mended for r in regions)
        verdict = "mended something" if wrong else "flagged" if doubtful else (
            "uncertain" if margin < Dixon().swap_margin else "right")  # fmt: skip
        clean[verdict] += 1
        print(f"{number} {wider} clean {verdict} margin {margin:.2f} {seconds[-1]:.1f} s",
              [(r.station, round(r.ml), r.facets, round(r.share, 2), r.mended) for r in regions],
              flush=True)  # fmt: skip
        for trial in range(options.per):
            kind = KINDS[trial % len(KINDS)]
            station = {"dome": 2, "arm": 2}.get(kind, int(rng.choice([3, 4])))
            slab = next(s for s in slabs if s.number == station)
            muscle = on_slab(body.muscle, slab, np.s_[: slab.rows])
            where = region(kind, body, slab, muscle, rng, ragged=number % 2 == 1)
            if where is None:
                continue
            touching = bool((where & (muscle > 0)).any())
            start = time.process_time()
            planes, margin, regions = judged([slab], (station, where))
            took = time.process_time() - start
            result, still = outcome(slab, planes, margin, regions, where, muscle)
            counts[kind, touching][result] += 1
            print(f"{number} {wider} {kind} {station} touching {touching} {result} {still:.2f} "
                  f"margin {margin:.2f} {took:.1f} s",
                  [(r.station, round(r.ml), r.facets, round(r.share, 2), r.mended)
                   for r in regions], flush=True)  # fmt: skip
    names = ("mended", "found, partly mended", "flagged", "silent")
    lines = [
        "| region | touches the muscle | n | " + " | ".join(names) + " |",
        "|" + "---|" * 7,
    ]
    for (kind, touching), count in sorted(counts.items()):
        cells = [count[name] for name in names]
        lines.append(f"| {kind} | {'yes' if touching else 'no'} | {sum(cells)} | "
                     + " | ".join(map(str, cells)) + " |")  # fmt: skip
    every = sum((c for (_, touching), c in counts.items() if touching), Counter())
    total = max(sum(every.values()), 1)
    lines += ["", f"Touching: {total}, silent {every['silent']} ({every['silent'] / total:.1%}).",
              f"Clean scans (stations 2 to 5): {dict(clean)}; median {np.median(seconds):.1f} CPU-s"
              " with the whole decision on swaps."]  # fmt: skip
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
