"""How a network is trained: the paper's way, and options beside it."""

import math
from dataclasses import dataclass

from iliopsoas.network import augmentation
from iliopsoas.network.training.losses import LOSSES
from iliopsoas.status import InputError

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
        Adam's.
    loss : {"dice", "dice+cross-entropy"}
    schedule : {"constant", "cosine"}
        Cosine: a linear rise over the first 5 % of the steps, then half a cosine to 0.
    clip_norm : float
        Largest norm of all gradients together; 0: as they are.
    samples_per_muscle : int
        Samples an epoch takes of each muscle, half of them mirrored.
    on_the_fly : bool
        New random transformations every epoch instead of the same ones.
    augmentation_strength : float
        Share of the paper's ranges of shift and scaling that is used.
    early_stop : int
        Epochs without a lower loss after which training ends; 0: never. The loss is that
        of the validation samples where there are any.
    precision : {"float32", "bfloat16", "float16"}
        Type of the arithmetic; weights stay float32.
    base_filters, variant, initialisation
        Of `network.build_network`.
    start : str, optional
        Weights to begin with, our own file or a published one, of a network of the same filters
        and variant (the crops' size may differ), or ``starter``. Default: random ones.
    coarsen : int
        Factor by which the crops were coarsened; it scales the random shifts.
    seed : int
    """

    epochs: int = 100
    batch_size: int = 3
    learning_rate: float = 1e-4
    loss: str = "dice"
    schedule: str = "constant"
    clip_norm: float = 0.0
    samples_per_muscle: int = augmentation.SAMPLES_PER_MUSCLE
    on_the_fly: bool = False
    augmentation_strength: float = 1.0
    early_stop: int = 0
    precision: str = "float32"
    base_filters: int = 8
    variant: str = "published"
    initialisation: str = "he"
    start: str | None = None
    coarsen: int = 1
    seed: int = 2020

    def __post_init__(self):
        for name, allowed in (("loss", LOSSES), ("schedule", SCHEDULES)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"training.{name} {getattr(self, name)!r}; expected one of {', '.join(allowed)}"
                )


def rate_at(step: int, steps: int, recipe: Recipe) -> float:
    """Learning rate of step 0..steps - 1."""
    if recipe.schedule == "constant":
        return recipe.learning_rate
    rise = max(1, round(0.05 * steps))
    if step < rise:
        return recipe.learning_rate * (step + 1) / rise
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise)))
