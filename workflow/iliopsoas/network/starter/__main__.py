"""``make starter``: train the starter network again from its seeds."""

import argparse
import logging
from pathlib import Path

from iliopsoas import starter
from iliopsoas.logs import log
from iliopsoas.network.starter.training import train
from iliopsoas.network.training import Recipe

COMMON = {
    "batch_size": 2,
    "loss": "dice+cross-entropy",
    "schedule": "cosine",
    "clip_norm": 1.0,
    "base_filters": 4,
}
# At a third of the resolution a step costs a third; half of it is learned last.
PASSES = (
    (Recipe(**COMMON, coarsen=3, epochs=15, learning_rate=1.5e-3, seed=2020), 100),
    (Recipe(**COMMON, coarsen=2, epochs=10, learning_rate=1e-3, seed=2021), 40),
    (Recipe(**COMMON, coarsen=2, epochs=8, learning_rate=5e-4, seed=2022), 40),
    (Recipe(**COMMON, coarsen=2, epochs=30, learning_rate=1e-3, seed=2023), 40),
    (Recipe(**COMMON, coarsen=2, epochs=20, learning_rate=1e-3, seed=2024), 200),
    (Recipe(**COMMON, coarsen=2, epochs=16, learning_rate=1e-3, seed=2025), 200),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path("resources/starter"), help="of the work"
    )
    parser.add_argument("--output", type=Path, default=starter.WEIGHTS)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log.setLevel(logging.INFO)
    train(given.folder, given.output, PASSES, bodies_seen=64, bodies_held_out=4, seed=7)


if __name__ == "__main__":
    main()
