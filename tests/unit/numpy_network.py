"""The published network in plain NumPy, and its weights in Keras 2.2.4's HDF5 layout.

Independent of Keras and of the package, written from the table of the architecture:
what both are tested against. Arrays are (x, y, z, channels), float64.
"""

import json

import h5py
import numpy as np

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(x):
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def conv(x, kernel, bias):
    """Correlation with zero padding, stride 1, odd kernel (x, y, z, in, out)."""
    half = kernel.shape[0] // 2
    padded = np.pad(x, [(half, half)] * 3 + [(0, 0)])
    out = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for i, j, k in np.ndindex(kernel.shape[:3]):
        part = padded[i : i + x.shape[0], j : j + x.shape[1], k : k + x.shape[2]]
        out += part @ kernel[i, j, k]
    return out + bias


def halve(x, kernel, bias):
    """Kernel 2^3, stride 2."""
    out = 0
    for i, j, k in np.ndindex(2, 2, 2):
        out = out + x[i::2, j::2, k::2] @ kernel[i, j, k]
    return out + bias


def double(x, kernel, bias):
    """Transposed convolution 2^3, stride 2; kernel (x, y, z, out, in)."""
    out = np.zeros((2 * x.shape[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[3]))
    for i, j, k in np.ndindex(2, 2, 2):
        out[i::2, j::2, k::2] = x @ kernel[i, j, k].T
    return out + bias


def forward(x, weights):
    """Probabilities of the published network; `weights` are (kernel, bias) in its order."""
    pairs = iter(weights)

    def block(x, convolutions):
        y = x
        for _ in range(convolutions):
            y = selu(conv(y, *next(pairs)))
        return y + x

    first = selu(conv(x, *next(pairs)))
    skips = [first + np.repeat(x, first.shape[-1], axis=-1)]
    x = selu(halve(skips[0], *next(pairs)))
    for convolutions in (2, 3, 3):
        skips.append(block(x, convolutions))
        x = selu(halve(skips[-1], *next(pairs)))
    x = selu(double(block(x, 3), *next(pairs)))
    for convolutions in (3, 3, 2):
        x = block(np.concatenate([x, skips.pop()], axis=-1), convolutions)
        x = selu(double(x, *next(pairs)))
    x = block(np.concatenate([x, skips.pop()], axis=-1), 1)
    x = selu(conv(x, *next(pairs)))
    return sigmoid(conv(x, *next(pairs)))


def layers(base=8):
    """(class, kernel shape or None) of every layer in Keras 2's order of ``model.layers``."""
    f = base

    def conv_layer(size, n_in, n_out):
        return ("Conv3D", (size, size, size, n_in, n_out))

    found = [("InputLayer", None), conv_layer(5, 1, f), ("Concatenate", None), ("Add", None)]
    found.append(conv_layer(2, f, 2 * f))
    for convolutions, n in ((2, 2 * f), (3, 4 * f), (3, 8 * f)):
        found += [conv_layer(5, n, n)] * convolutions + [("Add", None), conv_layer(2, n, 2 * n)]
    found += [conv_layer(5, 16 * f, 16 * f)] * 3 + [("Add", None)]
    found.append(("Conv3DTranspose", (2, 2, 2, 8 * f, 16 * f)))
    for convolutions, n in ((3, 16 * f), (3, 8 * f), (2, 4 * f)):
        found += [("Concatenate", None)] + [conv_layer(5, n, n)] * convolutions
        found += [("Add", None), ("Conv3DTranspose", (2, 2, 2, n // 4, n))]
    found += [("Concatenate", None), conv_layer(5, 2 * f, 2 * f), ("Add", None)]
    return [*found, conv_layer(1, 2 * f, 1), conv_layer(1, 1, 1)]


def random_weights(seed=0, base=8):
    """(kernel, bias) of every layer that has them, float32, of a size that keeps signals."""
    rng = np.random.default_rng(seed)
    pairs = []
    for kind, shape in layers(base):
        if shape is None:
            continue
        transposed = kind == "Conv3DTranspose"
        inputs = shape[4] if transposed else np.prod(shape[:4])
        kernel = rng.normal(0, 0.7 / np.sqrt(inputs), shape).astype("float32")
        bias = rng.normal(0, 0.1, shape[3] if transposed else shape[4]).astype("float32")
        pairs.append((kernel, bias))
    return pairs


def write_keras_2(path, weights, base=8, first_number=1, whole=True, swap_joins=False):
    """Write the file that ``model.save`` of Keras 2.2.4 on TensorFlow wrote.

    Attributes are fixed-length byte strings; layers without weights have an empty
    ``weight_names``; Adam's slots follow in ``optimizer_weights``.
    """
    pairs = iter(weights)
    prefix = {
        "InputLayer": "input",
        "Conv3D": "conv3d",
        "Conv3DTranspose": "conv3d_transpose",
        "Add": "add",
        "Concatenate": "concatenate",
    }
    counts = dict.fromkeys(prefix, first_number)
    names, kinds, shapes = [], [], []
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        for kind, shape in layers(base):
            name = f"{prefix[kind]}_{counts[kind]}"
            counts[kind] += 1
            names.append(name.encode())
            kinds.append(kind)
            shapes.append(shape)
            group = root.create_group(name)
            if shape is None:
                group.attrs["weight_names"] = []
                continue
            tensors = [f"{name}/kernel:0".encode(), f"{name}/bias:0".encode()]
            group.attrs["weight_names"] = np.array(tensors)
            for tensor, value in zip(tensors, next(pairs), strict=True):
                group[tensor.decode()] = value
        for place in {root, file}:
            place.attrs["keras_version"] = b"2.2.4"
            place.attrs["backend"] = b"tensorflow"
        root.attrs["layer_names"] = np.array(names)
        if whole:
            config = _config(names, kinds, shapes, swap_joins)
            file.attrs["model_config"] = json.dumps(config).encode()
            file.attrs["training_config"] = json.dumps(
                {"optimizer_config": {"class_name": "Adam"}, "loss": "dice_loss"}
            ).encode()
            slots = file.create_group("optimizer_weights")
            slot_names = [b"Adam/iterations:0"]
            slots["Adam/iterations:0"] = np.int64(96000)
            for number, value in enumerate(v for _ in range(2) for pair in weights for v in pair):
                slot = f"training/Adam/Variable_{number}:0"
                slots[slot] = np.zeros_like(value)
                slot_names.append(slot.encode())
            slots.attrs["weight_names"] = np.array(slot_names)


def _config(names, kinds, shapes, swap_joins):
    """A model_config with the custom activation and the inbound nodes of every layer."""
    content, skips = [], []
    last = block = repeated = None
    for name, kind, shape in zip((n.decode() for n in names), kinds, shapes, strict=True):
        config, sources = {"name": name}, [last]
        if kind == "InputLayer":
            sources = []
        elif kind == "Concatenate" and repeated is None:  # of the input, beside the first block
            sources, repeated = [block] * 8, name
        elif kind == "Concatenate":
            sources = [skips.pop(), last] if swap_joins else [last, skips.pop()]
        elif kind == "Add":
            sources = [last, block if skips else repeated]
        else:
            step = 2 if shape[0] == 2 else 1
            config |= {"activation": "selu", "padding": "same", "strides": [step] * 3}
            if kind == "Conv3D":
                config["dilation_rate"] = [1, 1, 1]
            if kind == "Conv3D" and step == 2:
                skips.append(last)
        inbound = [[[source, 0, 0, {}] for source in sources]] if sources else []
        content.append(
            {"name": name, "class_name": kind, "config": config, "inbound_nodes": inbound}
        )
        if name != repeated:
            last = name
        if kind in {"InputLayer", "Concatenate"} or (kind == "Conv3D" and shape[0] == 2):
            block = name
    content[-1]["config"]["activation"] = "sigmoid"
    return {"class_name": "Model", "config": {"name": "model_1", "layers": content}}
