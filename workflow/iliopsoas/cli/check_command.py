"""``iliopsoas check``: what is wrong with a file, or with the installation."""

import platform
import re
from importlib import metadata
from pathlib import Path

from iliopsoas.cli.report import Report
from iliopsoas.status import InputError, Refused

TABLES = (".csv", ".tsv", ".txt", ".tab", ".csv.gz", ".tsv.gz", ".txt.gz")
MOST_LABELS = 128
WEIGHTS = (".h5", ".hdf5", ".keras")


def run(options) -> Report:
    """Check every path, or the installation; one bad file does not hide the next."""
    if options.paths:
        results = [_examine(path, options) for path in options.paths]
    else:
        results = _installation()
    good = all(result["status"] == "ok" for result in results)
    lines = [
        f"{result['status']:20} {result['what']}: {result['message']}".rstrip(": ")
        for result in results
    ]
    return Report("\n".join(lines), results, good)


def kind_of(path) -> str:
    """scan, image, table, weights or annotation, told by content where it is plain."""
    from iliopsoas.masks.label_images import SUFFIXES

    path, name = Path(path), Path(path).name.lower()
    if path.is_dir():
        return "scan"
    if not path.exists():
        raise InputError("no such file or folder")
    with open(path, "rb") as file:
        head = file.read(8)
    if name.endswith(WEIGHTS) or head == b"\x89HDF\r\n\x1a\n":
        return "weights"
    if name.endswith(SUFFIXES):
        return "image" if _has_many_values(path) else "annotation"
    if name.endswith(".zip") or head.startswith(b"PK"):
        return "scan"
    if name.endswith(TABLES):
        return "table"
    raise InputError("its kind is not known by content or name; say --kind")


def _has_many_values(path) -> bool:
    """Whether a NIfTI file holds more values than a label map would."""
    import nibabel as nib
    import numpy as np

    try:
        values = np.asanyarray(nib.load(path).dataobj)
        return len(np.unique(values)) > MOST_LABELS
    except Exception:  # damaged, or no NIfTI: reading it as a mask says what is wrong
        return False


def _examine(path: Path, options) -> dict:
    result = {"what": str(path), "kind": options.kind}
    try:
        result["kind"] = options.kind or kind_of(path)
        message, details = CHECKS[result["kind"]](path, options)
        return result | {"status": "ok", "message": message, "details": details}
    except Refused as refused:
        return result | {"status": str(refused.verdict), "message": refused.message}
    except InputError as error:
        return result | {"status": "input_error", "message": str(error)}
    except OSError as error:
        return result | {"status": "unreadable", "message": error.strerror or str(error)}


def _scan(path, options):
    from iliopsoas.dixon.series import build_stations
    from iliopsoas.ukb.archive import open_scan

    scan = open_scan(path)
    stations = build_stations(scan.slices)
    numbers = [station.number for station in stations]
    missing = sorted(set(range(1, 7)) - set(numbers))
    details = {
        "slices": len(scan.slices),
        "stations": numbers,
        "stations_missing": missing,
        "surplus": dict(scan.surplus),
        "unreadable": len(scan.unreadable),
    }
    message = f"scan, {len(scan.slices)} Dixon images, stations {numbers}"
    if missing:
        message += f", missing {missing}"
    if scan.unreadable:
        message += f", {len(scan.unreadable)} damaged files"
    return message, details


def _table(path, options):
    from iliopsoas.ukb.tables import read_cohort

    found = read_cohort([path])
    problems = found.report.to_dict("records")
    message = f"phenotype table, {found.table['eid'].nunique()} participants"
    for item in problems:
        if item["count"]:
            message += f"\n  {item['source']}: {item['problem']}, field {item['field']}: "
            message += f"{item['count']}"
    return message, {"rows": len(found.table), "problems": problems}


def _weights(path, options):
    from iliopsoas.network import weights

    model, description = weights.open_model(path)
    shape = " x ".join(str(size) for size in description["input_shape"][:3])
    message = (
        f"weights, {description['format']}, {description['variant']} network of "
        f"{model.count_params():,} parameters for crops of {shape}"
    )
    if description["sha256"] == weights.PUBLISHED_SHA256:
        message += ", the published file"
    return message, description


def _annotation(path, options):
    import numpy as np

    from iliopsoas import grid
    from iliopsoas.cli import images
    from iliopsoas.masks import annotations

    if options.water is None:
        reference = grid.las_image(np.zeros(grid.SHAPE, np.uint8))
        body = np.ones(grid.SHAPE, bool)
    else:
        reference, _, body, _ = images.read(options.water)
    mask = annotations.read(path, reference, body)
    litres = grid.voxel_ml(reference.affine)
    sizes = {
        side: float(np.count_nonzero(mask == label) * litres) for side, label in grid.SIDES.items()
    }
    listed = ", ".join(f"{side} {size:.1f} ml" for side, size in sizes.items())
    unchecked = "" if options.water else " (not compared with a body: give --water)"
    return f"annotation, {listed}{unchecked}", sizes


def _image(path, options):
    import numpy as np

    from iliopsoas import grid
    from iliopsoas.cli import images

    water, _, body, record = images.read(path)
    litres = np.count_nonzero(body.dataobj) * grid.voxel_ml(body.affine) / 1000
    message = f"stitched image, {' x '.join(map(str, water.shape))} voxels, body {litres:.1f} l"
    return message, {"shape": list(water.shape), "body_litres": round(litres, 2)} | record


CHECKS = {
    "scan": _scan,
    "image": _image,
    "table": _table,
    "weights": _weights,
    "annotation": _annotation,
}


def _installation() -> list[dict]:
    results = [_item("python", "ok", platform.python_version())]
    for requirement in metadata.requires("iliopsoas") or ():
        if "extra ==" in requirement:
            continue
        name = re.match(r"[\w.-]+", requirement)[0]
        try:
            results.append(_item(name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            results.append(_item(name, "missing", f"not installed, expected {requirement}"))
    results.append(_network())
    return results


def _network() -> dict:
    """A small network is built and run: the backend is there and works."""
    try:
        import numpy

        from iliopsoas.network import backend, build_network

        model = build_network((16, 16, 16, 1), base_filters=1)
        output = numpy.asarray(model.predict_on_batch(numpy.ones((1, 16, 16, 16, 1), "float32")))
        good = output.shape == (1, 16, 16, 16, 1) and numpy.isfinite(output).all()
    except Exception as error:  # whatever a broken backend raises is the finding
        return _item("network", "broken", f"{type(error).__name__}: {error}")
    return _item("network", "ok" if good else "broken", backend.kernels())


def _item(what: str, status: str, message: str) -> dict:
    return {"what": what, "kind": "installation", "status": status, "message": message}
