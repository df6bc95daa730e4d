"""Whom to annotate: those that the starter network is least sure of, or a draw over sex and BMI.

    python benchmarks/choosing.py RESULTS PHANTOM [--size 6] [--draws 3] [--steps 100]

RESULTS and PHANTOM are a finished demo's `results/demo` and `resources/phantom`. A third of its
participants are judged; of the others, so many are annotated (with their true masks) and the
starter network is fine-tuned on them with the demo's options.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nibabel as nib
import numpy as np
from finetuning import recipe
from starter import judge

from iliopsoas import crops, files, grid, starter
from iliopsoas.network import segmentation, training


def read_scans(results: Path, phantom: Path) -> dict:
    """Name to (name, crops, true masks) of everyone with a volume and no planted fault."""
    truth = files.read_tsv(phantom / "truth.tsv")
    sound = truth[truth["planted_fault"].isna() & (truth["instance"] == "2")]
    reader = crops.CropReader(sorted(results.glob("shards/*/crops.h5")))
    found = {}
    for eid in sorted(sound["eid"]):
        name = files.subject_name(eid, 2)
        if name not in reader.subjects:
            continue
        points = files.read_json(files.subject_folder(results, eid, 2) / "landmarks.json")
        mask = np.asanyarray(nib.load(phantom / "truth" / f"{name}.nii.gz").dataobj)
        known = {s: crops.cut(mask, points, s) == number for s, number in grid.SIDES.items()}
        found[name] = (name, {side: reader.read(name, side) for side in grid.SIDES}, known)
    return found


def uncertainty(segmenter, scan) -> float:
    """Volume with a probability of one to three quarters, in parts of the mask's."""
    predicted = segmenter.predict([scan[1][side] for side in grid.SIDES])[0]
    finest = np.stack([segmenter.finest(one) for one in predicted])
    between = np.count_nonzero((finest > 0.25) & (finest < 0.75))
    return between / max(np.count_nonzero(finest > segmenter.threshold), 1)


def spread(people, table, size: int, rng) -> list[str]:
    """Half women, each sex's draw spread over BMI: one from each of as many classes."""
    chosen = []
    for number, (_, part) in enumerate(table.loc[people].groupby("sex")):
        wanted = size // 2 + (size % 2 if number else 0)
        classes = np.array_split(part.sort_values("bmi").index.to_numpy(), wanted)
        chosen += [str(rng.choice(members)) for members in classes]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("phantom", type=Path)
    parser.add_argument("--size", type=int, default=6)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    scans = read_scans(given.results, given.phantom)
    sample = files.read_tsv(given.results / "cohort/sample.tsv")
    sample = sample[sample["instance"] == "2"] if "instance" in sample else sample
    table = sample.set_index(sample["eid"].map(lambda eid: files.subject_name(eid, 2)))
    table["bmi"] = table["bmi"].astype(float)
    order = list(np.random.default_rng(2026).permutation(sorted(scans)))
    judged, pool = order[: len(order) // 3], order[len(order) // 3 :]

    segmenter = segmentation.Segmenter.load([starter.WEIGHTS])
    unsure = sorted(pool, key=lambda name: -uncertainty(segmenter, scans[name]))
    groups = [("least sure", unsure[: given.size]), ("surest", unsure[-given.size :])]
    for draw in range(given.draws):
        chosen = spread(pool, table, given.size, np.random.default_rng(draw))
        groups.append((f"spread over sex and BMI, {draw + 1}", chosen))

    print(f"{len(pool)} to choose {given.size} from, {len(judged)} judged, {given.steps} steps\n")
    print("| annotated | Dice, mean | lowest | volume, all | per muscle, SD |")
    print("|" + " --- |" * 5)
    for name, chosen in groups:
        asked = recipe("starter", 2 * given.size, given.steps)
        images, labels = (
            [crops.coarsen(scans[one][part][side], asked.coarsen)
             for one in chosen for side in grid.SIDES]
            for part in (1, 2)
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            model = training.train(images, labels, folder, asked)
        tuned = segmentation.Segmenter([model], asked.coarsen, 0.5, flip=True)
        rows = judge(tuned, [scans[one] for one in judged])
        error = 100 * (rows.ml / rows.true_ml - 1)
        print(
            f"| {name} | {rows.dice.mean():.4f} | {rows.dice.min():.3f} | "
            f"{100 * (rows.ml.sum() / rows.true_ml.sum() - 1):+.1f} % | {error.std():.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
