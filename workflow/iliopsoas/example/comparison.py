"""This run's results of the example beside the published ones."""

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.processing import resample_from_to

from iliopsoas import files, grid
from iliopsoas.network.segmentation import dice
from iliopsoas.status import InputError

JOINTS = {
    "1": "right shoulder",
    "2": "left shoulder",
    "11": "right hip",
    "12": "left hip",
    "21": "right knee",
    "22": "left knee",
}
COLUMNS = ["quantity", "unit", "here", "published", "difference"]


def compare(measured, landmarks, water, fat, body) -> pd.DataFrame:
    """Every quantity that both have, one a row.

    Parameters
    ----------
    measured : path
        Folder that ``iliopsoas measure --keep-images --annotation`` wrote.
    landmarks, water, fat, body : path
        What is published: joints by key, stitched images, body mask.

    Returns
    -------
    DataFrame
        quantity, unit, here, published, difference (here - published). Volumes and Dice of
        each muscle; coordinates of each landmark; for water and fat the correlation in the
        body, the factor between the two and what remains after it; Dice of the body masks.
        Images on another grid are brought to this run's by their affines.

    Raises
    ------
    InputError
        A published file is not what it should be.
    """
    volumes = files.read_json(measured / "volumes.json")
    record = files.read_json(measured / "run.json")
    rows = [*_muscles(volumes), *_landmarks(record["landmarks"]["found"], _joints(landmarks))]
    ours = {name: nib.load(measured / f"{name}.nii.gz") for name in ("water", "fat", "body")}
    inside = np.asanyarray(ours["body"].dataobj) > 0
    for name, path in (("water", water), ("fat", fat)):
        rows += _image(name, ours[name], _published(name, path, ours[name], order=1), inside)
    theirs = _published("body", body, ours["body"], order=0)
    rows.append(("body mask: Dice", "ratio", dice(inside, theirs > 0), None))
    return pd.DataFrame(
        [(*row, row[2] - row[3] if None not in row[2:] else None) for row in rows],
        columns=COLUMNS,
    )


def _muscles(volumes: dict):
    manual = volumes["annotation"]
    for side in grid.SIDES:
        yield (f"{side} muscle: Dice", "ratio", manual[f"dice_{side}"], None)
    for side in grid.SIDES:
        yield (f"{side} muscle: volume", "ml", volumes[f"{side}_ml"], manual[f"manual_{side}_ml"])
    total = sum(manual[f"manual_{side}_ml"] for side in grid.SIDES)
    yield ("both muscles: volume", "ml", volumes["total_ml"], total)


def _joints(path) -> dict:
    try:
        found = files.read_json(path)
        return {str(key): [float(value) for value in found[key]] for key in sorted(found, key=int)}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"published landmarks: expected a JSON object of joint to three voxel indices; {error}"
        ) from None


def _landmarks(ours: dict, theirs: dict):
    for key, place in theirs.items():
        here = ours.get(key, (None, None, None))
        for axis, a, b in zip("xyz", here, place, strict=True):
            yield (f"{JOINTS.get(key, f'landmark {key}')}: {axis}", "voxels", a, b)


def _published(name: str, path, like, order: int) -> np.ndarray:
    try:
        image = nib.load(path)
        if image.ndim != 3:
            raise ValueError(f"it has shape {image.shape}")
        if image.shape != like.shape or not np.allclose(image.affine, like.affine, atol=1e-2):
            image = resample_from_to(image, like, order=order)
        return np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # whatever nibabel meets in a damaged file
        raise InputError(f"published {name} image: cannot be read ({error})") from None


def _image(name: str, ours, theirs: np.ndarray, inside: np.ndarray):
    a = np.asarray(ours.dataobj, dtype=np.float32)[inside]
    b = theirs[inside]
    both = (a > 0) & (b > 0)
    if both.sum() < 1000 or not np.ptp(a) or not np.ptp(b):
        yield (f"{name} in the body: correlation", "ratio", None, None)
        return
    factor = float(np.median(a[both] / b[both]))
    rest = float(np.median(np.abs(a / factor - b)) / np.mean(b))
    yield (f"{name} in the body: correlation", "ratio", float(np.corrcoef(a, b)[0, 1]), None)
    yield (f"{name} in the body: median of here / published", "ratio", factor, None)
    yield (f"{name} in the body: median difference after that", "%", 100 * rest, None)
