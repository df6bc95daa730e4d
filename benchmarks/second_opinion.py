"""What a second opinion predicts of masks on real shapes, by networks trained elsewhere.

    python benchmarks/second_opinion.py REFERENCE --weights FILE [FILE ...] [--scans 20]

The scans are those of benchmarks/starter.py, each as it is and with one fault planted in its crops
by code that predicted quality did not learn from: levels darkened, the crop moved along a slant,
its lower half blurred. Predicted quality is the package's own, learned on synthetic people; the
networks are whatever files are named.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from starter import kept_scans

from iliopsoas import grid
from iliopsoas.network import segmentation
from iliopsoas.network.segmentation import opinion as second
from iliopsoas.qc import opinion, quality

FAILED, REVIEWED = quality.FAILED_DICE, 0.1


def darkened(crop, truth, rng):
    """A band of levels with a tenth of the signal, fading in and out."""
    z = np.arange(crop.shape[2])
    dip = np.exp(-(((z - rng.uniform(40, 150)) / rng.uniform(10, 30)) ** 2))
    return (crop * (1 - 0.9 * dip)).astype(np.float32), truth


def slanted(crop, truth, rng):
    """Moved along all three axes at once; what leaves the crop is lost."""
    far = rng.integers(8, 24, 3) * rng.choice([-1, 1], 3)
    return tuple(ndimage.shift(array, far, order=0, mode="nearest") for array in (crop, truth))


def half_blurred(crop, truth, rng):
    """Motion in the lower half alone."""
    half, soft = crop.shape[2] // 2, ndimage.gaussian_filter(crop, rng.uniform(2, 5))
    return np.concatenate([soft[:, :, :half], crop[:, :, half:]], axis=2), truth


FAULTS = {"": None, **{f.__name__: f for f in (darkened, slanted, half_blurred)}}


def rows_of(name, side, crop, truth, networks, starter, fault, rng) -> list[dict]:
    """One muscle: a row for every network."""
    whole = np.count_nonzero(truth)
    if FAULTS[fault]:
        crop, truth = FAULTS[fault](crop, truth, rng)
    members = [starter.finest(member[0]) for member in starter.predict([crop])]
    rows = []
    for network, segmenter in networks.items():
        predicted = [segmenter.finest(member[0]) for member in segmenter.predict([crop])]
        mask = segmenter.mask(np.mean(predicted, axis=0)).mask
        both = np.count_nonzero(mask) + whole
        rows.append(
            {
                "network": network,
                "scan": name,
                "side": side,
                "fault": fault,
                "dice": 2 * np.count_nonzero(mask & (truth > 0)) / both,
                "error_ml": (np.count_nonzero(mask) - whole) * grid.VOXEL_ML,
            }
            | second.of_members(starter, members, mask)
            | quality.crop_features(mask, crop, {}, side)
        )
    return rows


def report(rows) -> str:
    """Coverage and recall of every network, in Markdown."""
    lines = ["| network | muscles | mean Dice | interval covers, % | Dice: mean error |"]
    lines[0] += " failed | found in the 10 % predicted worst |"
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for network, part in rows.groupby("network"):
        inside = part["error_ml"].between(part["error_low_ml"], part["error_high_ml"])
        off = (part["predicted_dice"] - part["dice"]).abs().mean()
        worst = part.nsmallest(int(np.ceil(REVIEWED * len(part))), "predicted_dice")
        lines.append(
            f"| {network} | {len(part)} | {part['dice'].mean():.3f} | {100 * inside.mean():.0f} | "
            f"{off:.3f} | {(part['dice'] < FAILED).sum()} | {(worst['dice'] < FAILED).sum()} of "
            f"{len(worst)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--weights", type=Path, nargs="+", required=True)
    parser.add_argument("--scans", type=int, default=20, help="so many, the last of twenty")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    networks = {path.parent.name: segmentation.Segmenter.load([path]) for path in given.weights}
    starter, rows = second.load(), []
    scans = list(kept_scans(given.reference, 20, given.cache))[-given.scans :]
    for number, (name, cut, known) in enumerate(scans):
        for side in grid.SIDES:
            for fault in FAULTS:
                rng = np.random.default_rng([number, len(side), list(FAULTS).index(fault)])
                crop, truth = cut[side], known[side].astype(np.uint8)
                rows += rows_of(name, side, crop, truth, networks, starter, fault, rng)
    table = pd.DataFrame(rows)
    predicted = opinion.model(0.95).predict(table).drop(columns="error_ml")
    table = pd.concat([table[table["volume_ml"].notna()], predicted], axis=1, join="inner")
    empty = len(rows) - len(table)
    print(report(table))
    print(f"\n{empty} masks without a voxel, which a flag of its own tells, are left out.")


if __name__ == "__main__":
    main()
