"""``iliopsoas measure``: one scan to masks, volumes, a picture and a record of the run."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, grid, landmarks, starter
from iliopsoas.cli import images
from iliopsoas.cli.report import Report
from iliopsoas.crops import crop
from iliopsoas.logs import log
from iliopsoas.masks import annotations, profile, vertebrae, volumes
from iliopsoas.qc import evidence, preview
from iliopsoas.qc.audit import FLAGGED
from iliopsoas.qc.judge import judge_one
from iliopsoas.status import InputError, Refused
from iliopsoas.ukb.fingerprint import content_fingerprint
from iliopsoas.versions import STAGES

OUTPUTS = (
    "iliopsoas.nii.gz",
    "volumes.json",
    "volumes.tsv",
    "profile.tsv",
    "preview.png",
    "run.json",
)
IMAGES = ("water.nii.gz", "fat.nii.gz", "body.nii.gz")


def run(options) -> Report:
    """Measure; a refused scan leaves run.json alone, with the verdict."""
    weights = options.weights or os.environ.get("ILIOPSOAS_WEIGHTS") or None
    if weights is None and not options.annotation:
        weights = starter.NAME
    weights = starter.path_of(weights)
    if weights is not None and not weights.is_file():
        raise InputError(f"weights: {weights} does not exist")
    reference, spine = _reference(options), _spine(options)
    output = _prepare(options.output, options.overwrite)
    record = {
        "versions": _versions(),
        "stage_versions": {
            name: STAGES[name] for name in ("dixon", "landmarks", "crops", "segment", "volumes")
        },
        "settings": {
            "threshold": options.threshold,
            "normalisation": options.normalisation,
            "height_cm": options.height,
            "vertebra_labels": spine and spine["labels"],
            "reference_sha256": files.sha256(options.reference) if options.reference else None,
        },
    }
    start = time.perf_counter()
    try:
        result, text = _measure(options, weights, output, record, reference, spine)
    except Refused as refused:
        record |= {"status": str(refused.verdict), "message": refused.message}
        raise
    except Exception as error:
        record |= {"status": "error", "message": f"{type(error).__name__}: {error}"}
        raise
    finally:
        record["seconds"] = round(time.perf_counter() - start, 2)
        files.write_json(output / "run.json", record)
    return Report(text + f"\nwritten to {output}", result)


def _prepare(folder: Path, overwrite: bool) -> Path:
    earlier = [folder / name for name in (*OUTPUTS, *IMAGES) if (folder / name).exists()]
    measured = any(path.name != "run.json" for path in earlier)  # else a refused scan's record
    if measured and not overwrite:
        raise InputError(f"{folder} holds earlier results; give --overwrite or another folder")
    for path in earlier:  # a scan that is refused must not stand beside another's volumes
        path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _reference(options):
    """The reference asked for, read before any work; None without one."""
    if options.reference is None:
        return None
    needed = [name for name in ("sex", "age", "height") if getattr(options, name) is None]
    if needed:
        raise InputError(f"--reference needs --{', --'.join(needed)} as well")
    from iliopsoas.statistics import centiles

    return centiles.read(options.reference)


def _spine(options) -> dict | None:
    """Path and labels of the vertebra mask asked for; None without one."""
    if options.vertebrae is None:
        return None
    if options.vertebra_labels is None:
        raise InputError("--vertebrae needs --vertebra-labels as well")
    if not options.vertebrae.is_file():
        raise InputError("--vertebrae: the file does not exist")
    from iliopsoas.config import vertebra_presets

    given, names = options.vertebra_labels, ("L3", "L4", "L5")
    if isinstance(given, str):
        if given not in vertebra_presets():
            raise InputError(
                "--vertebra-labels: expected labels such as 43,44,45 or one of "
                f"{sorted(vertebra_presets())}, found {given!r}"
            )
        labels = {name: vertebra_presets()[given][name] for name in names}
    else:
        labels = {name: [value] for name, value in zip(names, given, strict=True)}
    return {"path": options.vertebrae, "labels": labels}


def _scores(reference, options, result) -> dict:
    """z-scores of one participant, None where the reference has no model or weight is unknown."""
    from iliopsoas.statistics import centiles

    row = {name: result.get(name) for name in centiles.MEASURES}
    row |= {"sex": options.sex, "age": options.age}
    row |= {"height_cm": options.height, "weight_kg": options.weight}
    table = pd.DataFrame([row])
    numbers = [name for name in table if name != "sex"]
    table[numbers] = table[numbers].astype(float)
    z = centiles.scores(reference, table).iloc[0]
    return {name: float(value) if np.isfinite(value) else None for name, value in z.items()}


def _measure(options, weights, output, record, reference=None, spine=None) -> tuple[dict, str]:
    log.info("reading the scan")
    water, fat, body, record["dixon"] = images.read(options.scan, options.fat)
    record["inputs"] = _hashes(options, weights)
    if options.keep_images:
        for name, image in zip(IMAGES, (water, fat, body), strict=True):
            if image is not None:
                files.write_nifti(output / name, image)

    log.info("finding landmarks")
    found, record["landmarks"] = landmarks.locate_with_record(body, water, fat)
    record["landmarks"]["found"] = found
    landmarks.assess(found, body)
    arrays = [None if image is None else np.asanyarray(image.dataobj) for image in (water, fat)]
    manual = annotations.read(options.annotation, water, body) if options.annotation else None

    if weights is None:
        mask, record["mask"] = manual, {"source": "annotation"}
    else:
        log.info("segmenting")
        mask, segmented = _segment(options, weights, arrays[0], found)
        record["mask"] = {"source": "network"} | segmented

    log.info("measuring")
    result = {"status": "ok"}  # first, as in the workflow's table
    result["network"] = record["mask"].get("network")
    result |= volumes.measure(mask, water.affine, *arrays, height_cm=options.height)
    if reference is not None:
        result |= _scores(reference, options, result)
    places = vertebrae.heights(found, water.affine, spine)
    levels = profile.per_level(mask, water.affine, *arrays, hip_mm=places["hip_mm"])
    files.write_tsv(output / "profile.tsv", levels)
    record["levels"] = places
    result |= profile.places_of(places)
    record["evidence"] = evidence.gather(
        mask, water.affine, arrays[0], np.asanyarray(body.dataobj), found
    )
    records = {
        "dixon": record["dixon"],
        "landmarks": record["landmarks"],
        "segment": record["mask"],
        "volumes": record["evidence"],
    }
    if options.second_opinion:
        log.info("asking for a second opinion")
        record["opinion"] = _second_opinion(options, mask, arrays[0], found, result["network"])
        records["opinion"] = record["opinion"]
    judged = judge_one(result, records)
    record["qc"] = judged
    if judged["quality"]:
        result["predicted_quality"] = judged["quality"]
    result |= {name: judged[name] for name in ("qc_verdict", "qc_flags", "flags")}
    result["status"] = "flagged" if judged["qc_verdict"] in FLAGGED else "ok"
    if manual is not None and weights is not None:
        result["annotation"] = _compare(mask, manual, water.affine)
    files.write_nifti(output / "iliopsoas.nii.gz", grid.las_image(mask, water.affine))
    files.write_bytes(output / "preview.png", preview.preview(arrays[0], mask, found, water.affine))
    files.write_json(output / "volumes.json", result)
    nested = ("annotation", "flags", "predicted_quality")
    row = {key: value for key, value in result.items() if key not in nested}
    files.write_tsv(output / "volumes.tsv", pd.DataFrame([row]))
    record["status"] = result["status"]
    return result, _text(result)


def _segment(options, weights, water, found):
    from iliopsoas.network.segmentation import Segmenter, Subject, segment_subject

    segmenter = Segmenter.load(
        [weights], threshold=options.threshold, normalisation=options.normalisation
    )
    cut = {side: crop(water, found, side, options.normalisation) for side in grid.SIDES}
    result = segment_subject(segmenter, Subject(cut, found, water.shape))
    return result.mask, result.record


def _second_opinion(options, mask, water, found, network) -> dict:
    from iliopsoas.crops import cut
    from iliopsoas.network.segmentation import opinion

    crops = {side: crop(water, found, side, options.normalisation) for side in grid.SIDES}
    masks = {side: cut(mask, found, side) == label for side, label in grid.SIDES.items()}
    return opinion.compare(opinion.load(), crops, masks, network == starter.NAME)


def _compare(mask, manual, affine) -> dict:
    from iliopsoas.network.segmentation import dice

    millilitres = grid.voxel_ml(affine)
    result = {}
    for side, label in grid.SIDES.items():
        result[f"dice_{side}"] = float(dice(mask == label, manual == label))
        result[f"manual_{side}_ml"] = float(np.count_nonzero(manual == label) * millilitres)
    return result


def _hashes(options, weights) -> dict:
    """What went in, by content: file names may hold a participant's id."""
    whole = options.scan.is_file()
    return {
        "scan_sha256": files.sha256(options.scan) if whole else None,
        "scan_content": content_fingerprint(options.scan),
        "fat_sha256": files.sha256(options.fat) if options.fat else None,
        "weights_sha256": files.sha256(weights) if weights else None,
        "vertebrae_sha256": files.sha256(options.vertebrae) if options.vertebrae else None,
        "annotation_sha256": [files.sha256(path) for path in options.annotation],
    }


def _versions() -> dict:
    names = ("iliopsoas", "keras", "nibabel", "numpy", "pydicom", "scipy", "SimpleITK")
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def _text(result: dict) -> str:
    lines = []
    for name, unit in (("left_ml", "ml"), ("right_ml", "ml"), ("total_ml", "ml")):
        value = result[name]
        lines.append(f"{name[:-3]:6} {'missing' if value is None else f'{value:8.1f} {unit}'}")
    if result.get("imi_ml_m2") is not None:
        lines.append(f"{'index':6} {result['imi_ml_m2']:8.1f} ml/m2")
    for name, z in result.items():
        if name.endswith("_z") and z is not None and not name.endswith("area_z"):
            lines.append(f"z = {z:.2f} of {name.removesuffix('_z')}")
    for side in grid.SIDES if "annotation" in result else ():
        lines.append(f"Dice, {side}: {result['annotation'][f'dice_{side}']:.4f}")
    for side, seen in result.get("predicted_quality", {}).items():
        lines.append(
            f"{side}: predicted Dice {seen['predicted_dice']:.2f}, error "
            f"{seen['error_low_ml']:+.0f} to {seen['error_high_ml']:+.0f} ml "
            "(learned on synthetic people)"
        )
    if result["level_source"] == "vertebrae":
        lines.append("lumbar levels by the vertebra mask")
    elif result["level_note"]:
        lines.append(f"lumbar levels without the vertebra mask: {result['level_note']}")
    if result["network"] == starter.NAME:
        lines.append(f"mask by {starter.NOTE}")
    if result.get("missing_reason"):
        lines.append(result["missing_reason"])
    lines += [f"{flag['severity']}: {flag['reading']} ({flag['flag']})" for flag in result["flags"]]
    return "\n".join(lines)
