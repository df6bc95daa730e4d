"""Hip implants and bowel gas in scans painted on real shapes (see `bodies`), from zip to flag.

    python benchmarks/implants.py [BODIES] [--first N] [--reference FOLDER] [--output FILE]

Each of BODIES outlines is scanned as it is, with gas in the right iliac fossa, where the caecum
lies, and with implants at the right hip, the left, and both: voids of 4 to 5 cm in every other
body, of 8 to 10 cm else. Six stations are written as UK Biobank's zip and go through the workflow:
read, fat and water told apart, corrected, stitched; landmarks; the flags that need no cohort.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import bodies
import numpy as np
import painted

from iliopsoas import grid, landmarks
from iliopsoas.config import QualityControl
from iliopsoas.dixon import process
from iliopsoas.phantom import draft
from iliopsoas.phantom.acquisition import GEOMETRY, Station, positions_lps
from iliopsoas.qc.judge import judge_one
from iliopsoas.status import Refused

SIDES = {"right": 11, "left": 12}
CASES = {
    "as it is": (),
    "gas in the iliac fossa": (),
    "right implant": ("right",),
    "left implant": ("left",),
    "both implants": ("right", "left"),
}
VOIDS_MM = ((20.0, 25.0), (40.0, 50.0))  # radius
SPACING = np.array(grid.SPACING_MM)
NOBODY = SimpleNamespace(sex="female", age=60, height_cm=165.0, weight_kg=70.0)
LIMIT_ML = QualityControl().max_void_ml


def with_gas(body, rng):
    """A ball of air of 3 to 5 cm, 5 to 9 cm above the right hip and 1 to 4 cm before it."""
    place = body.hips[11] + np.array([0, rng.uniform(10, 40), rng.uniform(50, 90)]) / SPACING
    axes = np.ogrid[tuple(slice(n) for n in body.mask.shape)]
    squares = (((a - c) * s) ** 2 for a, c, s in zip(axes, place, SPACING, strict=True))
    here = sum(squares) < rng.uniform(15, 25) ** 2
    return replace(body, water=np.where(here, 0, body.water), fat=np.where(here, 0, body.fat))


def variant(body, case, number, rng):
    """The body of a case, and the planted voids in ml by side."""
    if case.startswith("gas"):
        return with_gas(body, rng), {}
    planted = {}
    for side in CASES[case]:
        before = body
        body = painted.implant(body, body.hips[SIDES[side]], rng, VOIDS_MM[number % 2])
        lost = (before.water + before.fat > 0) & (body.water + body.fat == 0)
        planted[side] = np.count_nonzero(lost) * grid.VOXEL_ML
    return body, planted


def write_zip(path, slabs, rng) -> None:
    """Slabs of `bodies.scan` as UK Biobank's zip."""
    stations = []
    for slab in slabs:
        shape = GEOMETRY[slab.number]
        first = (grid.SHAPE[1] - shape.rows) // 2
        arrays = {
            name: part[:, first : first + shape.rows].T[:, ::-1]  # rows from front to back
            for name, part in slab.channels.items()
        }
        arrays["opp"] = np.abs(arrays["W"] - arrays["F"])  # read by nobody
        arrays = {name: part.astype(np.uint16) for name, part in arrays.items()}
        place = positions_lps(slab.number, slab.low)
        stations.append(Station(slab.number, arrays, place, shape.thickness_mm, shape.breath_hold))
    draft.write_scan(path, draft.make_scan(stations, NOBODY, rng), level=0)


def measured(path, hips, **dixon) -> dict:
    """What the workflow says of one zip: verdict, flags, voids, and how far off the hips are."""
    row = {"refused": "", "flags": set(), "found": {}, "off": np.nan}
    try:
        scan = process.process_scan(path, **dixon)
        points, record = landmarks.locate_with_record(scan.body, scan.water, scan.fat)
        row["found"] = {side: record[f"void_ml_{side}"] or 0.0 for side in SIDES}
        row["off"] = max(abs(points[str(key)][2] - hips[key][2]) for key in SIDES.values())
        row["flags"] = set(
            judge_one({}, {"dixon": scan.record, "landmarks": record})["qc_flags"].split(",")
        )
        landmarks.assess(points, scan.body)
    except Refused as refused:
        row["refused"] = str(refused.verdict)
    return row


def table(rows) -> str:
    """Markdown: a row per case."""
    lines = [
        "| scans | n | refused | `metal_at_hip` | sides found, of planted | other sides | "
        "ml found, of planted | `hip_mirrored` | `hips_doubtful` | hip height off, slices |",
        "|" + " --- |" * 10,
    ]
    for case, sides in CASES.items():
        mine = [row for row in rows if row["case"] == case]
        found = [(row, side) for row in mine for side, ml in row["found"].items() if ml > LIMIT_ML]
        true = [(row, side) for row, side in found if side in sides]
        shares = [row["found"][side] / row["planted"][side] for row, side in true]
        off = np.array([row["off"] for row in mine])
        cells = [case, len(mine), sum(bool(row["refused"]) for row in mine)]
        cells.append(sum("metal_at_hip" in row["flags"] for row in mine))
        cells += [f"{len(true)} of {len(sides) * len(mine)}", len(found) - len(true)]
        cells.append(f"{np.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
                     if shares else "")  # fmt: skip
        cells += [sum(flag in row["flags"] for row in mine)
                  for flag in ("hip_mirrored", "hips_doubtful")]  # fmt: skip
        known = off[np.isfinite(off)]
        cells.append(f"{known.mean():.1f}, {known.max():.0f}" if len(known) else "")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bodies", nargs="?", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--reference", type=Path, default=bodies.REFERENCE)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folders, rows = bodies.outlines(options.reference), []
    for number in range(options.first, options.first + options.bodies):
        body = bodies.paint(folders[number % len(folders)], number, reference=options.reference)
        for place, case in enumerate(CASES):
            rng = np.random.default_rng([number, place, 13])
            changed, planted = variant(body, case, number, rng)
            start = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "1000000_20201_2_0.zip")
                write_zip(path, bodies.scan(changed, number), rng)
                row = measured(path, body.hips)
            rows.append(row | {"case": case, "planted": planted})
            print(number, case, {k: round(v) for k, v in planted.items()}, row,
                  f"{time.process_time() - start:.0f} s", flush=True)  # fmt: skip
    print("\n" + table(rows))
    if options.output:
        options.output.write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
