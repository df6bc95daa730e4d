"""Dixon preprocessing: CPU seconds and memory by step, against the published settings.

    python benchmarks/dixon.py [SCAN.zip] [--baseline] [--bias N] [--output FILE]

Without a scan a phantom's zip is made. ``--baseline`` also runs the published method's
own settings on the same zip: N4 at full resolution on every station and again on the
whole (FWHM 0.15, 10 iterations x 4 levels, ITK), rows and then slices resampled by
B-splines in four channels, body mask. It takes about 40 CPU-minutes. ``--bias N``
compares the corrected water of N phantoms, N4 fitted on every fourth and on every second
voxel (the default), with N4 at full resolution. One thread throughout.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402  (after the thread settings)

from iliopsoas.machine import processor  # noqa: E402

SHAPES = {"thin": 19.0, "usual": 27.0, "large": 40.0}


def make_zip(folder: Path, seed: int = 3, bmi: float = 27.0) -> Path:
    from iliopsoas.phantom import acquisition, anatomy, archive
    from iliopsoas.phantom.traits import Traits

    sex = ("male", "female")[seed % 2]
    muscle = 370.0 if sex == "male" else 240.0
    traits = Traits(sex, 60, 170.0, bmi * 1.7**2, muscle, 0.98 * muscle, 0.05, seed)
    path = folder / f"{seed}.zip"
    if not path.exists():
        rng = np.random.default_rng(seed)
        archive.write_zip(path, acquisition.acquire(anatomy.build(traits), rng), traits, rng)
    return path


def ours(path: Path) -> dict:
    from iliopsoas.dixon import process_scan

    result = process_scan(path)
    return result.seconds


def published(path: Path) -> dict:
    """The published method's settings, with SimpleITK as it has them; timed by step."""
    import SimpleITK as sitk
    from scipy import ndimage

    from iliopsoas.dixon.series import build_stations
    from iliopsoas.ukb.archive import open_scan

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    seconds, last = {}, time.process_time()

    def watch(step):
        nonlocal last
        now = time.process_time()
        seconds[step] = seconds.get(step, 0.0) + now - last
        last = now

    scan = open_scan(path)
    stations = build_stations(scan.slices)
    for station in stations:  # four channels; opposed phase costs what in-phase costs
        station.channels["opp"] = station.channels["in"].copy()
    watch("read")

    def image(array, station):
        made = sitk.GetImageFromArray(array.T.astype(np.float32))
        made.SetSpacing([float(v) for v in station.spacing])
        x, y, z = station.origin
        made.SetOrigin([-x, y, z])  # x and y as the arrays run; no direction is needed
        return made

    def n4(array, mask, station):
        corrector = sitk.N4BiasFieldCorrectionImageFilter()
        corrector.SetBiasFieldFullWidthAtHalfMaximum(0.15)
        corrector.SetMaximumNumberOfIterations([10] * 4)
        inside = sitk.Cast(image(mask, station), sitk.sitkUInt8)
        corrected = corrector.Execute(image(array, station), inside)
        out = sitk.GetArrayFromImage(corrected).T
        return np.divide(array, out, out=np.zeros_like(array), where=out > 0)

    ball = ndimage.generate_binary_structure(3, 1)
    for station in stations:
        array = ndimage.median_filter(station.channels["in"], 5, mode="nearest")
        mask = array > 0.1 * np.percentile(array, 97.5)
        for plane in mask.T:
            plane[:] = ndimage.binary_fill_holes(ndimage.binary_dilation(plane, iterations=5))
        station.notes["mask"] = ndimage.binary_closing(mask, ball, 5) | mask
        watch("masks of stations")
        field = n4(station.channels["in"], station.notes["mask"], station)
        for channel, values in station.channels.items():
            station.channels[channel] = np.divide(
                values, field, out=np.zeros_like(values), where=field > 0
            )
        watch("bias of stations")

    def resample(array, station):
        made = image(array, station)
        size, spacing = made.GetSize(), made.GetSpacing()
        steps = [
            ((224, 174, size[2]), (*spacing[:2], spacing[2]), (-250.0, -191.96429)),
            ((224, 174, round(size[2] * spacing[2] / 3)), (*spacing[:2], 3.0), None),
        ]
        for shape, step, start in steps:
            x, y, z = made.GetOrigin()
            grid = sitk.Image([int(n) for n in shape], sitk.sitkFloat32)
            grid.SetSpacing(step)
            grid.SetOrigin((*start, z) if start else (x, y, z))
            made = sitk.Resample(made, grid, sitk.Euler3DTransform(), sitk.sitkBSpline)
            made = sitk.Mask(made, made >= 0)
        return sitk.GetArrayFromImage(made).T

    parts = {channel: [] for channel in ("in", "opp", "F", "W")}
    for station in stations:
        for channel in parts:
            parts[channel].append(resample(station.channels[channel], station))
    watch("resample")
    volumes = {}
    for channel, slabs in parts.items():
        blend, top = slabs[-1], stations[-1].low + 3.0 * (slabs[-1].shape[2] - 1)
        for station, slab in zip(stations[-2::-1], slabs[-2::-1], strict=True):
            n = round((top - station.low) / 3.0) + 1
            weight = 1 / (1 + np.exp(np.linspace(-5, 5, n)))
            both = blend[..., -n:] * weight + slab[..., :n] * (1 - weight)
            blend = np.concatenate([blend[..., :-n], both, slab[..., n:]], axis=2)
            top = station.low + 3.0 * (slab.shape[2] - 1)
        volumes[channel] = blend.astype(np.float32)
    watch("blend")
    whole = stations[0]
    mask = volumes["in"] > 0.1 * np.percentile(volumes["in"], 97.5)
    for plane in mask.T:
        plane[:] = ndimage.binary_fill_holes(ndimage.binary_dilation(plane, iterations=5))
    watch("masks of stations")
    field = n4(volumes["in"], mask, whole)
    for channel, values in volumes.items():
        volumes[channel] = np.divide(values, field, out=np.zeros_like(values), where=field > 0)
    watch("bias of the whole")
    made = sitk.GetImageFromArray(volumes["in"].T)
    smooth = sitk.CurvatureFlow(made, numberOfIterations=8)
    otsu = sitk.OtsuMultipleThresholds(smooth, numberOfThresholds=4, valleyEmphasis=True)
    sitk.BinaryMorphologicalClosing(otsu > 0, (1, 1, 2))
    watch("body mask")
    return seconds


def bias(count: int, folder: Path) -> list[str]:
    """Corrected water with N4 fitted on fewer voxels against N4 at full resolution."""
    from iliopsoas.dixon import process_scan

    lines = [
        "| phantom | BMI | every n-th voxel | median difference | 95th percentile |",
        "|---|---|---|---|---|",
    ]
    values = list(SHAPES.values())
    for k in range(count):
        bmi = values[k % 3]
        path = make_zip(folder, 100 + k, bmi)
        full = process_scan(path, bias_shrink=1)
        inside = np.asarray(full.body.dataobj) > 0
        reference = np.asarray(full.water.dataobj)[inside].astype(float)
        # below this the whole numbers of the file are the larger difference
        seen = reference > 50
        for shrink in (4, 2):
            water = np.asarray(process_scan(path, bias_shrink=shrink).water.dataobj)[inside]
            apart = np.abs(water[seen] / reference[seen] - 1)
            median, high = np.median(apart), np.percentile(apart, 95)
            lines.append(f"| {k} | {bmi:g} | {shrink} | {median:.2%} | {high:.2%} |")
            print(lines[-1], file=sys.stderr, flush=True)
        path.unlink()
    return lines


def picture(path: Path, output: Path) -> None:
    """One participant before (stations as they come) and after, in one coronal slice."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from iliopsoas import grid
    from iliopsoas.dixon import process_scan
    from iliopsoas.dixon.series import build_stations
    from iliopsoas.ukb.archive import open_scan

    row = 78
    figure, axes = plt.subplots(1, 4, figsize=(11, 5.2))
    before = {"W": np.zeros(grid.SHAPE[::2]), "F": np.zeros(grid.SHAPE[::2])}
    for station in build_stations(open_scan(path).slices)[::-1]:
        inset = (grid.SHAPE[1] - station.channels["W"].shape[1]) // 2
        first = round((station.low - grid.ORIGIN_RAS_MM[2]) / grid.SLICE_MM)
        count = round(station.slices * station.spacing[2] / grid.SLICE_MM)
        at = np.arange(count) * grid.SLICE_MM / station.spacing[2]
        nearest = np.minimum(np.rint(at).astype(int), station.slices - 1)
        end = min(first + count, grid.SHAPE[2])
        for channel, shown in before.items():
            plane = station.channels[channel][:, row - inset, nearest]
            shown[:, first:end] = plane[:, : end - first]
    result = process_scan(path)
    after = [np.asarray(image.dataobj)[:, row] for image in (result.water, result.fat)]
    titles = ("water, as acquired", "fat, as acquired", "water, stitched", "fat, stitched")
    for axis, shown, title in zip(axes, [*before.values(), *after], titles, strict=True):
        top = np.percentile(shown[shown > 0], 99)
        axis.imshow(
            shown.T[:, ::1],
            origin="lower",
            cmap="gray",
            vmin=0,
            vmax=top,
            aspect=grid.SLICE_MM / grid.IN_PLANE_MM,
        )
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(output, dpi=75, metadata={"Software": None})


def measured(what: str, path: Path) -> tuple[dict, float]:
    """Run one method in a process of its own; seconds by step and peak memory in GB."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import dixon as b;"
    code += f"import json, resource; s = b.{what}({str(path)!r});"
    code += "m = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
    code += "print(json.dumps([s, m]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, memory = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, memory / 1e6


def machine() -> str:
    return f"{processor()}, one thread, Python {platform.python_version()}, {platform.system()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--bias", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path, help="draw before and after, and stop")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.scan or make_zip(Path(folder))
        if options.picture:
            picture(path, options.picture)
            return
        lines = ["# Dixon preprocessing", "", f"Machine: {machine()}.", ""]
        lines += ["| step | CPU-seconds |", "|---|---|"]
        seconds, memory = measured("ours", path)
        total = sum(seconds.values())
        lines += [f"| {step} | {value:.2f} |" for step, value in seconds.items()]
        lines += [f"| **all** | **{total:.2f}**, {memory:.2f} GB at most |", ""]
        if options.baseline:
            slow, much = measured("published", path)
            lines += ["| step, published settings | CPU-seconds |", "|---|---|"]
            lines += [f"| {step} | {value:.1f} |" for step, value in slow.items()]
            whole = sum(slow.values())
            lines += [f"| **all** | **{whole:.1f}**, {much:.2f} GB at most |", ""]
            lines += [f"{whole / total:.0f} times less CPU time than the published settings.", ""]
        if options.bias:
            lines += ["Corrected water against N4 on every voxel:", ""]
            lines += bias(options.bias, Path(folder))
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
