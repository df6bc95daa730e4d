"""Fit the small model of coarse landmarks to body masks with known landmarks.

    python resources/landmarks/fit.py ATLAS [--write]

ATLAS is a folder of the layout that `iliopsoas.landmarks.atlas` reads: one folder per
body, with ``mask.body.nii.gz`` and ``bone_joints.nii.gz`` (labels 1, 2 shoulders, 11, 12
hips, 21, 22 knees; right, left), as published in recoh/pipeline (MIT), or with
``body.nii.gz`` and ``landmarks.json``. The shipped model was fitted to the 30 bodies
that are public. The errors printed are those of bodies the model was not fitted to.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from iliopsoas import files
from iliopsoas.landmarks import atlas, coarse, silhouette
from iliopsoas.landmarks.silhouette import Silhouette

MODEL = Path(coarse.__file__).with_name("model.json")
RIDGE = 0.1  # of the mean squared length of the feature vectors
GAP_SHARE = 0.3


def ridge(features, values, share: float) -> dict:
    """Ridge regression, centred; solved by bodies, of which there are fewer than features."""
    features, values = np.asarray(features, float), np.asarray(values, float)
    mean = features.mean(axis=0)
    centred = features - mean
    gram = centred @ centred.T
    penalty = share * np.trace(gram) / len(gram) * np.eye(len(gram))
    dual = np.linalg.solve(gram + penalty, values - values.mean())
    return {
        "mean": mean.round(6).tolist(),
        "coefficients": (centred.T @ dual).round(6).tolist(),
        "intercept": round(float(values.mean()), 6),
    }


def fit(bodies) -> dict:
    """The model of a list of (Silhouette, landmarks)."""
    pair = {
        key: np.array([np.add(known[a], known[b]) / 2 for _, known in bodies])
        for key, (a, b) in {"hip": ("11", "12"), "shoulder": ("1", "2")}.items()
    }
    shapes = [shape for shape, _ in bodies]
    model = {
        "hip_share_of_trunk": ridge(
            [silhouette.hip_features(shape) for shape in shapes],
            (pair["hip"][:, 2] - [shape.crotch for shape in shapes])
            / [silhouette.trunk_length(shape) for shape in shapes],
            RIDGE,
        )
    }
    hips = [coarse.hip_height(shape, model) for shape in shapes]

    views = np.array(
        [silhouette.midline_features(shape, hip) for shape, hip in zip(shapes, hips, strict=True)]
    )
    middle = (1 - GAP_SHARE) * views[:, 0] + GAP_SHARE * views[:, 1]
    model["midline_gap_share"] = GAP_SHARE
    model["midline_offset"] = round(float((pair["hip"][:, 0] - middle).mean()), 3)
    width = [(known["12"][0] - known["11"][0]) / 2 for _, known in bodies]
    model["hip_half_distance"] = round(float(np.mean(width)), 3)
    forward = [
        pair["hip"][i, 1] - silhouette.depth_centre(shape, round(hip))
        for i, (shape, hip) in enumerate(zip(shapes, hips, strict=True))
    ]
    model["hip_forward"] = round(float(np.mean(forward)), 3)

    features, heights, outward, ahead = [], [], [], []
    for (shape, known), hip in zip(bodies, hips, strict=True):
        for side in coarse.SIDES:
            x, y, z = known[coarse.SHOULDER[side]]
            features.append(silhouette.shoulder_features(shape, side, hip))
            heights.append(z)
            _, middle_x, reach = silhouette.half(shape, side)
            outward.append(abs(x - middle_x) / reach)
            centre = silhouette.section_centre(shape, (x - 8, x + 9), round(z))
            ahead.append(y - centre[1])
    model["shoulder_height"] = ridge(features, heights, 0.01)
    model["shoulder_outward_share"] = round(float(np.median(outward)), 4)
    model["shoulder_forward"] = round(float(np.median(ahead)), 3)
    width = [(known["2"][0] - known["1"][0]) / 2 for _, known in bodies]
    model["shoulder_half_distance"] = round(float(np.mean(width)), 3)

    with_knees = [i for i, (_, known) in enumerate(bodies) if "21" in known and "22" in known]
    model["knee_height"] = ridge(
        [silhouette.knee_features(shapes[i], hips[i]) for i in with_knees],
        [(bodies[i][1]["21"][2] + bodies[i][1]["22"][2]) / 2 for i in with_knees],
        0.03,
    )
    ahead = []
    for i in with_knees:
        for key in ("21", "22"):
            x, y, z = bodies[i][1][key]
            centre = silhouette.section_centre(shapes[i], (x - 12, x + 13), round(z))
            ahead.append(y - centre[1])
    model["knee_forward"] = round(float(np.median(ahead)), 3)
    return model


def errors(found: dict, known: dict) -> dict:
    """Signed errors in voxels, as the tables of the docs give them."""

    def pair(landmarks, keys, axis):
        return (landmarks[keys[0]][axis] + landmarks[keys[1]][axis]) / 2

    result = {
        "hip height": pair(found, ("11", "12"), 2) - pair(known, ("11", "12"), 2),
        "midline x": pair(found, ("11", "12"), 0) - pair(known, ("11", "12"), 0),
        "shoulder height": pair(found, ("1", "2"), 2) - pair(known, ("1", "2"), 2),
    }
    for name, keys in {
        "one hip": ("11", "12"),
        "one shoulder": ("1", "2"),
        "one knee": ("21", "22"),
    }.items():
        for axis, letter in enumerate("xyz"):
            result[f"{name} {letter}"] = [
                found[key][axis] - known[key][axis] for key in keys if key in found and key in known
            ]
    result["knees found"] = float(all(key in found for key in ("21", "22")))
    return result


def left_out(bodies, groups) -> list[dict]:
    """Errors of every body under a model fitted without its group."""
    result = [None] * len(bodies)
    for group in sorted(set(groups)):
        kept = [body for body, own in zip(bodies, groups, strict=True) if own != group]
        model = fit(kept)
        for i, (shape, known) in enumerate(bodies):
            if groups[i] == group:
                result[i] = errors(coarse.joints(shape, model), known)
    return result


def table(rows: list[dict]) -> str:
    """Markdown table of absolute errors."""
    lines = ["| error, voxels | mean | 95th percentile | largest |", "|---|---|---|---|"]
    for name in rows[0]:
        if name == "knees found":
            continue
        values = np.abs(np.concatenate([np.atleast_1d(row[name]) for row in rows]))
        lines.append(
            f"| {name} | {values.mean():.1f} | {np.quantile(values, 0.95):.1f} "
            f"| {values.max():.1f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--write", action="store_true", help=f"replace {MODEL.name}")
    options = parser.parse_args()
    names, bodies = [], []
    for body in atlas.read_folder(options.atlas):
        names.append(body.name)
        bodies.append((Silhouette.of(body.mask()), body.landmarks))
    alone = left_out(bodies, range(len(bodies)))
    print(f"{len(bodies)} bodies, each left out in turn\n{table(alone)}\n")
    for name, row in zip(names, alone, strict=True):
        print(name, {key: round(row[key], 1) for key in list(row)[:3]}, row["knees found"])
    order = np.random.default_rng(0).permutation(len(bodies)) % 6
    print(f"\nin six groups, each left out in turn\n{table(left_out(bodies, order.tolist()))}")
    if options.write:
        model = {"bodies": len(bodies)} | fit(bodies)
        files.write_text(MODEL, json.dumps(model, indent=1) + "\n")


if __name__ == "__main__":
    main()
