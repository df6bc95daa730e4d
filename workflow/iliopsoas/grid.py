"""The stitched grid: its geometry, and the checks every image passes on the way in.

Index axes (x, y, z) are voxel order LAS: x grows to the patient's left, y to
anterior, z to the head. Affines map indices to RAS millimetres, as in NIfTI.
"""

import nibabel as nib
import numpy as np

SHAPE = (224, 174, 370)
IN_PLANE_MM = 2.232142925  # as the DICOM files give it (500 / 224)
SLICE_MM = 3.0
SPACING_MM = (IN_PLANE_MM, IN_PLANE_MM, SLICE_MM)
ORIGIN_RAS_MM = (250.0, -191.96429, -1041.0)
VOXEL_ML = IN_PLANE_MM**2 * SLICE_MM / 1000.0

LEFT, RIGHT = 1, 2  # labels of the iliopsoas mask
SIDES = {"left": LEFT, "right": RIGHT}


def las_affine(origin=ORIGIN_RAS_MM, spacing=SPACING_MM) -> np.ndarray:
    """Affine (4, 4) of a volume in voxel order LAS.

    Parameters
    ----------
    origin : tuple of float
        RAS millimetres of voxel (0, 0, 0): rightmost, most posterior, lowest.
    spacing : tuple of float
        Millimetres along x, y, z.
    """
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    return affine


def is_las(affine, tolerance: float = 1e-3) -> bool:
    """Whether an affine is diag(-sx, sy, sz) within `tolerance` mm (recoh/pipeline's check)."""
    affine = np.asarray(affine, dtype=float)
    rotation = affine[:3, :3]
    off_diagonal = rotation - np.diag(np.diag(rotation))
    signs = np.sign(np.diag(rotation))
    return bool(np.abs(off_diagonal).max() <= tolerance and tuple(signs) == (-1, 1, 1))


def require_las(image: nib.spatialimages.SpatialImage, what: str = "image"):
    """Return `image`; raise ValueError where it is not a 3-D volume in voxel order LAS."""
    if len(image.shape) != 3:
        raise ValueError(f"{what}: expected a 3-D volume, found shape {image.shape}")
    if not is_las(image.affine):
        order = "".join(nib.aff2axcodes(image.affine))
        raise ValueError(f"{what}: expected voxel order LAS without rotation, found {order}")
    return image


def las_image(array, affine=None, dtype=None) -> nib.Nifti1Image:
    """A NIfTI image of `array` (x, y, z) with millimetre units and a header that names nobody.

    Parameters
    ----------
    array : ndarray, shape (x, y, z)
    affine : ndarray (4, 4), optional
        Default: the stitched grid's.
    dtype : numpy dtype, optional
        Type on disk; default the array's.
    """
    array = np.asarray(array) if dtype is None else np.asarray(array).astype(dtype)
    image = nib.Nifti1Image(array, las_affine() if affine is None else affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(image.affine, code=1)
    image.set_qform(image.affine, code=1)
    return image


def voxel_ml(affine) -> float:
    """Volume of one voxel in millilitres."""
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3])) / 1000.0)
