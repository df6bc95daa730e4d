"""Weights files: the published layout written by hand, our own, and every wrong file."""

import hashlib
import json

import h5py
import numpy as np
import numpy_network
import pytest

from iliopsoas.network import architecture as network
from iliopsoas.network import weights
from iliopsoas.status import InputError

BASE = 2


def small():
    return network.build_network((16, 16, 32, 1), BASE, seed=1)


def probabilities(model, x):
    model.jit_compile = network.just_in_time()
    return np.asarray(model.predict_on_batch(x))


@pytest.fixture(scope="module")
def pairs():
    return numpy_network.random_weights(3, BASE)


@pytest.fixture
def keras_2(tmp_path, pairs):
    path = tmp_path / "iliopsoas_muscle_model.h5"
    numpy_network.write_keras_2(path, pairs, BASE)
    return path


@pytest.mark.parametrize(
    ("base", "options"),
    [(8, {}), (BASE, {"first_number": 24}), (BASE, {"whole": False})],
)
def test_published_layout_gives_the_same_probabilities(tmp_path, base, options):
    pairs = numpy_network.random_weights(3, base)
    path = tmp_path / "model.h5"
    numpy_network.write_keras_2(path, pairs, base, **options)
    model = network.build_network((16, 16, 32, 1), base)
    found = weights.load_published_weights(model, path)
    assert found == hashlib.sha256(path.read_bytes()).hexdigest()
    x = np.random.default_rng(0).random((1, 16, 16, 32, 1)).astype("float32")
    expected = numpy_network.forward(x[0].astype(float), pairs)
    np.testing.assert_allclose(probabilities(model, x)[0], expected, atol=1e-5)


def test_split_and_text_attributes_are_read(keras_2, pairs):
    """Keras 2 split long lists of names; newer h5py writes them as text."""
    with h5py.File(keras_2, "a") as file:
        group = file["model_weights"]
        names = [name.decode() for name in group.attrs["layer_names"]]
        del group.attrs["layer_names"]
        group.attrs["layer_names0"] = np.array(names[:20], dtype=h5py.string_dtype())
        group.attrs["layer_names1"] = np.array(names[20:], dtype=h5py.string_dtype())
    model = small()
    weights.load_published_weights(model, keras_2)
    np.testing.assert_array_equal(model.get_weights()[0], pairs[0][0])


def test_sha256_is_checked(keras_2):
    right = hashlib.sha256(keras_2.read_bytes()).hexdigest()
    assert weights.load_published_weights(small(), keras_2, right.upper()) == right
    with pytest.raises(InputError, match="found SHA-256"):
        weights.load_published_weights(small(), keras_2, weights.PUBLISHED_SHA256)


def damaged(keras_2, how):
    data = keras_2.read_bytes()
    if how == "truncated":
        keras_2.write_bytes(data[: len(data) // 2])
    elif how == "almost whole":
        keras_2.write_bytes(data[:-1])
    elif how == "web page":
        keras_2.write_bytes(b"\n<!DOCTYPE html><html><body>Not found</body></html>")
    elif how == "pointer":
        keras_2.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:b1001a8a\nsize 195752152\n"
        )
    elif how == "zip":
        keras_2.write_bytes(b"PK\x03\x04" + bytes(100))
    elif how == "empty":
        keras_2.write_bytes(b"")
    elif how == "pickle":
        keras_2.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    elif how == "absent":
        keras_2.unlink()
    elif how == "folder":
        keras_2.unlink()
        keras_2.mkdir()
    elif how == "linked":
        other = keras_2.rename(keras_2.with_name("other.h5"))
        with h5py.File(keras_2, "w") as file:
            file["model_weights"] = h5py.ExternalLink(str(other), "model_weights")
    elif how == "other content":
        with h5py.File(keras_2, "w") as file:
            file["a"] = 1
    else:
        with h5py.File(keras_2, "a") as file:
            group = file["model_weights"]
            kernel = group["conv3d_5/conv3d_5/kernel:0"]
            if how == "layer absent":
                del group["conv3d_7"]
            elif how == "array absent":
                del group["conv3d_7/conv3d_7/kernel:0"]
            elif how == "not finite":
                kernel[0, 0, 0, 0, 0] = np.nan
            elif how == "virtual":
                layout = h5py.VirtualLayout(kernel.shape, kernel.dtype)
                layout[...] = h5py.VirtualSource("outside.h5", "kernel", kernel.shape)
                del group["conv3d_5/conv3d_5/kernel:0"]
                group.create_virtual_dataset("conv3d_5/conv3d_5/kernel:0", layout)
            elif how == "kernels transposed":
                for name in [name for name in group if "transpose" in name]:
                    turned = np.swapaxes(group[f"{name}/{name}/kernel:0"][()], 3, 4)
                    del group[f"{name}/{name}/kernel:0"]
                    group[f"{name}/{name}/kernel:0"] = turned
            else:
                outside = keras_2.with_name("outside.h5")
                with h5py.File(outside, "w") as other:
                    other["kernel"] = kernel[()]
                del group["conv3d_5/conv3d_5/kernel:0"]
                link = h5py.ExternalLink(str(outside), "kernel")
                group["conv3d_5/conv3d_5/kernel:0"] = link


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("truncated", "truncated or damaged"),
        ("almost whole", "truncated or damaged"),
        ("web page", "web page"),
        ("pointer", "Git LFS pointer"),
        ("zip", "zip archive"),
        ("empty", "empty file"),
        ("pickle", "expected HDF5"),
        ("absent", "does not exist"),
        ("other content", "layer_names"),
        ("layer absent", "damaged"),
        ("array absent", "damaged"),
        ("not finite", "not finite"),
        ("link out of the file", "link out of it"),
        ("linked", "link out of it"),
        ("virtual", "of this file"),
        ("folder", "is a folder"),
        ("kernels transposed", "another network"),
    ],
)
def test_damaged_files_are_refused_and_change_nothing(keras_2, how, told):
    damaged(keras_2, how)
    model = small()
    before = [np.array(value) for value in model.get_weights()]
    with pytest.raises(InputError, match=told) as refusal:
        weights.load_published_weights(model, keras_2)
    assert "weights" in str(refusal.value)
    if how in {"web page", "pointer", "truncated", "absent"}:
        assert "git lfs pull" in str(refusal.value)  # what to do
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("base", "variant", "told"), [(4, "published", "has shape"), (BASE, "paper", "found 62 arrays")]
)
def test_other_architectures_are_refused(keras_2, base, variant, told):
    model = network.build_network((16, 16, 32, 1), base, variant)
    with pytest.raises(InputError, match=f"{told}.*another network"):
        weights.load_published_weights(model, keras_2)


def test_other_order_of_concatenation_is_refused(tmp_path, pairs):
    path = tmp_path / "model.h5"
    numpy_network.write_keras_2(path, pairs, BASE, swap_joins=True)
    with pytest.raises(InputError, match="concatenates"):
        weights.load_published_weights(small(), path)


def described(path, change):
    """Change the description of the graph in a file."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            change(layer["name"], layer["config"])
        file.attrs["model_config"] = json.dumps(config)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [("activation", "relu", "activation relu"), ("dilation_rate", [2, 2, 2], "dilated")],
)
def test_same_shapes_of_another_network_are_refused(keras_2, key, value, told):
    def change(name, config):
        if name == "conv3d_7":
            config[key] = value

    described(keras_2, change)
    with pytest.raises(InputError, match=f"{told}.*conv3d_7.*masks would be wrong"):
        weights.load_published_weights(small(), keras_2)


def test_a_list_of_names_in_another_order_is_put_right_by_the_graph(keras_2, pairs):
    """Layers of one block have the same shapes: in a wrong order they would load silently."""
    with h5py.File(keras_2, "a") as file:
        group = file["model_weights"]
        names = sorted(group.attrs["layer_names"])  # conv3d_1, conv3d_10, ...
        group.attrs["layer_names"] = np.array(names)
    model = small()
    weights.load_published_weights(model, keras_2)
    for found, pair in zip(network.weighted_layers(model), pairs, strict=True):
        np.testing.assert_array_equal(found.get_weights()[0], pair[0])


def test_a_description_that_says_nothing_is_passed_over(keras_2, pairs):
    for text in ("null", "{", '{"config": {"layers": [{"class_name": "Conv3D"}]}}', "[1]"):
        with h5py.File(keras_2, "a") as file:
            file.attrs["model_config"] = text
        model = small()
        weights.load_published_weights(model, keras_2)
        np.testing.assert_array_equal(model.get_weights()[0], pairs[0][0])


def test_file_that_an_unfinished_training_leaves_is_told(tmp_path):
    path = tmp_path / "best.h5"
    weights.write_arrays(path, small())
    with pytest.raises(InputError, match=r"does not say its input_shape.*best\.h5"):
        weights.open_model(path)


def test_own_file_comes_back(tmp_path):
    path = tmp_path / "model.h5"
    model = small()
    description = {
        "input_shape": [16, 16, 32, 1],
        "base_filters": BASE,
        "variant": "published",
        "coarsen": 2,
    }
    weights.save_weights(path, model, description)
    back, told = weights.open_model(path)
    x = np.random.default_rng(0).random((1, 16, 16, 32, 1)).astype("float32")
    np.testing.assert_array_equal(probabilities(back, x), probabilities(model, x))
    assert told["coarsen"] == 2
    assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="open_model"):
        weights.load_published_weights(model, path)
    with pytest.raises(InputError, match="SHA-256"):
        weights.open_model(path, "0" * 64)


def test_own_file_damaged(tmp_path):
    path = tmp_path / "model.h5"
    shape = {"input_shape": [16, 16, 32, 1], "base_filters": BASE, "variant": "published"}
    weights.save_weights(path, small(), shape)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 1000])
    with pytest.raises(InputError, match="truncated"):
        weights.open_model(path)
    with pytest.raises(ValueError, match="lacks"):
        weights.save_weights(path, small(), {"variant": "published"})


def test_published_file_opens_without_a_description(tmp_path):
    path = tmp_path / "published.h5"
    numpy_network.write_keras_2(path, numpy_network.random_weights(0), 8)
    model, told = weights.open_model(path)
    assert model.count_params() == 16_294_331
    assert told["format"] == "keras-hdf5"
    assert told["coarsen"] == 1
