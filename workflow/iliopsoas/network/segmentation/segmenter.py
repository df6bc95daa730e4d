"""The network at work: crops in, probabilities out, within the memory there is."""

import itertools
from pathlib import Path

import keras
import numpy as np

from iliopsoas import files, starter
from iliopsoas.crops import CROP_SHAPE, coarsen, refine
from iliopsoas.logs import log
from iliopsoas.network import backend, weights
from iliopsoas.network.architecture import is_out_of_memory, just_in_time
from iliopsoas.network.segmentation.masks import Mask, post_process
from iliopsoas.status import InputError, Refused, Verdict

BACK_PROJECTIONS = 2
THRESHOLD = 0.5


class Segmenter:
    """One or several networks that stay loaded.

    Parameters
    ----------
    models : list of keras.Model
        Their probabilities are averaged; the fold models, for instance.
    factor : int
        Factor by which crops are coarsened for these networks.
    threshold : float
        Probability from which a voxel is muscle.
    least_piece : float
        As for `post_process`.
    batch_size : int
        Crops per forward pass. It is halved whenever memory does not suffice.
    flip : bool
        Average with the mirror image's probabilities as well. The networks are trained
        on both sides and their mirror images.
    provenance : dict
        Goes into every record: the hash of the weights, for instance.
    """

    def __init__(
        self,
        models,
        factor=1,
        threshold=THRESHOLD,
        batch_size=2,
        flip=False,
        provenance=None,
        least_piece=1.0,
    ):
        self.models = list(models)
        if not self.models:
            raise InputError("segmentation: there is no model")
        for model in self.models:
            model.jit_compile = just_in_time()
        self.factor, self.threshold, self.flip = factor, threshold, flip
        self.least_piece = least_piece
        self.batch_size = max(1, batch_size)
        self.provenance = provenance or {}

    @classmethod
    def load(
        cls,
        paths,
        sha256=None,
        precision="float32",
        normalisation=None,
        threshold=None,
        **options,
    ):
        """Open weights files, our own or published ones.

        Parameters
        ----------
        paths : list of path
        sha256 : str, optional
            Hash that the file must have; only with a single one.
        precision : {"float32", "bfloat16", "float16"}
        normalisation : {"published", "paper"}, optional
            That of the crops, which must be that of the training where the file names it.
        threshold : float, optional
            Default: the one that the file was calibrated to, or `THRESHOLD` where it names none.
        **options
            Of `Segmenter`.

        Raises
        ------
        InputError
            As `weights.open_model`, and where the files are of different networks, or of
            one for other crops.
        """
        log.info("segmentation: %s", backend.kernels())
        opened = [weights.open_model(path, sha256, precision) for path in paths]
        if not opened:
            raise InputError("segmentation: there is no weights file")
        models, descriptions = zip(*opened, strict=True)
        factors = {_factor(description) for description in descriptions}
        if len(factors) > 1:
            raise InputError(
                "segmentation: the models were trained on crops of different resolution "
                f"(coarsened by {sorted(factors)}); train them alike"
            )
        factor = factors.pop()
        for path, description in zip(paths, descriptions, strict=True):
            _check_crops(path, description, factor, normalisation)
        provenance = {
            "weights_sha256": ",".join(description["sha256"] for description in descriptions),
            "models": len(models),
            "network": _name(descriptions),
        }
        if threshold is None:
            own = [description.get("threshold", THRESHOLD) for description in descriptions]
            threshold = float(np.mean(own))
        least = max(description.get("least_piece", 1.0) for description in descriptions)
        return cls(models, factor, threshold, provenance=provenance, least_piece=least, **options)

    @classmethod
    def configured(cls, paths, segmentation: dict, crops: dict) -> "Segmenter":
        """The networks of weights files, as the configuration's sections say; see `load`.

        ``weights_sha256`` is checked where there is one file: it is the configured file's.
        """
        paths = list(paths)
        chosen = {key: segmentation[key] for key in ("threshold", "batch_size", "flip")}
        return cls.load(
            paths,
            sha256=segmentation.get("weights_sha256") if len(paths) == 1 else None,
            precision=segmentation["precision"],
            normalisation=crops["normalisation"],
            **chosen,
        )

    @property
    def members(self) -> int:
        """Predictions that are averaged: models x flips."""
        return len(self.models) * (2 if self.flip else 1)

    def predict(self, crops) -> np.ndarray:
        """Probabilities of muscle.

        Parameters
        ----------
        crops : ndarray (n, 96, 96, 192)
            Normalised.

        Returns
        -------
        ndarray (members, n, x, y, z), float32
            At the networks' resolution; see `Segmenter.finest`.

        Raises
        ------
        Refused
            ``out_of_memory`` where not even one crop fits.
        """
        images = np.stack([coarsen(crop, self.factor) for crop in crops])
        images = images[..., None].astype("float32", copy=False)
        views = [(images, False)] + ([(images[:, ::-1], True)] if self.flip else [])
        found = []
        for model, (view, flipped) in itertools.product(self.models, views):
            output = self._forward(model, np.ascontiguousarray(view))
            found.append(output[:, ::-1] if flipped else output)
        return np.stack(found)

    def finest(self, probability) -> np.ndarray:
        """One probability map (x, y, z) at the crop's resolution.

        Interpolation alone rounds convex shapes off: at one half, annotations coarsened
        by 2 lost 2.7 % of their volume and, by 3, 6 %. Adding the interpolated difference
        to the blocks' means twice (back projection, Irani and Peleg 1991) leaves 1 % and
        2 %.
        """
        return np.clip(refine(probability, self.factor, BACK_PROJECTIONS), 0.0, 1.0)

    def mask(self, probability) -> Mask:
        """One muscle's mask of its probability map: see `post_process`."""
        return post_process(probability, self.threshold, self.least_piece)

    def _forward(self, model, images) -> np.ndarray:
        parts, start = [], 0
        while start < len(images):
            batch = images[start : start + self.batch_size]
            if just_in_time() and len(batch) < self.batch_size:  # no second compilation
                batch = np.pad(batch, [(0, self.batch_size - len(batch))] + [(0, 0)] * 4)
            try:
                output = np.asarray(model.predict_on_batch(batch), dtype="float32")[..., 0]
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._less_memory(images.shape, error)
                continue
            parts.append(output[: len(images) - start])
            start += self.batch_size
        output = np.concatenate(parts)
        if not np.isfinite(output).all():
            raise Refused(
                Verdict.UNEXPECTED_ERROR,
                "network: its output is not finite; expected probabilities. Check the crop, and "
                "segmentation.precision float32",
            )
        return output

    def _less_memory(self, shape, error):
        if self.batch_size == 1:
            raise Refused(
                Verdict.OUT_OF_MEMORY,
                f"network: one crop of {' x '.join(map(str, shape[1:4]))} does not fit the memory "
                f"of this {keras.backend.backend()} device; use one with more memory (about 3 GB "
                "free at the published size), stop what else uses it, or run on the CPU "
                f"(CUDA_VISIBLE_DEVICES='') ({str(error)[:120]})",
            ) from None
        self.batch_size = self.batch_size // 2
        log.warning("segmentation: out of memory, going on with batches of %d", self.batch_size)


def _name(descriptions) -> str:
    """What the tables call the network: starter, published or own."""
    known = {files.sha256(starter.WEIGHTS): starter.NAME} if starter.WEIGHTS.exists() else {}
    known[weights.PUBLISHED_SHA256] = "published"
    names = {known.get(description["sha256"], "own") for description in descriptions}
    return ",".join(sorted(names))


def _factor(description) -> int:
    """How much crops are coarsened; where a file does not say it, its network's size does."""
    return description.get("coarsen") or max(1, CROP_SHAPE[0] // description["input_shape"][0])


def _check_crops(path, description, factor, normalisation):
    """Refuse a network that was made for other crops than it would be given."""
    found, expected = list(description["input_shape"]), [n // factor for n in CROP_SHAPE] + [1]
    if found != expected:
        raise InputError(
            f"weights {Path(path).name}: a network for crops of {found}, expected {expected} "
            f"(96 x 96 x 192 voxels, coarsened by {factor})"
        )
    trained = description.get("normalisation", normalisation)
    if normalisation and trained != normalisation:
        raise InputError(
            f"weights {Path(path).name}: trained on crops normalised as {trained!r}, but these "
            f"are normalised as {normalisation!r}; set crops.normalisation to {trained!r}"
        )
