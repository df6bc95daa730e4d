"""Training of the starter network: on samples of the bank alone, made as they are needed."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from iliopsoas.network import training
from iliopsoas.network.augmentation import Transform
from iliopsoas.network.starter import bodies, randomisation

HELD_OUT = 1_000_003  # added to the seed of the bank that nothing is trained on


class Samples:
    """Batches of randomised crops; sample n of epoch e is the same in every run.

    Parameters
    ----------
    bank : list of bodies.Body
    recipe : training.Recipe
        Batch size, coarsening and seed.
    steps : int
        Batches an epoch.
    """

    def __init__(self, bank, recipe, steps):
        self.bank, self.recipe, self.steps = bank, recipe, steps

    def make(self, *number):
        """Sample of a number (seed, epoch, step, place): image and label."""
        rng = np.random.default_rng(number)
        body = self.bank[rng.integers(len(self.bank))]
        return randomisation.render(body, randomisation.draw(rng), self.recipe.coarsen)

    def _batch(self, epoch, step):
        size = self.recipe.batch_size
        made = [self.make(self.recipe.seed, epoch, step, place) for place in range(size)]
        images, labels = (np.stack(arrays) for arrays in zip(*made, strict=True))
        return images, labels, [Transform()] * size

    def batches(self, epoch: int):
        """Yield (images, labels, transforms), made a few steps ahead."""
        with ThreadPoolExecutor(1) as pool:
            ahead = deque(pool.submit(self._batch, epoch, step) for step in range(3))
            for step in range(3, self.steps + 3):
                batch = ahead.popleft().result()
                if step < self.steps:
                    ahead.append(pool.submit(self._batch, epoch, step))
                yield batch


def held_out(bank, number: int, recipe):
    """Fixed samples of bodies that nothing is trained on: images and labels."""
    samples = Samples(bank, recipe, 0)
    made = [samples.make(recipe.seed + HELD_OUT, n) for n in range(number)]
    return [image for image, _ in made], [label for _, label in made]
