"""Hips and shoulders on real outlines with painted insides: sound, hard to see, with implants.

    python benchmarks/landmarks.py REFERENCE [--every N]

REFERENCE holds ``atlas`` and ``ct_labels`` (see `painted`). Every body is measured by a shape model
that was fitted without it, and without its images, with them, and with images that are harder
than the phantom's. Errors are in slices (3 mm) for heights and in voxels (2.23 mm) sideways.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import painted
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.landmarks import coarse, locating
from iliopsoas.landmarks.silhouette import Silhouette
from iliopsoas.phantom.anatomy import Anatomy

NOISE = 0.015
STATION_1_FROM = 314  # slices above are seen by the highest station alone


def fitting():
    """The script that fits the shape model."""
    path = Path(__file__).parents[1] / "resources/landmarks/fit.py"
    spec = importlib.util.spec_from_file_location("fit_landmarks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants(body: Anatomy, femur, rng):
    """(name, water, fat) of one body."""
    water, fat = body.water, body.fat
    yield "sound", water, fat
    blur = np.array([4.5, 4.5, 4.5]) / grid.SPACING_MM / 2.355
    yield "blurred by 4.5 mm", *(ndimage.gaussian_filter(part, blur) for part in (water, fat))
    yield "three times the noise", *(_noisy(part, 2.8 * NOISE, rng) for part in (water, fat))
    yield "marrow half water, no cortex", np.where(femur, 0.33, water), np.where(femur, 0.45, fat)
    for name, keys in (("right implant", ["11"]), ("both implants", ["11", "12"])):
        other = body
        for key in keys:
            other = painted.implant(other, body.landmarks[key], rng)
        yield name, other.water, other.fat
    yield "no femoral heads", np.where(femur, 0.58, water), np.where(femur, 0.05, fat)
    yield "fat and water exchanged", fat, water
    yield "no signal", np.zeros_like(water), np.zeros_like(fat)


def _noisy(image, sigma, rng):
    real, imaginary = (rng.standard_normal(image.shape, np.float32) * sigma for _ in range(2))
    return np.hypot(image + real, imaginary)


def hips_of(found):
    return np.array([found[key] for key in ("11", "12")], float)


def measured(mask, known, model, water=None, fat=None):
    """Record and errors: height, midline, one hip sideways, one hip's height."""
    usual = coarse.shipped_model
    coarse.shipped_model = lambda: model  # the body's own model is one without it
    try:
        images = [None if part is None else grid.las_image(part) for part in (water, fat)]
        found, record = locating.locate_with_record(grid.las_image(mask), *images)
    finally:
        coarse.shipped_model = usual
    off = hips_of(found) - hips_of(known)
    return record, {
        "height": abs(off[:, 2].mean()),
        "midline": abs(off[:, 0].mean()),
        "one hip, sideways": np.abs(off[:, 0]).max(),
        "one hip, height": np.abs(off[:, 2]).max(),
        "shoulders": abs(
            np.mean([found["1"][2], found["2"][2]]) - np.mean([known["1"][2], known["2"][2]])
        )
        if "1" in known and "2" in known
        else np.nan,
    }


def table(rows: dict) -> str:
    names = ("height", "midline", "one hip, sideways", "one hip, height", "shoulders")
    lines = ["| bodies and images | n | heads seen | mirrored | " + " | ".join(names) + " |"]
    lines += ["| " + " | ".join(["---"] * (4 + len(names))) + " |"]
    for title, found in rows.items():
        seen = sum(len(record["hips_seen"].split()) for record, _ in found)
        turned = sum(bool(record["hips_mirrored"]) for record, _ in found)
        cells = []
        for name in names:
            values = np.array([errors[name] for _, errors in found], float)
            values = values[np.isfinite(values)]
            cells.append(f"{values.mean():.1f}, {values.max():.1f}" if len(values) else "")
        lines.append(f"| {title} | {len(found)} | {seen} | {turned} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every n-th body's images")
    options = parser.parse_args()
    fit = fitting()
    people = painted.bodies(options.reference)
    labels = painted.read_labels(options.reference)
    learned = [(Silhouette.of(person.mask()), person.landmarks) for person in people]
    rows, confidence = {}, {}

    def add(title, *arguments):
        record, errors = measured(*arguments)
        rows.setdefault(title, []).append((record, errors))
        if record["hip_confidence"] is not None:
            confidence.setdefault(title, []).extend(
                record[f"hip_confidence_{side}"] for side in ("right", "left")
            )

    for number, person in enumerate(people):
        model = fit.fit(learned[:number] + learned[number + 1 :])
        mask, known = person.mask(), person.landmarks
        add("outline alone", mask, known, model)
        for wide in (1.25, 1.5):
            moved, points = painted.warped(mask, known, wide)
            add(f"outline, {wide} times as wide", moved, points, model)
        for long in (0.9, 0.94, 1.06, 1.1):
            moved, points = painted.warped(mask, known, long=long)
            add(f"outline, {long} times as long", moved, points, model)
        cut = np.array(mask)
        cut[:, :, STATION_1_FROM:] = 0
        add("outline, station 1 missing", cut, known, model)
        if number % options.every:
            continue
        rng = np.random.default_rng(number)
        ct = labels[number % len(labels)]
        body = painted.paint(mask, known, ct, rng, rng.uniform(0.04, 0.18))
        femur = (painted.fitted(ct, known) == painted.FEMUR) & (body.water + body.fat > 0)
        near = slice(int(known["11"][2]) - 45, int(known["11"][2]) + 46)
        levels = Anatomy(
            body.water[..., near], body.fat[..., near], None, None, {},
            {key: (*known[key][:2], known[key][2] - near.start) for key in ("11", "12")},
        )  # fmt: skip
        for name, *parts in variants(levels, femur[..., near], rng):
            images = []
            for part in parts:
                images.append(np.zeros(grid.SHAPE, np.float32))
                images[-1][..., near] = 1000 * _noisy(part, NOISE, rng)
            add(f"images, {name}", mask, known, model, *images)
        print(f"{number + 1} of {len(people)}", flush=True)
    print("\nMean and largest error.\n\n" + table(rows) + "\n")
    for title, values in confidence.items():
        print(f"{title}: confidence {np.min(values):.2f} to {np.max(values):.2f}")


if __name__ == "__main__":
    main()
