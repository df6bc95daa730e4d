"""Checkpoints: all that a training needs to go on as if it had never stopped."""

import json

import h5py
import keras

from iliopsoas import files
from iliopsoas.logs import log


def save(path, model, fingerprint, history):
    """Weights, optimizer and history, in one file that replaces the last one whole."""
    with files.atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["fingerprint"] = fingerprint
        file.attrs["history"] = json.dumps(history)
        for group, variables in _state(model).items():
            for number, variable in enumerate(variables):
                value = keras.ops.convert_to_numpy(variable.value)
                file.create_dataset(f"{group}/{number:03d}", data=value)


def restore(path, model, fingerprint) -> list[dict]:
    """Bring `model` to a checkpoint of the same training; its history, or an empty one."""
    if not path.exists():
        return []
    with h5py.File(path, "r") as file:
        if file.attrs["fingerprint"] != fingerprint:
            log.info("a checkpoint of another training is left aside: %s", path.name)
            return []
        for group, variables in _state(model).items():
            for number, variable in enumerate(variables):
                variable.assign(file[f"{group}/{number:03d}"][()])
        return json.loads(file.attrs["history"])


def _state(model) -> dict:
    return {"weights": model.weights, "optimizer": model.optimizer.variables}
