"""Training (paper, Methods): recipe, folds, crops, the loop, the sweep of learning rates.

The paper: Dice loss, Adam, learning rate 1e-4 from a sweep 1e-1..1e-6, batches of three,
100 epochs, 16 samples per muscle, six folds of whole participants. These are the defaults;
the other options of `Recipe` are not the paper's.
"""

from iliopsoas.network.training.loop import SWEEP, Diverged, sweep, train, trained_on
from iliopsoas.network.training.recipe import Recipe
from iliopsoas.network.training.samples import TrainingSet, folds

__all__ = ["SWEEP", "Diverged", "Recipe", "TrainingSet", "folds", "sweep", "train", "trained_on"]
