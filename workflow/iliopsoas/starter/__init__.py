"""The starter network that comes with the package: where its weights lie, and what it is.

It was trained on synthetic people alone (`network.starter`, ``make starter``); docs/starter.md is
its model card. Nothing heavy is imported here, so that a configuration can name it.
"""

from pathlib import Path

NAME = "starter"  # what a configuration says for it
WEIGHTS = Path(__file__).parent / "starter.h5"
NOTE = "the package's starter network, which has seen synthetic people only"


def path_of(weights) -> Path | None:
    """The file that a setting means: ``starter`` is the package's own, anything else itself."""
    if weights is None:
        return None
    return WEIGHTS if str(weights) == NAME else Path(weights)
