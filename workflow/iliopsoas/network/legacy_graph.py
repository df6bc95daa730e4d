"""The graph that a legacy Keras HDF5 file describes, read as data and never built.

Weights of the same shapes load into the published network whatever the file's own network did
with them: another order of layers, of concatenations or another activation gives masks that
are silently wrong. Where the file says so, it is refused. Descriptions of another kind, as
Keras 3 writes them, and files without one say nothing.
"""

import json
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

# beside the published SELU, which the authors' code defines itself, and the last sigmoid
_OTHER_ACTIVATIONS = {
    *("elu", "exponential", "gelu", "leaky_relu", "relu", "relu6", "softmax", "softplus"),
    *("softsign", "swish", "silu", "tanh"),
}
_OTHER_LAYERS = {"ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax", "ThresholdedReLU"}


class Layer(NamedTuple):
    """One layer of the description: its class, its configuration and the layers it reads."""

    kind: str
    config: dict
    sources: list[str]


def read(text) -> dict[str, Layer]:
    """Layers by name, from the attribute ``model_config``; empty where it is unusual or absent."""
    try:
        layers = json.loads(text)["config"]["layers"]
        return {
            layer["config"]["name"]: Layer(
                layer["class_name"],
                layer["config"],
                [str(source[0]) for node in layer["inbound_nodes"] for source in node],
            )
            for layer in layers
        }
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return {}


def topological(names: list[str], layers: dict[str, Layer]) -> list[str]:
    """`names` with every layer after those it reads; without a whole graph of them, as given."""
    if not set(names) <= set(layers):
        return names
    reads = {name: [source for source in layers[name].sources if source in names] for name in names}
    try:
        return list(TopologicalSorter(reads).static_order())
    except CycleError:
        return names


def difference(layers: dict[str, Layer]) -> str | None:
    """What the described network does otherwise than the published one, with the same weights."""
    for name, layer in layers.items():
        kinds = [layers[source].kind for source in layer.sources if source in layers]
        if (
            layer.kind == "Concatenate"
            and len(kinds) == 2
            and kinds[1] == "Conv3DTranspose" != kinds[0]
        ):
            return "concatenates [skip, upsampled], expected [upsampled, skip] as published"
        used = layer.kind if layer.kind in _OTHER_LAYERS else str(layer.config.get("activation"))
        if used in _OTHER_LAYERS | _OTHER_ACTIVATIONS:
            return f"has the activation {used} ({name}), expected selu as published"
        if layer.config.get("dilation_rate", 1) not in (1, [1, 1, 1]):
            return f"has a dilated convolution ({name}), expected none as published"
    return None
