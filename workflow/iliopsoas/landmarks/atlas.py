"""The published route: landmarks carried over from registered bodies of an atlas.

As in recoh/pipeline: every atlas body mask is registered affinely to the body (mutual
information), its landmarks are carried along, and the bodies vote; here by the median,
and the spread of the votes is the confidence.
"""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from iliopsoas import files, grid
from iliopsoas.status import InputError

KEYS = ("1", "2", "11", "12", "21", "22")
_SHRINK = (4, 4, 4)  # masks are smooth: coarse voxels give the same affine, much sooner
_SAMPLES = 0.05  # share of the coarse voxels in the metric, about 10,000


@dataclass(frozen=True)
class AtlasBody:
    """One body of an atlas: its mask on disk and its landmarks (stitched grid voxels)."""

    name: str
    path: Path = field(repr=False)
    landmarks: dict

    def mask(self) -> np.ndarray:
        """The body mask, shape (x, y, z), voxel order LAS."""
        image = grid.require_las(nib.load(self.path), f"atlas body {self.name}")
        return np.asanyarray(image.dataobj)


def read_folder(folder) -> list[AtlasBody]:
    """Bodies of an atlas folder, sorted by name.

    Each body is a folder with ``mask.body.nii.gz`` and ``bone_joints.nii.gz`` (the
    authors' layout: one voxel per landmark, labelled by its key) or with ``body.nii.gz``
    and ``landmarks.json`` (this workflow's own output, for an atlas of one's own
    annotated participants).

    Raises
    ------
    InputError
        The folder holds no such body, or a body lacks a hip or a shoulder.
    """
    folder = Path(folder)
    bodies = []
    for body in sorted(path for path in folder.glob("*") if path.is_dir()):
        published = body / "mask.body.nii.gz", body / "bone_joints.nii.gz"
        own = body / "body.nii.gz", body / "landmarks.json"
        if all(path.is_file() for path in published):
            bodies.append(AtlasBody(body.name, published[0], _label_centres(published[1])))
        elif all(path.is_file() for path in own):
            known = {key: tuple(xyz) for key, xyz in files.read_json(own[1]).items()}
            bodies.append(AtlasBody(body.name, own[0], known))
    if not bodies:
        raise InputError(
            f"{folder}: expected folders with mask.body.nii.gz and bone_joints.nii.gz, or with "
            "body.nii.gz and landmarks.json; found none"
        )
    for body in bodies:
        missing = [key for key in ("1", "2", "11", "12") if key not in body.landmarks]
        if missing:
            raise InputError(f"{folder}: body {body.name} has no landmark {', '.join(missing)}")
    return bodies


def _label_centres(path) -> dict:
    image = grid.require_las(nib.load(path), path.name)
    labels = np.asanyarray(image.dataobj)
    found = np.nonzero(labels)
    values = labels[found].round().astype(int)
    return {
        key: tuple(float(axis[values == int(key)].mean()) for axis in found)
        for key in KEYS
        if (values == int(key)).any()
    }


def _image(mask) -> sitk.Image:
    """A mask as a smooth coarse image; its physical space is millimetres of voxel index."""
    image = sitk.GetImageFromArray(np.ascontiguousarray((np.asarray(mask) > 0).T, np.uint8))
    image.SetSpacing(grid.SPACING_MM)
    return sitk.BinShrink(sitk.Cast(image, sitk.sitkFloat32), _SHRINK)


def _register(fixed: sitk.Image, moving: sitk.Image, seed: int) -> sitk.Transform:
    """Affine transform from points of `fixed` to points of `moving`."""
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(3), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(16)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(_SAMPLES, seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-2, numberOfIterations=100
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([1, 0])
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed, moving)
    return start


def joints(body, folder, limit: int | None = None, seed: int = 2020) -> tuple[dict, dict]:
    """Landmarks of a body by the atlas.

    Parameters
    ----------
    body : ndarray, shape (x, y, z)
        Body mask, stitched grid.
    folder : path
        See `read_folder`.
    limit : int, optional
        Use this many bodies of the atlas, evenly spread by name; default all.
    seed : int
        Of the metric's samples.

    Returns
    -------
    landmarks : dict
        Key -> (x, y, z) float, median over atlas bodies. Knees are absent where most atlas
        bodies put them outside the field of view.
    spread : dict
        Key -> (x, y, z) median absolute deviation, voxels.
    """
    bodies = read_folder(folder)
    if limit is not None and limit < len(bodies):
        bodies = [bodies[i] for i in np.linspace(0, len(bodies) - 1, limit).round().astype(int)]
    fixed = _image(body)
    spacing = np.array(grid.SPACING_MM)
    votes = {key: [] for key in KEYS}
    for other in bodies:
        # register the body's space onto the atlas body's, then carry the points back
        inverse = _register(fixed, _image(other.mask()), seed).GetInverse()
        for key, point in other.landmarks.items():
            carried = inverse.TransformPoint(tuple(float(v) for v in np.array(point) * spacing))
            votes[key].append(np.array(carried) / spacing)
    landmarks, spread = {}, {}
    for key, points in votes.items():
        if not points or len(points) < len(bodies) / 2:
            continue
        median = np.median(points, axis=0)
        if (median < 0).any() or (median > np.array(np.shape(body)) - 1).any():
            continue
        landmarks[key] = tuple(float(v) for v in median)
        spread[key] = tuple(float(v) for v in np.median(np.abs(points - median), axis=0))
    return landmarks, spread
