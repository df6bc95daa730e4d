"""Fat-water swaps on phantoms of all body sizes, with added shading and noise.

    python benchmarks/swaps.py [PHANTOMS] [--first N] [--output FILE]

Every station and leg is exchanged with a chance of 0.3, in every tenth phantom all of
them. BMI runs through 16 to 55 in both sexes; noise is 1 to 3 times the phantom's; every
station gets its own gain and a further smooth shading of up to about a factor of 2.
Stations are handed over as read, without zips and without the steps after the swaps.
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the thread settings)

from iliopsoas import grid  # noqa: E402
from iliopsoas.config import Dixon  # noqa: E402
from iliopsoas.dixon import process, stitch, swaps  # noqa: E402
from iliopsoas.dixon.series import Slab  # noqa: E402
from iliopsoas.phantom import acquisition, anatomy  # noqa: E402
from iliopsoas.phantom.traits import Traits  # noqa: E402

UNITS = ("1", "2", "3", "4", "5left", "5right", "6left", "6right")
BMIS = (16, 17, 18.5, 20, 22, 25, 28, 32, 36, 42, 48, 55)


def as_read(station) -> Slab:
    """An acquired station as `build_stations` would give it."""
    channels = {
        channel: station.arrays[channel].T[:, ::-1].astype(np.float32)
        for channel in ("in", "F", "W")
    }
    x, y, z = station.position_lps[0]
    rows = channels["W"].shape[1]
    step = grid.IN_PLANE_MM
    return Slab(
        number=station.number,
        channels=channels,
        origin=np.array([-x, -(y + (rows - 1) * step), z]),
        spacing=np.array([step, step, station.thickness_mm]),
        rows=rows,
        description="",
        software="",
    )


def shade(station: Slab, rng) -> None:
    shape = station.channels["W"].shape
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), sparse=True,
                          indexing="ij")  # fmt: skip
    a = rng.normal(0, 0.25, 4).astype(np.float32)
    field = np.exp(a[0] * z + a[1] * y + a[2] * x + a[3] * x**2)
    for channel in station.channels:
        station.channels[channel] *= field


def trial(number: int):
    """Planted and found swaps and the smallest margin of one phantom."""
    rng = np.random.default_rng(1000 + number)
    bmi = BMIS[number % len(BMIS)]
    sex = ("male", "female")[(number // len(BMIS)) % 2]
    height = rng.normal(*((176, 6) if sex == "male" else (163, 6)))
    muscle = (380 if sex == "male" else 240) * (0.8 + 0.2 * min(bmi, 25) / 25)
    traits = Traits(
        sex, int(rng.integers(45, 80)), height, bmi * (height / 100) ** 2, muscle,
        0.98 * muscle, rng.uniform(0.03, 0.15), number,
    )  # fmt: skip
    body = anatomy.build(traits)
    planted = {unit: bool(number % 10 == 0 or rng.random() < 0.3) for unit in UNITS}
    faults = [f"swapped:{u[0]}" + (f":{u[1:]}" if u[1:] else "") for u in UNITS if planted[u]]
    for leg in "56":  # one fault per station is read
        both = [f"swapped:{leg}:left", f"swapped:{leg}:right"]
        if all(fault in faults for fault in both):
            faults = [fault for fault in faults if fault not in both] + [f"swapped:{leg}"]
    noise = acquisition.NOISE * rng.choice([1, 2, 3])
    stations = [as_read(s) for s in acquisition.acquire(body, rng, faults, noise=noise)]
    for station in stations:
        shade(station, rng)
    target = stitch.choose_target(stations)
    planes = process.take_planes(stations, target)
    return bmi, sex, planted, swaps.detect(stations, planes, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("phantoms", nargs="?", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    limit = Dixon().swap_margin
    counts: Counter = Counter()
    margins: dict = {}
    for number in range(options.first, options.first + options.phantoms):
        try:
            bmi, sex, planted, found = trial(number)
        except ValueError as error:  # a muscle that does not fit this body
            print(f"{number}\tnot built\t{error}", file=sys.stderr, flush=True)
            counts["not built"] += 1
            continue
        for unit in UNITS:
            margins_of = [v for name, v in found.confidence.items() if name.startswith(unit)]
            doubtful = min(margins_of) < limit
            right = (unit in found.titles) == planted[unit]
            kind = "planted" if planted[unit] else "unplanted"
            counts[kind] += 1
            counts[f"{kind} {'uncertain' if doubtful else 'right' if right else 'wrong'}"] += 1
        margins.setdefault(bmi, []).append(min(found.confidence.values()))
        wrong = [unit for unit in UNITS if (unit in found.titles) != planted[unit]]
        print(f"{number}\t{bmi}\t{sex}\t{margins[bmi][-1]:.2f}\t{wrong}", flush=True,
              file=sys.stderr)  # fmt: skip
    lines = [f"# Swaps on {sum(map(len, margins.values()))} phantoms", ""]
    lines += ["| stations and legs | all | right | wrong | uncertain |", "|---|---|---|---|---|"]
    for kind, title in (("planted", "exchanged"), ("unplanted", "not exchanged")):
        cells = [counts[kind]] + [counts[f"{kind} {w}"] for w in ("right", "wrong", "uncertain")]
        lines.append(f"| {title} | " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        f"Not built: {counts['not built']}. Smallest margin (limit {limit:g}) by BMI:",
        "",
    ]
    lines += ["| BMI | phantoms | smallest | median |", "|---|---|---|---|"]
    for bmi, values in sorted(margins.items()):
        lines.append(f"| {bmi:g} | {len(values)} | {min(values):.2f} | {np.median(values):.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
