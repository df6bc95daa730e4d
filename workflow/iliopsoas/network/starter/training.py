"""Training of the starter network: on samples of the bank alone, made as they are needed."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from iliopsoas.crops import CROP_SHAPE
from iliopsoas.logs import log
from iliopsoas.network import segmentation, training, weights
from iliopsoas.network.augmentation import Transform
from iliopsoas.network.starter import bodies, randomisation

HELD_OUT = 1_000_003  # added to the seed: samples that nothing is trained on
FOLLOWED = 10  # of them whose loss is followed
LEAST_PIECE = 0.2  # of the largest piece: psoas and iliacus may be apart


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

    def make(self, *number, imaged=lambda drawn: drawn):
        """Sample of a number (seed, epoch, step, place): image and label.

        ``imaged`` changes the drawn `randomisation.Parameters`, such as `randomisation.usual`.
        """
        rng = np.random.default_rng(number)
        body = self.bank[rng.integers(len(self.bank))]
        return randomisation.render(body, imaged(randomisation.draw(rng)), self.recipe.coarsen)

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


def held_out(bank, number: int, recipe, **options):
    """Fixed samples of bodies that nothing is trained on: images and labels."""
    samples = Samples(bank, recipe, 0)
    made = [samples.make(recipe.seed + HELD_OUT, n, **options) for n in range(number)]
    return [image for image, _ in made], [label for _, label in made]


def train(folder, output, passes, *, bodies_seen: int, bodies_held_out: int, seed: int) -> None:
    """Train the starter from seeds: a pass goes on where the last one ended.

    Parameters
    ----------
    folder : path
        Of the work: the bank of bodies, a folder of `training.train` for each pass. Work that
        was stopped goes on from there.
    output : path
        Weights file to write, in half precision, with ``.json`` beside it.
    passes : sequence of (training.Recipe, int)
        The recipe and the steps per epoch of each pass.
    bodies_seen, bodies_held_out : int
        Bodies that are trained on, and others that choose the threshold.
    seed : int
        Of the bodies; those held out have another.
    """
    folder = Path(folder)
    seen = bodies.open_bank(folder / "bodies", bodies_seen, seed, _drawn)
    unseen = bodies.open_bank(folder / "bodies", bodies_held_out, seed + 1, _drawn)
    start = None
    for number, (recipe, steps) in enumerate(passes, 1):
        place = folder / f"pass-{number}"
        images, labels = held_out(unseen, FOLLOWED, recipe)
        model = training.train(
            images,
            labels,
            place,
            replace(recipe, start=start and str(start)),
            validation=range(FOLLOWED),
            samples=Samples(seen, recipe, steps),
            description={"bodies": bodies_seen, "seed": seed, "steps": steps},
            what=f"starter, pass {number} of {len(passes)}",
        )
        start = place / "model.h5"
    about = {"bodies": bodies_seen, "seed": seed}
    about["passes"] = [asdict(recipe) | {"steps_per_epoch": steps} for recipe, steps in passes]
    write(output, model, recipe, unseen, about)


def write(output, model, recipe, unseen, about: dict) -> None:
    """Write the trained network in half precision, with the threshold it is calibrated to.

    Parameters
    ----------
    output : path
    model : keras.Model
    recipe : training.Recipe
        Of the last pass.
    unseen : list of bodies.Body
        Bodies that choose the threshold.
    about : dict
        How it was trained, for the file's description.
    """
    description = {
        "input_shape": [*(n // recipe.coarsen for n in CROP_SHAPE), 1],
        "base_filters": recipe.base_filters,
        "variant": recipe.variant,
        "coarsen": recipe.coarsen,
        "trained_on": "synthetic people only (iliopsoas.network.starter)",
        "licence": "MIT",
        "least_piece": LEAST_PIECE,
    } | about
    weights.save_weights(output, model, description, "float16")
    description["threshold"] = calibrate(output, unseen, recipe)
    weights.save_weights(output, model, description, "float16")


def _drawn(done, number):
    log.info("starter: body %d of %d drawn", done, number)


def calibrate(path, bank, recipe, number: int = 40) -> float:
    """Threshold at which the masks of held-out samples have the true volume, in the median.

    Of samples imaged as scanners mostly do: an uncertain mask is widened by a low threshold, and
    blur and noise as strong as a training's would make the rule for all of them.
    """
    model, _ = weights.open_model(path)
    segmenter = segmentation.Segmenter([model], recipe.coarsen)
    found = []
    samples = held_out(bank, number, recipe, imaged=randomisation.usual)
    for image, label in zip(*samples, strict=True):
        output = np.asarray(model.predict_on_batch(image[None, ..., None]))[0, ..., 0]
        true = round(float(label.sum()) * recipe.coarsen**3)
        if true:  # the deepest voxels, as many as are muscle
            values = segmenter.finest(output).ravel()
            found.append(np.partition(values, values.size - true)[values.size - true])
    return round(float(np.median(found)), 2)
