"""How fast the network is here: matrix products, forward pass, training step, zip-free pipeline.

    python benchmarks/network.py [--participants 2] [--precision float32] [--no-xla]
    python benchmarks/network.py --kernels     TensorFlow's own kernels against oneDNN's, no more

Prints tables in Markdown; every number is measured in this one run. The baseline does what
the published notebook does: one participant after another, load, predict, write. Inputs are
noise of the right size, since no time depends on the content.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import nibabel as nib
import numpy as np
import psutil
from scipy import ndimage

from iliopsoas import crops, files, grid
from iliopsoas.crops import CropReader, Crops, CropWriter
from iliopsoas.network import architecture as network
from iliopsoas.network import backend, segmentation
from iliopsoas.network.training import Recipe, loop

keras = network.keras  # as the package imports it
LANDMARKS = {"1": (60, 80, 350), "2": (170, 80, 350), "11": (70, 80, 160), "12": (150, 80, 160)}
TRAINING_SAMPLES = 2880 * 100  # the paper's training of one model


def seconds(work, repeats: int = 3) -> float:
    """Median wall-clock time of `work`, after one call that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def matrix_gflops(dtype: str, n: int) -> float:
    """Rate of a square matrix product in 10^9 operations per second."""
    a = keras.ops.cast(np.random.default_rng(0).random((n, n)), dtype)

    def work():
        product = keras.ops.matmul(a, a)
        return float(keras.ops.cast(product[0, 0], "float32"))  # waits for the device

    return 2e-9 * n**3 / seconds(work)


def row(*cells) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(title: str, *cells) -> None:
    print(f"\n## {title}\n")
    row(*cells)
    row(*["---"] * len(cells))


def convolution_rates() -> dict[int, float]:
    """10^9 operations per second of 5 x 5 x 5 convolutions, by channels."""
    rates = {}
    for channels, size in {
        8: (96, 96, 96),
        16: (48, 48, 96),
        32: (24, 48, 48),
        64: (24,) * 3,
    }.items():
        inputs = keras.Input((*size, channels))
        layer = keras.layers.Conv3D(channels, 5, padding="same")
        model = keras.Model(inputs, layer(inputs))
        model.jit_compile = False
        x = np.zeros((1, *size, channels), "float32")
        work = 2 * 125 * channels**2 * np.prod(size, dtype=float)
        rates[channels] = work / seconds(lambda model=model, x=x: model.predict_on_batch(x)) / 1e9
    return rates


def kernels() -> None:
    """The same convolutions with oneDNN off and on, each in a process of its own."""
    code = "import json, network; print(json.dumps(network.convolution_rates()))"
    rates = []
    for setting in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env=os.environ | {backend.ONEDNN: setting},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        rates.append(json.loads(done.stdout.splitlines()[-1]))
    head("Kernels, 5 x 5 x 5", "channels", "GFLOP/s without oneDNN", "with", "ratio")
    for channels, off in rates[0].items():
        on = rates[1][channels]
        row(channels, f"{off:.0f}", f"{on:.0f}", f"{on / off:.1f}")


def forward(precision: str, crop, xla: bool, peak: float) -> None:
    """Keras as it comes, and as the package runs it."""
    shape = crop.shape[1:]
    head("Forward pass", "how", "s per crop", "GFLOP/s", "of the peak")
    work = sum(network.forward_gflop(network.build_network(shape)).values())
    ways = {"package": network.just_in_time()}
    if xla:
        ways = {"Keras as it comes (XLA)": True} | ways
    outputs = {}
    for name, jit in ways.items():
        model = network.build_network(shape, precision=precision, seed=1)
        model.jit_compile = jit
        took = seconds(lambda model=model: model.predict_on_batch(crop), 1) / len(crop)
        if precision != "float32":
            outputs[name] = np.asarray(model.predict_on_batch(crop))
        row(name, f"{took:.2f}", f"{work / took:.0f}", f"{100 * work / took / peak:.0f} %")
    if precision != "float32":
        model = network.build_network(shape, seed=1)
        model.jit_compile = network.just_in_time()
        reference = np.asarray(model.predict_on_batch(crop)) >= 0.5
        overlap = segmentation.dice(outputs["package"] >= 0.5, reference)
        print(f"\nDice of {precision} against float32 (random weights): {overlap:.4f}")


def blocks(precision: str, crop, peak: float) -> None:
    """Time of each convolution, by itself on an input of its size."""
    shape = crop.shape[1:]
    head("By layer", "layer", "kernel", "GFLOP", "ms", "of the peak")
    model = network.build_network(shape, precision=precision)
    total = 0.0
    for layer in network.weighted_layers(model):
        x = np.zeros((len(crop), *layer.input.shape[1:]), "float32")
        alone = keras.Model(*_alone(layer))
        alone.jit_compile = network.just_in_time()
        took = seconds(lambda alone=alone, x=x: alone.predict_on_batch(x), 1) / len(crop)
        work = network.forward_gflop(model)[layer.name]
        total += took
        share = 100 * work / took / peak
        kernel = "x".join(map(str, layer.kernel.shape))
        row(layer.name, kernel, f"{work:.1f}", f"{1000 * took:.0f}", f"{share:.0f} %")
    row("all", "", "", f"{1000 * total:.0f}", "")


def _alone(layer):
    inputs = keras.Input(layer.input.shape[1:])
    return inputs, layer(inputs)


def training(precision: str, batch_size: int, shape, peak: float) -> None:
    """One step of the paper's training."""
    model = network.build_network(shape, precision=precision)
    work = 3 * sum(network.forward_gflop(model).values())
    model = loop._compile(network.logits(model), Recipe(precision=precision))
    x = np.random.default_rng(0).random((batch_size, *shape)).astype("float32")
    took = seconds(lambda: model.train_on_batch(x, np.round(x)), 1)
    head("Training step", "batch", "s per step", "GFLOP/s", "of the peak", "the paper's training")
    rate = work * batch_size / took
    hours = took / batch_size * TRAINING_SAMPLES / 3600
    row(batch_size, f"{took:.2f}", f"{rate:.0f}", f"{100 * rate / peak:.0f} %", f"{hours:,.1f} h")


def end_to_end(participants, precision, batch_size, factor, xla) -> None:
    """Crops of a shard to masks on disk: the notebook's way and ours."""
    head("Reading, network, post-processing, writing", "how", "s", "crops per second", "speed-up")
    rng = np.random.default_rng(0)
    shape = (*(n // factor for n in network.CROP_SHAPE), 1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = [f"{number}_2" for number in range(participants)]
        with CropWriter(folder / "crops.h5") as writer:
            for name in names:
                water = rng.integers(0, 400, grid.SHAPE).astype("int16")
                files.write_nifti(folder / f"{name}-water.nii.gz", grid.las_image(water))
                writer.add(name, Crops.of(water, LANDMARKS))
        baseline = None
        ways = {
            "notebook, Keras as it comes": (True, False),
            "notebook, no XLA": (False, False),
            "notebook, no XLA, network built once": (False, True),
        }
        for title, (jit, once) in ways.items():
            if jit and not xla:
                continue
            start = time.perf_counter()
            model = _notebook_network(shape, jit)
            for number, name in enumerate(names):
                if number and not once:
                    model = _notebook_network(shape, jit)
                notebook(folder, name, model, factor)
            took = time.perf_counter() - start
            baseline = baseline or took
            row(title, f"{took:.1f}", f"{2 * participants / took:.3f}", f"{baseline / took:.2f}")
        model = network.build_network(shape, precision=precision, seed=1)
        start = time.perf_counter()
        pipeline(folder, names, model, batch_size, factor)
        took = time.perf_counter() - start
        row("package", f"{took:.1f}", f"{2 * participants / took:.3f}", f"{baseline / took:.2f}")


def _notebook_network(shape, jit):
    model = network.build_network(shape, seed=1)
    model.jit_compile = jit
    return model


def notebook(folder, name, model, factor) -> None:
    """What the published notebook does for a participant (recoh/iliopsoas_muscle).

    There the network is built for each participant.
    """
    water = nib.load(folder / f"{name}-water.nii.gz").get_fdata()
    muscles = np.zeros(water.shape, "uint8")
    for side, label in grid.SIDES.items():
        crop = crops.coarsen(crops.crop(water, LANDMARKS, side), factor)
        predicted = np.squeeze(model.predict(crop[None, ..., None], verbose=0))
        predicted = crops.refine(predicted, factor) >= 0.5
        predicted = ndimage.binary_fill_holes(predicted, ndimage.generate_binary_structure(3, 1))
        components, _ = ndimage.label(predicted)
        largest = components == 1 + np.argmax(np.bincount(components.ravel(), minlength=2)[1:])
        placed = crops.place(largest.astype("uint8"), LANDMARKS, side, water.shape)
        nib.Nifti1Image(placed, grid.las_affine()).to_filename(folder / f"{name}-{side}.nii.gz")
        muscles += label * placed
    nib.Nifti1Image(muscles, grid.las_affine()).to_filename(folder / f"{name}-both.nii.gz")


def pipeline(folder, names, model, batch_size, factor) -> None:
    reader = CropReader(folder / "crops.h5")
    segmenter = segmentation.Segmenter([model], factor, batch_size=batch_size)

    def read(name):
        both = {side: reader.read(name, side) for side in grid.SIDES}
        return segmentation.Subject(both, LANDMARKS)

    def write(name, result):
        files.write_nifti(folder / f"{name}.nii.gz", grid.las_image(result.mask))
        return True

    for _, result in segmentation.segment_many(segmenter, names, read, write):
        if isinstance(result, Exception):
            raise result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--participants", type=int, default=2)
    parser.add_argument("--coarsen", type=int, default=1, help="1 is the published size")
    parser.add_argument("--precision", default="float32", choices=network.PRECISIONS)
    parser.add_argument("--batch-size", type=int, default=2, help="crops per forward pass")
    parser.add_argument("--training-batch", type=int, default=3)
    parser.add_argument("--matrix", type=int, default=2048, help="size of the matrix product")
    parser.add_argument("--no-xla", action="store_true", help="leave Keras's slow default out")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--kernels", action="store_true", help="compare kernels, no more")
    options = parser.parse_args()
    devices = keras.distribution.list_devices("gpu") if keras.backend.backend() != "torch" else []
    load = os.getloadavg()[0]
    print(
        f"{backend.kernels()}, {options.precision}; "
        f"crops of {96 // options.coarsen} x {96 // options.coarsen} x "
        f"{192 // options.coarsen}, {len(devices)} GPU, {psutil.cpu_count()} CPU cores; "
        f"other load at the start {load:.1f}"
    )
    if keras.backend.backend() == "tensorflow":
        kernels()
    if options.kernels:
        return
    head("Matrix product", "type", "GFLOP/s")
    rates = {dtype: matrix_gflops(dtype, options.matrix) for dtype in ("float32", "bfloat16")}
    for dtype, rate in rates.items():
        row(dtype, f"{rate:.0f}")
    peak = rates.get(options.precision, rates["float32"])
    shape = (*(n // options.coarsen for n in network.CROP_SHAPE), 1)
    crop = np.random.default_rng(0).random((options.batch_size, *shape)).astype("float32")
    forward(options.precision, crop, not options.no_xla, peak)
    blocks(options.precision, crop, peak)
    end_to_end(
        options.participants,
        options.precision,
        options.batch_size,
        options.coarsen,
        not options.no_xla,
    )
    print(f"\nPeak memory of inference: {peak_gb():.1f} GB")
    if not options.no_training:
        training(options.precision, options.training_batch, shape, peak)
        print(f"\nPeak memory with training: {peak_gb():.1f} GB")


if __name__ == "__main__":
    main()
