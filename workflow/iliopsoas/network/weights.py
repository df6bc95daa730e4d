"""Trained weights: our own file, and the published Keras 2.2.4 one.

Both are HDF5. Only arrays and text are ever read from them: no model is built from
what a file says of functions or classes, no link out of the file is followed, and
nothing is unpickled.

Our file holds one dataset per weight, in topological order, and the attribute
``description`` (JSON): architecture, crops, how it was trained. A file is therefore
whole in itself; ``model.json`` beside it is the same description, to be read by people.
"""

import contextlib
import json
from pathlib import Path

import h5py
import keras
import numpy as np

from iliopsoas import files, machine
from iliopsoas.network import legacy_graph
from iliopsoas.network.architecture import build_network, weighted_layers
from iliopsoas.status import InputError

FORMAT = "iliopsoas-weights-1"
PUBLISHED_SHA256 = "b1001a8a046a7181c11b0f974ebc7157ce0a58ca2f8779a39ae01cfcef15f4a8"
ARCHITECTURE = ("input_shape", "base_filters", "variant")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_GET_AGAIN = (
    "The published file is iliopsoas_muscle_model.h5 of recoh/iliopsoas_muscle, 195,752,152 "
    f"bytes, SHA-256 {PUBLISHED_SHA256}; it is stored with Git LFS, so get it with "
    "'git lfs pull' or with the download button of its page."
)


def save_weights(path, model: keras.Model, description: dict, dtype: str = "float32") -> None:
    """Write our own weights file, and ``<name>.json`` beside it.

    Parameters
    ----------
    path : path
        Conventionally ``model.h5``.
    model : keras.Model
        Of `network.build_network`.
    description : dict
        JSON content: ``input_shape``, ``base_filters`` and ``variant``, with which the
        network is built again, and anything worth knowing of crops and training. It
        must name no participant.
    dtype : {"float32", "float16"}
        Of the numbers in the file; the halves lose what no mask shows.
    """
    missing = [key for key in ARCHITECTURE if key not in description]
    if missing:
        raise ValueError(f"description of the weights lacks {missing}")
    # the weights last: where they are, all is there
    files.write_json(Path(path).with_suffix(".json"), description)
    write_arrays(path, model, description, dtype)


def write_arrays(
    path, model: keras.Model, description: dict | None = None, dtype: str = "float32"
) -> None:
    """Write the weights file alone; see `save_weights`."""
    with files.atomic(path) as temporary, machine.open_hdf5(temporary, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["description"] = json.dumps(description or {})
        for number, value in enumerate(model.get_weights()):
            file.create_dataset(f"weights/{number:03d}", data=value.astype(dtype))


def load_into(model: keras.Model, path) -> None:
    """Load our own weights file into a network of its architecture."""
    _refuse_other_files(path)
    with _reading(path) as file:
        names = sorted(file["weights"])
        _assign(model, [(name, _dataset(file, f"weights/{name}", path)) for name in names], path)


def read_description(path) -> dict:
    """What our own weights file says of itself, with its ``sha256`` and ``format``.

    A published file says nothing that is trusted: its description is the published
    architecture.
    """
    _refuse_other_files(path)
    with _reading(path) as file:
        own = file.attrs.get("format") == FORMAT
        description = json.loads(file.attrs["description"]) if own else {}
    missing = [key for key in ARCHITECTURE if own and key not in description]
    if missing:
        raise InputError(
            f"weights {_name(path)}: the file does not say its {', '.join(missing)}; expected a "
            "model.h5 that a training has finished, not its best.h5 or checkpoint.h5"
        )
    if not own:
        description = {
            "input_shape": [96, 96, 192, 1],
            "base_filters": 8,
            "variant": "published",
            "coarsen": 1,
        }
    return description | {
        "format": FORMAT if own else "keras-hdf5",
        "sha256": files.sha256(path),
    }


def open_model(path, sha256: str | None = None, precision: str = "float32"):
    """Build the network a weights file belongs to and load it.

    Parameters
    ----------
    path : path
        Our own file, or a published one.
    sha256 : str, optional
        The hash the file must have.
    precision : str
        As `network.build_network`.

    Returns
    -------
    model : keras.Model
    description : dict
        As `read_description`.

    Raises
    ------
    InputError
        As `load_published_weights`.
    """
    description = read_description(path)
    _check_sha256(path, description["sha256"], sha256)
    model = build_network(
        tuple(description["input_shape"]),
        description["base_filters"],
        description["variant"],
        precision=precision,
    )
    load_any(model, path)
    return model, description


def load_any(model: keras.Model, path) -> None:
    """Load a weights file, our own or a published one, into a network of its architecture."""
    _refuse_other_files(path)
    with _reading(path) as file:
        own = file.attrs.get("format") == FORMAT
    if own:
        load_into(model, path)
    else:
        load_published_weights(model, path)


def load_published_weights(model: keras.Model, path, sha256: str | None = None) -> str:
    """Load a legacy Keras HDF5 file (whole model or weights) into `model`, weights only.

    Layers are taken in topological order: that of the file's ``layer_names``, which is how
    Keras 2 wrote them, put right by the graph where the file describes one. Their names and
    numbers are not looked at, layers without weights
    are passed over, and the optimizer's slots are left alone. The kernel layouts are
    those of Keras 3: (x, y, z, in, out), transposed (x, y, z, out, in) (keras 2.2.4,
    layers/convolutional.py).

    Parameters
    ----------
    model : keras.Model
        Of `network.build_network`, of the file's architecture.
    path : path
    sha256 : str, optional
        The hash the file must have; None: not checked.

    Returns
    -------
    str
        The file's SHA-256, to be recorded.

    Raises
    ------
    InputError
        The file is absent, is no HDF5 file (a web page, a Git LFS pointer), is
        truncated, has another hash, or holds another network's weights (`legacy_graph`).
    """
    _refuse_other_files(path)
    found = files.sha256(path)
    _check_sha256(path, found, sha256)
    with _reading(path) as file:
        if file.attrs.get("format") == FORMAT:
            raise InputError(
                f"weights {_name(path)}: this is a file of our own format, expected a legacy "
                "Keras HDF5 file; open it with weights.open_model"
            )
        group = _group(file, "model_weights", path) if "model_weights" in file else file
        names = _attribute(group, "layer_names")
        if not names:
            raise InputError(
                f"weights {_name(path)}: the HDF5 file has no attribute layer_names, so it was "
                "not written by Keras 2 (model.save or save_weights with .h5). " + _GET_AGAIN
            )
        graph = legacy_graph.read(file.attrs.get("model_config"))
        if found_otherwise := legacy_graph.difference(graph):
            raise InputError(
                f"weights {_name(path)}: the network in this file {found_otherwise}; its masks "
                "would be wrong"
            )
        arrays = []
        for layer in legacy_graph.topological(names, graph):
            weights = [
                (weight, _dataset(group, f"{layer}/{weight}", path))
                for weight in _attribute(_group(group, layer, path), "weight_names")
            ]
            # the kernel first, whatever the names are
            arrays += sorted(weights, key=lambda item: -item[1].ndim)
        _assign(model, arrays, path)
    return found


def _name(path) -> str:
    return Path(path).name


def _refuse_other_files(path):
    """Refuse what is not HDF5 at all, and say what it is."""
    path = Path(path)
    if path.is_dir():
        raise InputError(f"weights: {path} is a folder, expected one HDF5 file. " + _GET_AGAIN)
    if not path.is_file():
        raise InputError(f"weights: {path} does not exist. " + _GET_AGAIN)
    with open(path, "rb") as file:
        start = file.read(512)
    if start.startswith(_SIGNATURE):
        return
    text = start.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        found = "a Git LFS pointer, not the file it points to"
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        found = "a web page that was saved under this name"
    elif start.startswith(b"PK"):
        found = "a zip archive (Keras 3's .keras files are such)"
    elif not start:
        found = "an empty file"
    else:
        found = f"a file that begins with {start[:8]!r}"
    raise InputError(
        f"weights {path.name}: found {found} of {path.stat().st_size:,} bytes, expected HDF5. "
        + _GET_AGAIN
    )


@contextlib.contextmanager
def _reading(path):
    """The open HDF5 file; whatever HDF5 stumbles over is told as damage."""
    try:
        with machine.open_hdf5(path) as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        size = Path(path).stat().st_size
        raise InputError(
            f"weights {_name(path)}: the HDF5 file of {size:,} bytes cannot be read; it is "
            f"truncated or damaged ({error}). " + _GET_AGAIN
        ) from None


def _check_sha256(path, found, expected):
    if expected is not None and found.lower() != expected.strip().lower():
        raise InputError(
            f"weights {_name(path)}: found SHA-256 {found}, expected {expected}. Either the file "
            "was changed or damaged, or the expected hash belongs to another file."
        )


def _attribute(group, name) -> list[str]:
    """A list of texts; Keras 2 split lists over 64 kB into name0, name1, ..."""
    if isinstance(group.attrs.get(name), h5py.Empty):
        values = []
    elif name in group.attrs:
        values = list(np.ravel(group.attrs[name]))
    else:
        values, part = [], 0
        while f"{name}{part}" in group.attrs:
            values += list(np.ravel(group.attrs[f"{name}{part}"]))
            part += 1
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _inside(group, name, path):
    """What lies under `name` in the file itself: no link out of it is followed."""
    here = group
    for part in name.split("/"):
        if not part:
            continue
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise InputError(
                f"weights {_name(path)}: {name!r} is absent from the file or a link out of it; "
                "the file is damaged. " + _GET_AGAIN
            )
        here = here[part]
    return here


def _group(group, name, path) -> h5py.Group:
    found = _inside(group, name, path)
    if not isinstance(found, h5py.Group):
        raise InputError(
            f"weights {_name(path)}: {name!r} is no group; the file is damaged. " + _GET_AGAIN
        )
    return found


def _dataset(group, name, path) -> h5py.Dataset:
    """A float dataset whose numbers lie in the file itself."""
    here = _inside(group, name, path)
    outside = isinstance(here, h5py.Dataset) and (here.external or here.is_virtual)
    if not isinstance(here, h5py.Dataset) or here.dtype.kind != "f" or outside:
        raise InputError(
            f"weights {_name(path)}: {name!r} is no array of floating-point numbers of this file; "
            "the file is damaged. " + _GET_AGAIN
        )
    return here


def _assign(model, arrays, path):
    """Set all weights of `model`, or none: `arrays` are (name, dataset) in order."""
    wanted = [
        (f"{layer.name} ({weight.name})", tuple(weight.shape))
        for layer in weighted_layers(model)
        for weight in layer.weights
    ]
    if len(arrays) != len(wanted):
        raise InputError(
            f"weights {_name(path)}: found {len(arrays)} arrays, expected {len(wanted)}: the file "
            "belongs to another network. Check network.variant and network.base_filters."
        )
    for (name, array), (layer, shape) in zip(arrays, wanted, strict=True):
        if array.shape != shape:
            raise InputError(
                f"weights {_name(path)}: {name} has shape {array.shape}, expected {shape} for "
                f"{layer}: the file belongs to another network. Check network.variant and "
                "network.base_filters."
            )
    values = [array[()].astype("float32") for _, array in arrays]
    for (name, _), value in zip(arrays, values, strict=True):
        if not np.isfinite(value).all():
            raise InputError(
                f"weights {_name(path)}: {name} holds values that are not finite; training "
                "diverged or the file is damaged"
            )
    model.set_weights(values)
