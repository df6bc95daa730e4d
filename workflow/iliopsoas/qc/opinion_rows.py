"""``make starter-rows``: what predicted quality learns from where nothing is annotated.

Bodies of the generator that the starter network was trained with, from another seed: no network
was trained on them, though four of them chose the starter's threshold. Half of their crops are made
worse as the quality model of a cross-validation sees them (`degrade`); masks are drawn wrong on
purpose (`wrong_masks`), and the starter network's own.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, starter
from iliopsoas.grid import SIDES, VOXEL_ML
from iliopsoas.network.segmentation import opinion as second
from iliopsoas.network.starter import bodies, randomisation
from iliopsoas.qc import opinion, quality
from iliopsoas.qc.degrade import DEGRADATIONS
from iliopsoas.qc.wrong_masks import WRONG

BODIES, SAMPLES = 8, 2021  # seeds: of the bodies, not the starter's; of what is drawn from them


def rows_of(segmenter, body, name: str, rng) -> list[dict]:
    """Rows of one sample of a body: the starter's own mask and three wrong ones."""
    drawn = randomisation.draw(rng)
    crop, share = randomisation.render(body, drawn, factor=1)
    side = drawn.side
    if drawn.mirrored:
        side = next(other for other in SIDES if other != side)
    truth, fault = share >= 0.5, ""
    whole = np.count_nonzero(truth)
    if rng.random() < 0.5:
        fault = str(rng.choice(list(DEGRADATIONS)))
        crop, truth = DEGRADATIONS[fault](crop, truth, rng)
    members = [segmenter.finest(member[0]) for member in segmenter.predict([crop])]
    own = segmenter.mask(np.mean(members, axis=0)).mask
    masks = {"starter": own}
    for kind in rng.choice(list(WRONG), 3, replace=False):
        masks[str(kind)] = WRONG[kind](truth, crop, rng)
    rows = []
    for kind, mask in masks.items():
        found = second.of_members(segmenter, members, mask, own=kind == "starter")
        automatic = np.count_nonzero(mask)
        both = automatic + whole
        rows.append(
            {
                "eid": name,
                "side": side,
                "fault": fault,
                "mask": kind,
                "dice": 2.0 * np.count_nonzero(mask & truth) / both if both else np.nan,
                "automatic_ml": automatic * VOXEL_ML,
                "manual_ml": whole * VOXEL_ML,
            }
            | found
            | quality.crop_features(mask, crop, {}, side)
        )
    return rows


def make(folder, people: int, samples: int) -> pd.DataFrame:
    """Rows of `people` bodies, `samples` each; see `rows_of`.

    Parameters
    ----------
    folder : path
        Where the bodies are kept.
    """
    segmenter, rows = second.load(), []
    for number, body in enumerate(bodies.open_bank(folder, people, BODIES, _drawn)):
        for sample in range(samples):
            rng = np.random.default_rng([SAMPLES, number, sample])
            rows += rows_of(segmenter, body, f"body {number}", rng)
        print(f"body {number + 1} of {people}: {len(rows)} rows", flush=True)
    return table_of(rows)


def table_of(rows: list[dict]) -> pd.DataFrame:
    """Rows as they are kept: to four digits, with the starter network that they are of."""
    table = pd.DataFrame(rows).assign(starter=files.sha256(starter.WEIGHTS)[:12])
    names = ["starter", "eid", "side", "fault", "mask", "dice", "automatic_ml", "manual_ml"]
    numbers = [*names[5:], *opinion.FEATURES]
    table[numbers] = table[numbers].astype(float).map(lambda value: float(f"{value:.4g}"))
    return table[[*names, *opinion.FEATURES]]


def _drawn(done, number):
    print(f"body {done} of {number} drawn", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("resources/starter/bodies"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / opinion.ROWS)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--samples", type=int, default=5)
    given = parser.parse_args()
    table = make(given.folder, given.people, given.samples)
    files.write_tsv(given.output, table)
    judged = quality.fit(table, features=opinion.FEATURES).out_of_fold
    error = judged["automatic_ml"] - judged["manual_ml"]
    inside = error.between(judged["error_low_ml"], judged["error_high_ml"])
    width = (judged["error_high_ml"] - judged["error_low_ml"]).median()
    off = (judged["predicted_dice"] - judged["dice"]).abs().mean()
    print(
        f"out of fold, {len(judged)} masks of {judged['eid'].nunique()} bodies: the interval "
        f"covers {inside.mean():.1%}, median width {width:.0f} ml; Dice is {off:.2f} off on average"
    )
