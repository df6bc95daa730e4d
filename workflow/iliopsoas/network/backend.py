"""Keras as this package needs it, whatever the user's own settings are.

`prepare` runs before Keras is imported, by the package `iliopsoas.network`.
"""

import os
import platform
import sys

from iliopsoas import machine
from iliopsoas.status import InputError

DEFAULT = "tensorflow"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# Keras's switches for debugging: they would cut a training short
_DEBUGGING = ("KERAS_MAX_EPOCHS", "KERAS_MAX_STEPS_PER_EPOCH", "KERAS_NNX_ENABLED")


def prepare() -> None:
    """Import Keras with one set of settings.

    - ``KERAS_BACKEND`` decides what runs the network, TensorFlow by default. A ``keras.json`` of
      the user's is neither read nor written: it could exchange axes or narrow the arithmetic.
    - TensorFlow leaves its oneDNN kernels off on x86 processors without AVX512-VNNI, where the
      network then takes several times as long (benchmarks/network.md); they are turned on, unless
      ``TF_ENABLE_ONEDNN_OPTS`` is set.

    Raises
    ------
    InputError
        ``KERAS_BACKEND`` names what Keras does not know or what is not installed.
    """
    if not os.environ.get("KERAS_BACKEND"):
        os.environ["KERAS_BACKEND"] = DEFAULT
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault(ONEDNN, "1")
    if "keras" not in sys.modules:
        aside = {name: os.environ.pop(name, None) for name in ("KERAS_HOME", *_DEBUGGING)}
        os.environ["KERAS_HOME"] = os.devnull  # where no keras.json can be
        try:
            import keras
        except (ImportError, ValueError) as error:
            raise InputError(
                f"Keras cannot start on the backend {os.environ['KERAS_BACKEND']!r} (environment "
                f"variable KERAS_BACKEND; tensorflow by default): {error}"
            ) from error
        finally:
            del os.environ["KERAS_HOME"]
            os.environ.update({name: value for name, value in aside.items() if value is not None})
    import keras

    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")


def kernels() -> str:
    """What runs the network: backend, processor and, of TensorFlow, which kernels."""
    import keras

    name = keras.backend.backend()
    text = f"Keras {keras.__version__} on {name}, {machine.processor()}"
    if name != "tensorflow":
        return text
    asked = os.environ.get(ONEDNN)
    state = {"1": "on", "0": "off"}.get(asked, "as TensorFlow chooses")
    return f"{text}, oneDNN kernels {state} ({ONEDNN}={asked or ''})"
