"""``iliopsoas paper``: the paper's statistics and figures from a synthetic cohort of its size."""

from pathlib import Path

from iliopsoas.cli.report import Report
from iliopsoas.figures import paper

NUMBERS = Path(__file__).resolve().parents[3] / "resources" / "paper.tsv"


def run(options) -> Report:
    """Draw the cohort, compute, compare with the paper's numbers."""
    text, good = paper.reproduce(
        options.folder,
        options.paper or NUMBERS,
        participants=options.participants,
        repeats=options.repeats,
        seed=options.seed,
    )
    return Report(text, {"folder": str(options.folder), "good": good}, good)
