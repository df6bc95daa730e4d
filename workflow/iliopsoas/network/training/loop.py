"""The training of one network, and the sweep of learning rates."""

import contextlib
import math
from dataclasses import asdict, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from iliopsoas import files, starter
from iliopsoas.logs import log
from iliopsoas.network import augmentation, backend, weights
from iliopsoas.network.architecture import build_network, is_out_of_memory, just_in_time, logits
from iliopsoas.network.training import checkpoint
from iliopsoas.network.training.losses import LOSSES, dice_metric
from iliopsoas.network.training.progress import EpochProgress, loss_figure
from iliopsoas.network.training.recipe import Recipe, rate_at
from iliopsoas.network.training.samples import Batches
from iliopsoas.status import InputError

NOTHING, PATIENT = 0.01, 3  # Dice, and epochs below it, that are told
SWEEP = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


class Diverged(InputError):
    """The loss is no longer a finite number."""


def train(
    images,
    labels,
    folder,
    recipe: Recipe | None = None,
    *,
    indices=None,
    validation=(),
    samples=None,
    participants=None,
    description: dict | None = None,
    resume: bool = True,
    what: str = "training",
) -> keras.Model:
    """Train one network, and write it to `folder`.

    Written there: ``model.h5`` and ``model.json`` (`weights`), ``log.csv``, ``loss.png``,
    ``participants.tsv`` (who was trained on: individual-level data, to stay inside), and
    while training ``checkpoint.h5``, which is replaced whole after every epoch. A training
    that was killed goes on from there and ends at the same weights.

    Parameters
    ----------
    images : sequence of ndarray (x, y, z)
        Normalised crops, read one by one when they are needed.
    labels : sequence of ndarray (x, y, z)
        Share of muscle per voxel, 0 to 1.
    folder : path
    recipe : Recipe
    indices : sequence of int, optional
        Which crops to train on; default all.
    validation : sequence of int
        Crops whose loss is followed (untransformed), never trained on.
    samples : optional
        What is trained on instead of crops of `images`: `steps` an epoch, and `batches(epoch)`
        that yields as `samples.Batches` does and depends on the epoch alone.
    participants : list of (eid, instance), optional
        Of every crop, for ``participants.tsv``.
    description : dict, optional
        Goes into the weights file, and into what decides whether a checkpoint belongs to
        this training; it should hold a hash of the training set.
    resume : bool
        False: start afresh even where there is a checkpoint.
    what : str
        Name of the training in progress and figure.

    Raises
    ------
    Diverged
        Where the loss or a weight is not finite; no model is written.
    InputError
        Where a training set is empty, or a batch does not fit the memory.
    """
    recipe = recipe or Recipe()
    folder = Path(folder)
    made = samples is not None
    indices = list(range(0 if made else len(images)) if indices is None else indices)
    validation = list(validation)
    if not indices and not made:
        raise InputError(f"{what}: there is no annotated crop to train on")
    if set(indices) & set(validation):
        raise ValueError("a crop is both trained on and validated on")
    shape = (*np.shape(images[(indices or validation)[0]]), 1)
    start = starter.path_of(recipe.start)
    begun = {name: value for name, value in asdict(recipe).items() if name != "start"}
    if start:
        begun["start"] = weights.read_description(start)["sha256"]
    fingerprint = files.fingerprint(begun, shape, indices, validation, description)

    model = build_network(
        shape,
        recipe.base_filters,
        recipe.variant,
        recipe.precision,
        seed=recipe.seed,
        initialisation=recipe.initialisation,
    )
    folder.mkdir(parents=True, exist_ok=True)
    for litter in folder.glob(".partial-*"):  # of a training that was killed
        litter.unlink()
    done = _finished(folder, fingerprint) if resume else None
    if done:
        log.info("%s: already done", what)
        weights.load_into(model, folder / "model.h5")
        _write_lost(folder, done, indices, participants, what)
        return model
    log.info("%s: %s", what, backend.kernels())
    if start is not None:
        weights.load_any(model, start)
    trained = _compile(logits(model), recipe)
    history = checkpoint.restore(folder / "checkpoint.h5", trained, fingerprint) if resume else []
    if history:
        log.info("%s: goes on after epoch %d", what, len(history))

    samples = samples or Batches(images, labels, indices, recipe)
    bar = EpochProgress(what, recipe.epochs, len(history), samples.steps)
    with bar as progress, _memory_told(what, shape, recipe):
        for epoch in range(len(history) + 1, recipe.epochs + 1):
            if _has_stopped(history, recipe):
                break
            row = {"epoch": epoch} | _epoch(trained, samples, recipe, epoch, progress)
            # the last step may leave weights that no loss was computed with
            if not (math.isfinite(row["loss"]) and _is_finite(model)):
                narrow = recipe.precision != "float32"
                raise Diverged(
                    f"{what}: the loss or a weight is not finite in epoch {epoch}; lower "
                    f"training.learning_rate ({recipe.learning_rate:g})"
                    + (f" or set training.precision ({recipe.precision}) to float32" * narrow)
                )
            if validation:
                row |= _validate(trained, images, labels, validation, recipe)
            history.append(row)
            _keep_best(folder, model, history, recipe)
            checkpoint.save(folder / "checkpoint.h5", trained, fingerprint, history)
            files.write_text(folder / "log.csv", pd.DataFrame(history).to_csv(index=False))
            progress.epoch(row)
            _tell_collapse(what, history)

    best = folder / "best.h5"
    if recipe.early_stop and best.exists():
        weights.load_into(model, best)
    loss_figure(folder / "loss.png", pd.DataFrame(history), what)
    _write_participants(folder, indices, participants)
    weights.save_weights(
        folder / "model.h5",
        model,
        (description or {})
        | {"input_shape": list(shape), "recipe": begun, "fingerprint": fingerprint}
        | {key: getattr(recipe, key) for key in ("base_filters", "variant", "coarsen")}
        | {"crops": len(indices), "epochs": len(history), "last_epoch": history[-1]},
    )
    # withdrawn.json: that the model that was here before holds participants who have withdrawn
    for path in (folder / "checkpoint.h5", best, folder / "withdrawn.json"):
        path.unlink(missing_ok=True)
    return model


def sweep(images, labels, folder, recipe: Recipe, *, rates=SWEEP, **options) -> pd.DataFrame:
    """Train once per learning rate; the paper's choice came from 1e-1..1e-6.

    Each training lies in ``<folder>/<rate>``. `options` are `train`'s; give `validation`.

    Returns
    -------
    DataFrame
        learning_rate, epochs, loss, dice and, with validation, validation_loss and
        validation_dice of the last epoch; missing where training diverged.
    """
    rows = []
    for rate in rates:
        place = Path(folder) / f"{rate:g}"
        row = {"learning_rate": rate}
        try:
            trial = replace(recipe, learning_rate=rate)
            train(images, labels, place, trial, what=f"learning rate {rate:g}", **options)
            last = pd.read_csv(place / "log.csv").iloc[-1]
            # the log's rate is that of the last step, which a schedule has changed
            row |= {"epochs": int(last["epoch"])} | dict(last.drop(["epoch", "learning_rate"]))
            row["status"] = "ok"
        except Diverged:
            row["status"] = "diverged"
        rows.append(row)
    return pd.DataFrame(rows)


def trained_on(folder, eids) -> list[str]:
    """Which of `eids`, such as withdrawn ones, a model was trained on (``participants.tsv``)."""
    path = Path(folder) / "participants.tsv"
    known = set(files.read_tsv(path)["eid"]) if path.exists() else set()
    return sorted(known & {str(eid) for eid in eids})


def _compile(model, recipe):
    optimizer = keras.optimizers.Adam(
        recipe.learning_rate, global_clipnorm=recipe.clip_norm or None
    )
    if recipe.precision == "float16":
        # gradients of a mean over voxels vanish in float16; Keras looks at the policy of the
        # model, not of its layers, and would not scale the loss by itself
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=LOSSES[recipe.loss],
        metrics=[dice_metric()],
        jit_compile=just_in_time(),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def _epoch(model, samples, recipe, epoch, progress) -> dict:
    model.reset_metrics()
    done = (epoch - 1) * samples.steps
    logs = {}
    for step, (images, labels, transforms) in enumerate(samples.batches(epoch)):
        rate = rate_at(done + step, recipe.epochs * samples.steps, recipe)
        model.optimizer.learning_rate = rate
        batch = augmentation.apply(images, labels, transforms)
        logs = model.train_on_batch(*batch, return_dict=True)
        progress.step(epoch, logs)
        if not math.isfinite(logs["loss"]):
            break
    return {"loss": float(logs["loss"]), "dice": float(logs["dice"]), "learning_rate": rate}


def _validate(model, images, labels, validation, recipe) -> dict:
    model.reset_metrics()
    for start in range(0, len(validation), recipe.batch_size):
        part = validation[start : start + recipe.batch_size]
        x = np.stack([np.asarray(images[i], dtype="float32") for i in part])[..., None]
        y = np.stack([np.asarray(labels[i], dtype="float32") for i in part])[..., None]
        logs = model.test_on_batch(x, y, return_dict=True)
    return {"validation_loss": float(logs["loss"]), "validation_dice": float(logs["dice"])}


def _tell_collapse(what, history):
    """Warn once of a network that has stopped to predict anything: its Dice loss has no slope."""
    low = [row["dice"] < NOTHING for row in history[-PATIENT - 1 :]]
    if all(low[-PATIENT:]) and len(low) >= PATIENT and not (len(low) > PATIENT and low[0]):
        log.warning(
            "%s: for %d epochs next to nothing was predicted (Dice below %g), which the Dice loss "
            "hardly recovers from; stop, and lower training.learning_rate, or set training.loss "
            "to dice+cross-entropy or training.clip_norm to 1",
            what,
            PATIENT,
            NOTHING,
        )


def _is_finite(model) -> bool:
    return all(np.isfinite(value).all() for value in model.get_weights())


@contextlib.contextmanager
def _memory_told(what, shape, recipe):
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{what}: {recipe.batch_size} crops of {' x '.join(map(str, shape[:3]))} do not fit "
            f"the memory of this {keras.backend.backend()} device in a training step; lower "
            "training.batch_size, set training.precision to bfloat16 on a GPU that has it, or "
            f"stop what else uses the memory ({str(error)[:120]})"
        ) from error


def _followed(row) -> float:
    loss = row.get("validation_loss", row["loss"])
    return loss if math.isfinite(loss) else math.inf


def _has_stopped(history, recipe) -> bool:
    if not recipe.early_stop or not history:
        return False
    losses = [_followed(row) for row in history]
    return len(losses) - 1 - int(np.argmin(losses)) >= recipe.early_stop


def _keep_best(folder, model, history, recipe):
    losses = [_followed(row) for row in history]
    if recipe.early_stop and int(np.argmin(losses)) == len(losses) - 1:
        weights.write_arrays(folder / "best.h5", model)


def _finished(folder, fingerprint) -> dict | None:
    """The description of the weights, where this very training has already ended."""
    try:
        description = weights.read_description(folder / "model.h5")
    except InputError:
        return None
    same = description.get("fingerprint") == fingerprint
    return description if same and (folder / "log.csv").exists() else None


def _write_participants(folder, indices, participants):
    if participants is not None:
        rows = sorted({tuple(map(str, participants[index])) for index in indices})
        files.write_tsv(folder / "participants.tsv", pd.DataFrame(rows, columns=files.KEY))


def _write_lost(folder, description, indices, participants, what):
    """Write again what lay beside finished weights and is gone."""
    if not (folder / "model.json").exists():
        own = {key: description[key] for key in description if key not in ("format", "sha256")}
        files.write_json(folder / "model.json", own)
    if not (folder / "loss.png").exists():
        loss_figure(folder / "loss.png", pd.read_csv(folder / "log.csv"), what)
    if not (folder / "participants.tsv").exists():
        _write_participants(folder, indices, participants)
