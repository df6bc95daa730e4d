"""What is trained on: folds of participants, their crops, and the batches of an epoch."""

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from iliopsoas.crops import coarsen
from iliopsoas.grid import SIDES
from iliopsoas.network import augmentation
from iliopsoas.network.training.recipe import Recipe
from iliopsoas.status import InputError


def folds(participants: pd.DataFrame, number: int, seed: int) -> pd.Series:
    """Fold 1..`number` of each row; a participant's visits stay in one fold.

    Participants are ordered by a keyed hash of their id within each sex and dealt out,
    so the folds have equal sizes and sexes, and do not depend on the order of rows.

    Parameters
    ----------
    participants : DataFrame
        Column eid, and sex if known.
    number, seed : int

    Raises
    ------
    InputError
        Where there are fewer participants than folds.
    """
    people = participants.drop_duplicates("eid")
    if len(people) < number:
        raise InputError(
            f"cross-validation: {number} folds need as many annotated participants, found "
            f"{len(people)}; "
            + ("lower training.folds" if len(people) > 1 else "annotate more of them")
        )
    sex = people["sex"].astype(str) if "sex" in people else pd.Series("", people.index)
    key = [hashlib.sha256(f"{seed}:{eid}".encode()).hexdigest() for eid in people["eid"]]
    order = people.assign(_sex=sex, _key=key).sort_values(["_sex", "_key"])["eid"]
    fold = {eid: 1 + place % number for place, eid in enumerate(order)}
    return participants["eid"].map(fold).rename("fold")


class TrainingSet:
    """The annotated crops of a reader, both sides of every subject, as the network sees them.

    Parameters
    ----------
    reader : crops.CropReader
    subjects : list of str, optional
        ``<eid>_<instance>``; default all that have an annotation.
    factor : int
        Factor by which crops and masks are coarsened.
    normalisation : {"published", "paper"}
    in_memory : bool
        Keep what was read: 9 MB per uncoarsened crop, 1.6 GB for the paper's 180.

    Attributes
    ----------
    images, labels : sequence of ndarray (x, y, z)
        float32 signal; uint8 mask, or float32 shares of muscle where `factor` > 1.
    subjects : list of str
    owners : list of (eid, instance)
        Of every crop.
    """

    def __init__(self, reader, subjects=None, factor=1, normalisation="published", in_memory=True):
        if subjects is None:
            subjects = [subject for subject in reader.subjects if reader.has_label(subject)]
        self.subjects = list(subjects)
        self.keys = [(subject, side) for subject in self.subjects for side in SIDES]
        self.owners = [tuple(subject.rsplit("_", 1)) for subject, _ in self.keys]
        self.images = _Crops(
            self.keys, lambda *key: coarsen(reader.read(*key, normalisation), factor), in_memory
        )
        self.labels = _Crops(
            self.keys, lambda *key: coarsen(reader.read_label(*key), factor), in_memory
        )

    def __len__(self):
        return len(self.keys)

    def indices(self, subjects) -> list[int]:
        """Which crops belong to `subjects`."""
        wanted = set(subjects)
        return [index for index, (subject, _) in enumerate(self.keys) if subject in wanted]


class _Crops(Sequence):
    """Crops read when they are asked for, and kept if wanted."""

    def __init__(self, keys, read, in_memory):
        self.keys, self.read, self.in_memory = keys, read, in_memory
        self.kept = {}

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index):
        if index in self.kept:
            return self.kept[index]
        crop = self.read(*self.keys[index])
        if self.in_memory:
            self.kept[index] = crop
        return crop


class Batches:
    """The samples of an epoch in a seeded order, read one batch ahead."""

    def __init__(self, images, labels, indices, recipe: Recipe):
        self.images, self.labels, self.recipe = images, labels, recipe
        self.pairs = [(i, s) for i in indices for s in range(recipe.samples_per_muscle)]
        self.steps = math.ceil(len(self.pairs) / recipe.batch_size)

    def _read(self, pairs, round_):
        recipe = self.recipe
        transforms = [
            augmentation.draw(
                i,
                s,
                recipe.seed,
                round_,
                recipe.samples_per_muscle,
                coarsen=recipe.coarsen,
                strength=recipe.augmentation_strength,
            )
            for i, s in pairs
        ]
        images = np.stack([np.asarray(self.images[i], dtype="float32") for i, _ in pairs])
        return images, np.stack([np.asarray(self.labels[i]) for i, _ in pairs]), transforms

    def batches(self, epoch: int):
        """Yield (images, labels, transforms); the order depends on seed and epoch alone."""
        size = self.recipe.batch_size
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.pairs))
        pairs = [self.pairs[place] for place in order]
        round_ = epoch if self.recipe.on_the_fly else 0
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, pairs[:size], round_)
            for start in range(size, len(pairs) + size, size):
                batch = ahead.result()
                if start < len(pairs):
                    ahead = reader.submit(self._read, pairs[start : start + size], round_)
                yield batch
