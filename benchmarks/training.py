"""Training options beside the paper's, compared by cross-validation on a finished run's crops.

    python benchmarks/training.py RESULTS [--folds 2] [--steps 400] [--coarsen 3] [--output FILE]

RESULTS is a results folder whose shards hold annotated crops, such as the demo's. Every option
trains the same network with the same number of steps on the same folds of participants, and is
judged on the participants of the fold it did not see.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

from iliopsoas import files
from iliopsoas.crops import CropReader
from iliopsoas.machine import processor
from iliopsoas.network import segmentation, training

PAPER = {"loss": "dice", "schedule": "constant", "on_the_fly": False, "samples_per_muscle": 16}
IMPROVED = {
    "loss": "dice+cross-entropy",
    "schedule": "cosine",
    "on_the_fly": True,
    "clip_norm": 1.0,
}
OPTIONS = {
    "the paper's": {},
    "augmentation on the fly": {"on_the_fly": True},
    "Dice plus cross-entropy": {"loss": "dice+cross-entropy"},
    "cosine schedule": {"schedule": "cosine"},
    "all three, gradients clipped at 1": IMPROVED,
    "the same, augmentation at half strength": IMPROVED | {"augmentation_strength": 0.5},
}


def cross_validate(reader, subjects, fold, recipe, factor, folder) -> pd.DataFrame:
    """Dice and volumes of every participant, from the model that did not see them."""
    samples = training.TrainingSet(reader, subjects, factor)
    rows = []
    for number in sorted(set(fold.values())):
        seen = [subject for subject in subjects if fold[subject] != number]
        model = training.train(
            samples.images,
            samples.labels,
            folder / str(number),
            recipe,
            indices=samples.indices(seen),
            resume=False,
        )
        unseen = [subject for subject in subjects if fold[subject] == number]
        segmenter = segmentation.Segmenter([model], factor)
        rows.append(segmentation.evaluate(segmenter, reader, unseen, number))
    return pd.concat(rows)


def machine() -> str:
    return f"{processor()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--coarsen", type=int, default=3)
    parser.add_argument("--base-filters", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=OPTIONS)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()

    reader = CropReader(sorted(given.results.glob("shards/*/crops.h5")))
    subjects = [subject for subject in reader.subjects if reader.has_label(subject)]
    people = pd.DataFrame([subject.rsplit("_", 1) for subject in subjects], columns=files.KEY)
    folds = training.folds(people, given.folds, seed=2020)
    fold = dict(zip(subjects, folds, strict=True))
    crops = 2 * len(subjects) * (given.folds - 1) / given.folds
    per_epoch = crops * PAPER["samples_per_muscle"] / 2
    epochs = max(1, round(given.steps / per_epoch))
    lines = [
        "# Training options",
        "",
        f"Machine: {machine()}. {len(subjects)} annotated phantoms, {given.folds} folds of "
        f"participants, {epochs} epochs of {per_epoch:.0f} steps of 2 crops for each model, "
        f"{given.base_filters} base "
        f"filters, crops coarsened by {given.coarsen}, learning rate {given.learning_rate:g}. "
        "Dice and volume error (automatic against true, per muscle) on held-out participants.",
        "",
        "| option | Dice, mean | SD | lowest | error, mean | mean absolute |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in given.options:
        options = PAPER | OPTIONS[name]
        recipe = training.Recipe(
            **options,
            epochs=epochs,
            batch_size=2,
            learning_rate=given.learning_rate,
            base_filters=given.base_filters,
            coarsen=given.coarsen,
        )
        with tempfile.TemporaryDirectory() as folder:
            rows = cross_validate(reader, subjects, fold, recipe, given.coarsen, Path(folder))
        error = 100 * (rows.automatic_ml / rows.manual_ml - 1)
        lines.append(
            f"| {name} | {rows.dice.mean():.3f} | {rows.dice.std():.3f} | {rows.dice.min():.3f} | "
            f"{error.mean():+.1f} % | {error.abs().mean():.1f} % |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if given.output:
        files.write_text(given.output, text)


if __name__ == "__main__":
    main()
