"""Checkpoints: all that a training needs to go on as if it had never stopped."""

import json

import keras

from iliopsoas import files, machine
from iliopsoas.logs import log


def save(path, model, fingerprint, history):
    """Weights, optimizer and history, in one file that replaces the last one whole."""
    with files.atomic(path) as temporary, machine.open_hdf5(temporary, "w") as file:
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
    try:
        with machine.open_hdf5(path) as file:
            if file.attrs["fingerprint"] != fingerprint:
                log.info("a checkpoint of another training is left aside: %s", path.name)
                return []
            history = json.loads(file.attrs["history"])
            values = {
                group: [file[group][number][()] for number in sorted(file[group])]
                for group in _state(model)
            }
        for group, variables in _state(model).items():
            found = [value.shape for value in values[group]]
            if found != [tuple(variable.shape) for variable in variables]:
                raise ValueError(f"its {group} are not those of this network and optimizer")
    except (OSError, KeyError, ValueError) as error:
        log.warning("a damaged checkpoint is left aside: %s (%s)", path.name, error)
        return []
    for group, variables in _state(model).items():
        for variable, value in zip(variables, values[group], strict=True):
            variable.assign(value)
    return history


def _state(model) -> dict:
    return {"weights": model.weights, "optimizer": model.optimizer.variables}
