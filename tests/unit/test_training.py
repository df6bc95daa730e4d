"""Training: losses, folds, checkpoints and resume, on crops of 16 x 16 x 16 voxels."""

import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from iliopsoas import files
from iliopsoas.crops import Crops, CropWriter
from iliopsoas.network import architecture as network
from iliopsoas.network import training, weights
from iliopsoas.network.training import Recipe, TrainingSet, checkpoint, folds, loop, losses
from iliopsoas.network.training.progress import EpochProgress
from iliopsoas.network.training.recipe import rate_at
from iliopsoas.network.training.samples import Batches
from iliopsoas.status import InputError

keras = loop.keras  # as the package imports it
SMALL = Recipe(
    epochs=4, batch_size=2, learning_rate=1e-3, samples_per_muscle=2, base_filters=1, seed=3
)


def blobs(n=3, size=16, seed=0):
    """Bright boxes on noise, and their masks."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for _ in range(n):
        label = np.zeros((size,) * 3, "uint8")
        start = rng.integers(2, 6, 3)
        label[tuple(slice(s, s + 8) for s in start)] = 1
        images.append((0.2 * rng.random(label.shape) + 0.7 * label).astype("float32"))
        labels.append(label)
    return images, labels


def logit(p):
    p = np.clip(np.asarray(p, "float64"), 1e-12, 1 - 1e-12)
    return np.log(p / (1 - p)).astype("float32")


def test_dice_loss_by_hand():
    g = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], "float32")
    x = logit([[0.5, 1, 0.5, 0], [0, 0, 0, 0]])
    found = np.asarray(losses.dice_loss(g, x))
    # 2 (0.5 + 1) / (0.25 + 1 + 0.25 + 2)
    np.testing.assert_allclose(found, [1 - 3 / 3.5, 0], atol=1e-5)
    both = np.asarray(losses.dice_cross_entropy_loss(g, x))
    np.testing.assert_allclose(both - found, [-2 * np.log(0.5) / 4, 0], atol=1e-5)
    np.testing.assert_allclose(np.asarray(losses.dice(g, x)), [0.8, 1], atol=1e-5)


def test_losses_are_finite_where_probabilities_are_saturated():
    g = np.array([[1, 0]], "float32")
    wrong = np.array([[-200, 200]], "float32")
    assert float(losses.dice_loss(g, wrong)[0]) == pytest.approx(1, abs=1e-5)
    assert float(losses.dice_cross_entropy_loss(g, wrong)[0]) == pytest.approx(201, rel=1e-5)


def test_dice_loss_is_least_at_the_shares_themselves():
    shares = np.random.default_rng(0).random((1, 50))
    target = shares.astype("float32")
    best = float(losses.dice_loss(target, logit(shares))[0])
    assert best == pytest.approx(0, abs=1e-5)
    assert float(losses.dice_loss(target, logit(shares * 0.9))[0]) > best + 1e-3


def people(n=90):
    return pd.DataFrame(
        {"eid": [str(1000000 + i) for i in range(n)], "sex": ["female", "male"] * (n // 2)}
    )


def test_folds_are_whole_participants_of_both_sexes():
    table = people()
    fold = folds(table, 6, seed=1)
    counts = pd.crosstab(fold, table["sex"])
    assert sorted(fold.unique()) == [1, 2, 3, 4, 5, 6]
    assert (counts.sum(axis=1) == 15).all()
    assert counts.to_numpy().min() >= 7
    visits = pd.concat([table, table.iloc[:10]], ignore_index=True)
    twice = folds(visits, 6, seed=1)
    assert twice.groupby(visits["eid"]).nunique().max() == 1


def test_folds_do_not_depend_on_the_order_of_rows():
    table = people()
    shuffled = table.sample(frac=1, random_state=5)
    again = folds(shuffled, 6, seed=1)
    pd.testing.assert_series_equal(again.sort_index(), folds(table, 6, seed=1))
    assert (folds(table, 6, seed=2) != folds(table, 6, seed=1)).any()
    with pytest.raises(InputError, match=r"found 4; lower training\.folds"):
        folds(people(4), 6, seed=1)
    with pytest.raises(InputError, match="found 1; annotate more"):
        folds(people(2).iloc[:1], 2, seed=1)


def test_an_epoch_takes_every_sample_once():
    images, labels = blobs(3)
    recipe = replace(SMALL, samples_per_muscle=4, batch_size=5)
    batches = Batches(images, labels, [0, 2], recipe)
    sizes = [len(transforms) for _, _, transforms in batches.batches(1)]
    assert sizes == [5, 3]
    assert batches.steps == 2
    first, again = ([t for *_, ts in batches.batches(1) for t in ts] for _ in range(2))
    assert first == again
    later = [t for *_, ts in batches.batches(2) for t in ts]
    assert later != first
    assert set(later) == set(first)  # other order, the same samples
    fresh = Batches(images, labels, [0, 2], replace(recipe, on_the_fly=True))
    assert not set(first) & {t for *_, ts in fresh.batches(2) for t in ts}


def test_schedules():
    constant, cosine = Recipe(), Recipe(schedule="cosine")
    assert {rate_at(step, 100, constant) for step in range(100)} == {1e-4}
    rates = [rate_at(step, 100, cosine) for step in range(100)]
    assert max(rates) == pytest.approx(1e-4)
    assert rates[0] == pytest.approx(2e-5)
    assert rates[-1] < 1e-6
    assert all(a > b for a, b in itertools.pairwise(rates[5:]))
    with pytest.raises(InputError, match="schedule"):
        Recipe(schedule="step")


def equal(first, second) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    images, labels = blobs()
    owners = [("1000001", "2"), ("1000001", "2"), ("1000002", "2")]
    recipe = replace(SMALL, on_the_fly=True, schedule="cosine")
    model = training.train(
        images, labels, folder, recipe, indices=[0, 1, 2], participants=owners, what="fold 1"
    )
    return folder, model, recipe


def test_training_learns_and_leaves_its_files(uninterrupted):
    folder, model, recipe = uninterrupted
    log = pd.read_csv(folder / "log.csv")
    assert log["epoch"].tolist() == [1, 2, 3, 4]
    assert log["loss"].iloc[-1] < log["loss"].iloc[0]
    assert {path.name for path in folder.iterdir()} == {
        "log.csv",
        "loss.png",
        "model.h5",
        "model.json",
        "participants.tsv",
    }
    loaded, told = weights.open_model(folder / "model.h5")
    assert equal(loaded, model)
    assert told["recipe"]["learning_rate"] == recipe.learning_rate
    assert "1000001" not in (folder / "model.json").read_text()
    assert training.trained_on(folder, [1000002, "1000009"]) == ["1000002"]


def test_killed_training_ends_at_the_same_weights(uninterrupted, tmp_path, monkeypatch):
    _, whole, recipe = uninterrupted
    images, labels = blobs()
    steps = []

    def killed(self, epoch, logs):
        steps.append(epoch)
        if epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EpochProgress, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            training.train(images, labels, tmp_path, recipe)
    assert not (tmp_path / "model.h5").exists()
    assert list(pd.read_csv(tmp_path / "log.csv")["epoch"]) == [1, 2]

    seen = []
    with monkeypatch.context() as patch:
        patch.setattr(EpochProgress, "step", lambda self, epoch, logs: seen.append(epoch))
        resumed = training.train(images, labels, tmp_path, recipe)
    assert min(seen) == 3  # at most one epoch was lost
    assert equal(resumed, whole)
    assert not (tmp_path / "checkpoint.h5").exists()

    def not_again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(loop, "_epoch", not_again)
    assert equal(training.train(images, labels, tmp_path, recipe), whole)

    lost = {name: (tmp_path / name).read_bytes() for name in ("model.json", "loss.png")}
    for name in lost:  # Snakemake asks for a training whose outputs are not all there
        (tmp_path / name).unlink()
    training.train(images, labels, tmp_path, recipe)
    assert {name: (tmp_path / name).read_bytes() for name in lost} == lost


def test_a_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "checkpoint.h5"
    checkpoint.save(path, model, "a", [{"epoch": 1}])
    kept = path.read_bytes()

    create = h5py.Group.create_dataset

    def disk_full(self, name, *arguments, **options):
        if name.startswith("optimizer"):
            raise OSError(28, "No space left on device")
        return create(self, name, *arguments, **options)

    monkeypatch.setattr(h5py.Group, "create_dataset", disk_full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(path, model, "a", [{"epoch": 2}])
    assert path.read_bytes() == kept
    assert [item.name for item in tmp_path.iterdir()] == ["checkpoint.h5"]
    assert checkpoint.restore(path, model, "a") == [{"epoch": 1}]
    assert checkpoint.restore(path, model, "other training") == []
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    other.compile(keras.optimizers.SGD(momentum=0.9), "mse")  # as of another Keras
    other.optimizer.build(other.trainable_variables)
    before = other.get_weights()
    assert checkpoint.restore(path, other, "a") == []
    assert all(np.array_equal(a, b) for a, b in zip(before, other.get_weights(), strict=True))
    path.write_bytes(kept[:-10])
    assert checkpoint.restore(path, model, "a") == []


KILLED = """
import os, signal, sys
import h5py
from dataclasses import replace
from test_training import SMALL, blobs
from iliopsoas.network import training

create, count = h5py.Group.create_dataset, 0

def killed(self, name, *arguments, **options):
    global count
    count += name == "optimizer/005"
    if count == 2:
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return create(self, name, *arguments, **options)

h5py.Group.create_dataset = killed
training.train(*blobs(), sys.argv[1], replace(SMALL, on_the_fly=True, schedule="cosine"))
"""


def test_killed_while_a_checkpoint_is_written(uninterrupted, tmp_path):
    """Kill -9 in the middle of the second checkpoint: the first one is gone on from."""
    _, whole, recipe = uninterrupted
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    assert done.returncode == -signal.SIGKILL
    names = {path.name for path in tmp_path.iterdir()}
    assert {"checkpoint.h5", "log.csv"} < names
    assert [name for name in names if name.startswith(".partial-")]
    resumed = training.train(*blobs(), tmp_path, recipe)
    assert equal(resumed, whole)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_network_that_predicts_nothing_any_more_is_told_once(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(
        loop, "_epoch", lambda *_: {"loss": 1.0, "dice": dices.pop(0), "learning_rate": 1e-4}
    )
    caplog.set_level("WARNING", logger="iliopsoas")
    for given, told in (
        ([0.2, 0.0, 0.001, 0.0, 0.0, 0.0], 1),
        ([0.0, 0.0, 0.3, 0.0, 0.0, 0.4], 0),
    ):
        dices = list(given)
        caplog.clear()
        training.train(*blobs(1), tmp_path / str(told), replace(SMALL, epochs=6))
        assert caplog.text.count("next to nothing") == told


def test_divergence_is_told_and_leaves_no_model(tmp_path):
    images, labels = blobs(1)
    images[0][0, 0, 0] = np.nan
    with pytest.raises(training.Diverged, match="learning_rate"):
        training.train(images, labels, tmp_path, replace(SMALL, epochs=1))
    assert not (tmp_path / "model.h5").exists()
    with pytest.raises(InputError, match="no annotated crop"):
        training.train([], [], tmp_path, SMALL)


def test_weights_that_are_not_finite_are_not_kept(tmp_path, monkeypatch):
    """A step may spoil the weights although its loss was still finite."""
    epoch = loop._epoch

    def spoiled(model, *rest):
        row = epoch(model, *rest)
        kernel = model.weights[0]
        kernel.assign(np.full(kernel.shape, np.nan, "float32"))
        return row

    monkeypatch.setattr(loop, "_epoch", spoiled)
    with pytest.raises(training.Diverged, match="a weight is not finite"):
        training.train(*blobs(1), tmp_path, replace(SMALL, epochs=1))
    assert list(tmp_path.iterdir()) == []  # neither a model nor a checkpoint to go on from


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 3221225472 bytes"),
        type("ResourceExhaustedError", (Exception,), {})("failed at node gradient"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA: Tried to allocate 2.00 GiB"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_too_little_memory_for_a_step_is_told(tmp_path, monkeypatch, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(loop, "_epoch", fails)
    with pytest.raises(InputError, match=r"2 crops of 16 x 16 x 16.*training\.batch_size"):
        training.train(*blobs(1), tmp_path, SMALL)


def test_float16_gradients_do_not_vanish(tmp_path, monkeypatch):
    """Gradients of the size that crops of the published size have."""
    monkeypatch.setitem(losses.LOSSES, "dice", lambda g, x: 1e-6 * losses.dice_loss(g, x))
    before = network.build_network((16, 16, 16, 1), 1, seed=SMALL.seed).get_weights()
    moved = {}
    for precision in ("float32", "float16"):
        recipe = replace(SMALL, epochs=1, precision=precision)
        after = training.train(*blobs(1), tmp_path / precision, recipe).get_weights()
        assert {value.dtype.name for value in after} == {"float32"}
        moved[precision] = np.concatenate(
            [(a != b).ravel() for a, b in zip(before, after, strict=True)]
        )
    assert moved["float32"].mean() > 0.01  # the deepest kernels see little but padding
    assert (moved["float16"] & moved["float32"]).sum() > 0.95 * moved["float32"].sum()


def test_early_stop_and_best_epoch(tmp_path, monkeypatch):
    images, labels = blobs(2)
    losses_seen = iter([0.5, 0.3, 0.4, 0.45, 0.2, 0.1])
    monkeypatch.setattr(
        loop, "_epoch", lambda *_: {"loss": 0.5, "dice": 0.5, "learning_rate": 1e-3}
    )
    monkeypatch.setattr(
        loop,
        "_validate",
        lambda *_: {"validation_loss": next(losses_seen), "validation_dice": 0.5},
    )
    recipe = replace(SMALL, epochs=6, early_stop=2)
    training.train(images, labels, tmp_path, recipe, indices=[0], validation=[1])
    assert len(pd.read_csv(tmp_path / "log.csv")) == 4  # two epochs without a lower loss
    history = [{"loss": value} for value in (0.5, np.nan, 0.4, 0.45)]
    assert not loop._has_stopped(history, recipe)  # what is no number is not the least
    with pytest.raises(ValueError, match="both trained"):
        training.train(images, labels, tmp_path, recipe, indices=[0], validation=[0])


@pytest.mark.slow
def test_sweep_names_the_rate_that_diverges(tmp_path):
    images, labels = blobs(2)
    table = training.sweep(
        images,
        labels,
        tmp_path,
        replace(SMALL, epochs=2, schedule="cosine"),
        rates=(1e30, 1e-3),
        indices=[0],
        validation=[1],
    )
    assert table["status"].tolist() == ["diverged", "ok"]
    assert np.isnan(table["validation_dice"][0])
    assert np.isfinite(table["validation_dice"][1])
    assert table["learning_rate"].tolist() == [1e30, 1e-3]  # not what the schedule ended at
    assert table["epochs"][1] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    # bfloat16 is left to GPUs: oneDNN's gradients on CPUs were not finite (TensorFlow 2.20)
    [{"loss": "dice+cross-entropy", "clip_norm": 1.0, "initialisation": "lecun"}],
)
def test_options_train(tmp_path, options):
    images, labels = blobs(2)
    recipe = replace(SMALL, epochs=2, **options)
    model = training.train(images, labels, tmp_path, recipe)
    assert all(np.isfinite(value).all() for value in model.get_weights())
    assert {value.dtype.name for value in model.get_weights()} == {"float32"}


def test_training_set_reads_both_sides_of_the_annotated(tmp_path):
    rng = np.random.default_rng(0)
    raw = {side: rng.integers(1, 500, (96, 96, 192)).astype("int16") for side in ("left", "right")}
    label = {side: (array > 400).astype("uint8") for side, array in raw.items()}
    crops = [
        Crops(raw, dict.fromkeys(raw, 400.0), dict.fromkeys(raw, (0, 0, 0)), given)
        for given in (label, None)
    ]
    path = tmp_path / "crops.h5"
    with CropWriter(path) as writer:
        writer.add("1000001_2", crops[0])
        writer.add("1000002_3", crops[1])
    from iliopsoas.crops import CropReader

    data = TrainingSet(CropReader(path), factor=2)
    assert data.owners == [("1000001", "2")] * 2
    assert data.indices(["1000001_2"]) == [0, 1]
    assert data.images[0].shape == (48, 48, 96)
    assert data.images[0].dtype == np.float32
    block = label["right"][2:4, 4:6, 6:8]
    assert data.labels[1][1, 2, 3] == pytest.approx(block.mean())
    assert data.images[0] is data.images[0]  # kept in memory


def test_progress_without_a_terminal_is_log_lines(caplog):
    caplog.set_level("INFO", logger="iliopsoas")
    with EpochProgress("fold 1", epochs=2, done=0, steps=1, every_s=0) as progress:
        progress.step(1, {"loss": 0.5, "dice": 0.25})
    assert "fold 1: epoch 1 of 2, loss 0.5000, Dice 0.2500" in caplog.text
    assert "min left" in caplog.text
    assert files.KEY == ["eid", "instance"]
