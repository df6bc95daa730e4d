"""What few annotated scans give, from the starter network and from random weights.

    python benchmarks/finetuning.py REFERENCE --cache FOLDER [--sizes 3 6 12] [--steps 200]

The painted scans of `starter.py` (real muscle and body shapes): the last eight are judged, the
first ones are trained on, with the demo's options and the same number of steps whatever their
number. The threshold is one half, and again the one that makes the volumes of the scans that were
trained on right in sum.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import yaml
from starter import judge, kept_scans

from iliopsoas import grid, starter
from iliopsoas.crops import coarsen
from iliopsoas.network import segmentation, training

DEMO = Path(__file__).resolve().parents[1] / "config/config.yaml"
JUDGED = 8
THRESHOLDS = np.arange(0.2, 0.81, 0.02)


def recipe(start, crops: int, steps: int) -> training.Recipe:
    """The demo's training, as many epochs as make the steps."""
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    chosen = {k: v for k, v in demo["training"].items() if k not in ("folds", "start", "epochs")}
    an_epoch = crops * chosen["samples_per_muscle"] / chosen["batch_size"]
    return training.Recipe(
        **chosen,
        start=start,
        epochs=max(1, round(steps / an_epoch)),
        base_filters=demo["network"]["base_filters"],
        coarsen=demo["crops"]["coarsen"],
    )


def right_in_sum(segmenter, scans) -> float:
    """Threshold at which the volumes of all scans together are right."""
    found, true = np.zeros(len(THRESHOLDS)), 0
    for _, cut, known in scans:
        predicted = segmenter.predict([cut[side] for side in grid.SIDES])
        for number, side in enumerate(grid.SIDES):
            mean = np.mean([segmenter.finest(member[number]) for member in predicted], axis=0)
            found += [(mean > threshold).sum() for threshold in THRESHOLDS]
            true += known[side].sum()
    return float(np.interp(-true, -found, THRESHOLDS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 6, 12])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder for the trained networks")
    given = parser.parse_args()
    scans = list(kept_scans(given.reference, 20, given.cache))
    if max(given.sizes) > len(scans) - JUDGED:
        parser.error(f"--sizes: at most {len(scans) - JUDGED}, since {JUDGED} scans are judged")
    print("| scans | from | steps | threshold | Dice, mean | lowest | volume, all | SD |")
    print("|" + " --- |" * 8)
    for size in given.sizes:
        seen = scans[:size]
        for start in ("starter", None):
            asked = recipe(start, 2 * size, given.steps)
            images = [coarsen(cut[s], asked.coarsen) for _, cut, _ in seen for s in grid.SIDES]
            labels = [coarsen(known[s], asked.coarsen) for _, _, known in seen for s in grid.SIDES]
            with tempfile.TemporaryDirectory() as passing:
                kept = given.keep and given.keep / f"{start or 'random'}-{size}"
                model = training.train(images, labels, kept or passing, asked)
            for threshold in (0.5, None):
                segmenter = segmentation.Segmenter(
                    [model], asked.coarsen, threshold or 0.5, flip=True
                )
                if threshold is None:
                    segmenter.threshold = right_in_sum(segmenter, seen)
                rows = judge(segmenter, scans[-JUDGED:])
                error = 100 * (rows.ml / rows.true_ml - 1)
                cells = [
                    *(size, start or "random weights", asked.epochs * size * 2),
                    f"{segmenter.threshold:.2f}",
                    *(f"{rows.dice.mean():.3f}", f"{rows.dice.min():.2f}"),
                    f"{100 * (rows.ml.sum() / rows.true_ml.sum() - 1):+.1f} %",
                    f"{error.std():.1f} %",
                ]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    segmenter = segmentation.Segmenter.load([starter.WEIGHTS], flip=True)
    rows = judge(segmenter, scans[-JUDGED:])
    print(f"\nThe starter as it is, on the same: Dice {rows.dice.mean():.3f}")


if __name__ == "__main__":
    main()
