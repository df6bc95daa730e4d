"""The network against a plain NumPy forward pass and the published numbers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy_network
import pytest

from iliopsoas.network import architecture as network
from iliopsoas.status import InputError


@pytest.fixture(scope="module")
def published():
    return network.build_network()


def test_published_number_of_parameters(published):
    assert published.count_params() == 16_294_331
    assert published.input_shape == (None, 96, 96, 192, 1)
    assert published.output_shape == (None, 96, 96, 192, 1)


def test_published_work_per_crop(published):
    assert sum(network.forward_gflop(published).values()) == pytest.approx(425, abs=1)


def test_shapes_are_those_of_the_table(published):
    found = [tuple(layer.kernel.shape) for layer in network.weighted_layers(published)]
    assert found == [shape for _, shape in numpy_network.layers() if shape]


@pytest.mark.parametrize("base", [8, 4, 3])
def test_equals_plain_numpy(base):
    weights = numpy_network.random_weights(base, base)
    model = network.build_network((16, 32, 48, 1), base)
    model.set_weights([array for pair in weights for array in pair])
    model.jit_compile = network.just_in_time()
    x = np.random.default_rng(1).random((2, 16, 32, 48, 1)).astype("float32")
    found = np.asarray(model.predict_on_batch(x))
    expected = np.stack([numpy_network.forward(one.astype(float), weights) for one in x])
    assert expected.std() > 0.01  # a constant output would prove nothing
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_paper_variant_has_the_papers_filters():
    model = network.build_network((16, 16, 16, 1), 8, "paper")
    five = [
        tuple(layer.kernel.shape)[3:]
        for layer in network.weighted_layers(model)
        if layer.kernel_size == (5, 5, 5)
    ]
    down = [out for _, out in five[1:9]]
    assert down == [32] * 2 + [64] * 3 + [128] * 3  # D_{2,32}, D_{3,64}, D_{3,128}
    up = [out for _, out in five[12:-1]]
    assert up == [128] * 3 + [64] * 3 + [32] * 3  # U_{3,128}, U_{3,64}, U_{3,32}
    ones = [layer for layer in network.weighted_layers(model) if layer.kernel_size == (1, 1, 1)]
    assert [layer.filters for layer in ones].count(1) == 1  # one final convolution


def test_logits_share_the_weights():
    model = network.build_network((16, 16, 16, 1), 1, seed=1)
    before = network.logits(model)
    model.jit_compile = before.jit_compile = network.just_in_time()
    x = np.random.default_rng(0).random((1, 16, 16, 16, 1)).astype("float32")
    expected = 1 / (1 + np.exp(-np.asarray(before.predict_on_batch(x), "float64")))
    np.testing.assert_allclose(np.asarray(model.predict_on_batch(x)), expected, atol=1e-6)
    assert all(a is b for a, b in zip(model.weights, before.weights, strict=True))


def test_lecun_is_half_the_variance():
    he, lecun = (
        network.build_network((16, 16, 16, 1), 2, seed=1, initialisation=name).get_weights()
        for name in ("he", "lecun")
    )
    largest = max(range(len(he)), key=lambda i: he[i].size)
    assert lecun[largest].var() / he[largest].var() == pytest.approx(0.5, rel=0.05)


def test_same_seed_same_weights():
    first, second, other = (
        network.build_network((16, 16, 16, 1), 1, seed=seed).get_weights() for seed in (1, 1, 2)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], other[0])
    # He-normal: variance 2 / inputs; the widest layer has 16 x 5^3 inputs
    assert max(first, key=np.size).std() == pytest.approx(np.sqrt(2 / 2000), rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"input_shape": (40, 48, 96, 1)}, "multiples of 16"),
        ({"input_shape": (0, 48, 96, 1)}, "multiples of 16"),
        ({"base_filters": 0}, "base_filters 0"),
        ({"input_shape": (16, 16, 16, 2), "base_filters": 3}, "2 channels"),
        ({"variant": "v2"}, "v2"),
        ({"precision": "float64"}, "float64"),
    ],
)
def test_impossible_networks_are_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        network.build_network(**arguments)


SCRIPT = """
import sys, numpy as np, numpy_network
from iliopsoas.network import architecture as network
model = network.build_network((32, 32, 32, 1), 4)
model.set_weights([a for pair in numpy_network.random_weights(5, 4) for a in pair])
model.jit_compile = network.just_in_time()
x = np.random.default_rng(2).random((1, 32, 32, 32, 1)).astype("float32")
np.save(sys.argv[1], np.asarray(model.predict_on_batch(x)))
"""


@pytest.mark.backend
@pytest.mark.parametrize("other", ["jax", "torch"])
def test_backends_agree(other, tmp_path):
    """TensorFlow and another backend give the same probabilities on a fixed input."""
    here = Path(__file__).parent
    python = os.environ.get(f"PYTHON_{other.upper()}", sys.executable)
    there = f"from importlib.util import find_spec; assert find_spec('{other}')"
    if subprocess.run([python, "-c", there], capture_output=True).returncode:
        pytest.skip(f"{other} is not installed: backends not compared")
    paths = [str(here), str(Path(network.__file__).parents[1])]
    found = []
    for backend, program in (("tensorflow", sys.executable), (other, python)):
        subprocess.run(
            [program, "-c", SCRIPT, str(tmp_path / backend)],
            check=True,
            env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(paths)},
        )
        found.append(np.load(tmp_path / f"{backend}.npy"))
    assert found[0].std() > 0.01
    np.testing.assert_allclose(*found, atol=1e-4)
