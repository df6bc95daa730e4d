"""The segmentation network: a V-Net-like convolutional network of one muscle's crop.

Architecture: paper, Methods ("Model"), and the authors' code (recoh/iliopsoas_muscle,
MIT). The two differ in four places, see `build_network`. Written against the Keras 3
API alone; ``KERAS_BACKEND`` decides what runs it.
"""

from itertools import count

import keras

from iliopsoas.status import InputError

CROP_SHAPE = (96, 96, 192)
DIVISOR = 16  # four halvings
VARIANTS = ("published", "paper")
INITIALISATIONS = {
    "he": keras.initializers.HeNormal,
    "lecun": keras.initializers.LecunNormal,
}
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def build_network(
    input_shape=(*CROP_SHAPE, 1),
    base_filters: int = 8,
    variant: str = "published",
    precision: str = "float32",
    seed: int | None = None,
    initialisation: str = "he",
) -> keras.Model:
    """The network, with random weights.

    Parameters
    ----------
    input_shape : tuple of int
        x, y, z, channels of a crop; x, y, z divisible by 16. The first block adds the
        input, repeated, to its convolution, so `base_filters` must be a multiple of
        the channels.
    base_filters : int
        Filters of the first convolution; 8 as published. All others follow in proportion.
    variant : {"published", "paper"}
        ``"published"``: the authors' code, 16,294,331 parameters at the default sizes;
        published weights need it. ``"paper"``: the paper's notation taken literally:
        the convolutions of D_{i,m} have m filters (code: m/2), the last expanding block
        is U_{3,32} (code: two convolutions), and one final 1^3 convolution makes the
        probability (code: one with SELU, then one). Where a block then changes the
        number of channels, a linear 1^3 convolution brings its input to the sum; the
        paper does not say how.
    precision : {"float32", "bfloat16", "float16"}
        Type of the arithmetic; weights and output stay float32.
    seed : int, optional
        Seed of the initial weights.
    initialisation : {"he", "lecun"}
        He-normal as published, or LeCun-normal, half the variance, which keeps the
        signals of SELU networks at unit variance (Klambauer et al. 2017).

    Returns
    -------
    keras.Model
        Input (n, x, y, z, channels) normalised water signal; output (n, x, y, z, 1)
        probability of muscle, float32. In concatenations the upsampled features come
        first, the skipped ones second.

    Raises
    ------
    InputError
        Where a size cannot be built.
    """
    _check(input_shape, base_filters, variant, precision, initialisation)
    f = base_filters
    policy = PRECISIONS[precision]
    seeds = count(0 if seed is None else seed * 1000)

    def conv(x, filters, size, strides=1, activation="selu", transposed=False, dtype=policy):
        layer = keras.layers.Conv3DTranspose if transposed else keras.layers.Conv3D
        start = INITIALISATIONS[initialisation](None if seed is None else next(seeds))
        return layer(
            filters,
            size,
            strides=strides,
            padding="same",
            activation=activation,
            kernel_initializer=start,
            dtype=dtype,
        )(x)

    def add(x, shortcut):
        if x.shape[-1] != shortcut.shape[-1]:
            shortcut = conv(shortcut, x.shape[-1], 1, activation=None)
        return keras.layers.Add(dtype=policy)([x, shortcut])

    def concatenate(parts):
        return keras.layers.Concatenate(dtype=policy)(parts)

    def residual(x, convolutions, filters):
        block = x
        for _ in range(convolutions):
            block = conv(block, filters, 5)
        return add(block, x)

    literal = variant == "paper"
    inputs = keras.Input(input_shape, name="crop")
    x = conv(inputs, f, 5)
    channels = input_shape[-1]
    repeated = inputs if channels == f else concatenate([inputs] * (f // channels))
    skips = [add(x, repeated)]  # block I
    x = conv(skips[-1], 2 * f, 2, strides=2)
    for convolutions, m in ((2, 4 * f), (3, 8 * f), (3, 16 * f)):  # blocks D
        skips.append(residual(x, convolutions, m if literal else m // 2))
        x = conv(skips[-1], m, 2, strides=2)
    x = residual(x, 3, 16 * f)  # block L
    x = conv(x, 8 * f, 2, strides=2, transposed=True)
    for convolutions, n in ((3, 16 * f), (3, 8 * f), (3 if literal else 2, 4 * f)):  # blocks U
        x = residual(concatenate([x, skips.pop()]), convolutions, n)
        x = conv(x, n // 4, 2, strides=2, transposed=True)
    x = residual(concatenate([x, skips.pop()]), 1, 2 * f)  # block F
    if not literal:
        x = conv(x, 1, 1)
    x = conv(x, 1, 1, activation=None, dtype="float32")
    x = keras.layers.Activation("sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(inputs, x, name=f"iliopsoas_{variant}")


def _check(input_shape, base_filters, variant, precision, initialisation):
    if len(input_shape) != 4 or any(n < DIVISOR or n % DIVISOR for n in input_shape[:3]):
        raise InputError(
            f"network: input shape {tuple(input_shape)} cannot be built; expected x, y, z, "
            f"channels with x, y and z multiples of {DIVISOR}, because the network halves four "
            "times (crops of 96 x 96 x 192 may be coarsened by 1, 2 or 3)"
        )
    if base_filters < 1 or base_filters % input_shape[-1]:
        raise InputError(
            f"network: base_filters {base_filters}; expected a multiple of the input's "
            f"{input_shape[-1]} channels"
        )
    for name, value, allowed in (
        ("variant", variant, VARIANTS),
        ("precision", precision, PRECISIONS),
        ("initialisation", initialisation, INITIALISATIONS),
    ):
        if value not in allowed:
            raise InputError(f"network: {name} {value!r}; expected one of {', '.join(allowed)}")


def logits(model: keras.Model) -> keras.Model:
    """The same network, sharing its weights, before the sigmoid: what training works on.

    A probability that is 0 or 1 in float32 has no gradient left; its logit has.
    """
    return keras.Model(model.input, model.get_layer("probability").input)


def weighted_layers(model: keras.Model) -> list:
    """Layers that have weights, in topological order (input to output).

    The convolutions form a chain, each needing the one before, so this order is unique
    in the published variant and the same in every version of Keras.
    """
    return [layer for layer in model.layers if layer.weights]


def forward_gflop(model: keras.Model) -> dict[str, float]:
    """Floating-point operations (10^9, multiply and add counted apart) per layer and crop."""
    work = {}
    for layer in weighted_layers(model):
        kernel = layer.kernel.shape
        places = layer.input if len(kernel) == 5 and "Transpose" in type(layer).__name__ else None
        voxels = (places if places is not None else layer.output).shape[1:4]
        size = 2.0 * voxels[0] * voxels[1] * voxels[2]
        for n in kernel:
            size *= n
        work[layer.name] = size / 1e9
    return work


_OUT_OF_MEMORY = (
    *("out of memory", "outofmemory", "resource exhausted", "resource_exhausted"),
    *("resourceexhausted", "oom when", "alloc_failed", "failed to allocate", "bad_alloc"),
    *("can't allocate memory", "not enough memory"),
    "no algorithm worked",  # cuDNN found no room for any algorithm's workspace
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a backend, whichever it is, or NumPy says that memory does not suffice."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY)


def just_in_time() -> bool:
    """Whether Keras should compile with XLA: where the backend is slow without it.

    On a CPU, TensorFlow's own kernels (oneDNN) run this network about eleven times as
    fast as XLA's (benchmarks/network.md), yet Keras's default is XLA.
    """
    return keras.backend.backend() == "jax"
