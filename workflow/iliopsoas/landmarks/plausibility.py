"""Whether landmarks can be those of a body: order, distance, tilt."""

import numpy as np

from iliopsoas import grid
from iliopsoas.landmarks.silhouette import without_notches
from iliopsoas.status import Refused, Verdict

PAIRS = {"hips": ("11", "12"), "shoulders": ("1", "2"), "knees": ("21", "22")}

# Millimetres between landmarks of a lying adult. Wide on purpose: they catch exchanged sides,
# bodies upside down and joints found in the wrong place. 30 public bodies have 161-196 between
# the hips, 0-15 hip tilt, 297-395 between the shoulders, 0-33 shoulder tilt and 447-566 from hips
# to shoulders.
HIP_DISTANCE_MM = (120.0, 260.0)
HIP_TILT_MM = 45.0
SHOULDER_DISTANCE_MM = (200.0, 500.0)
SHOULDER_TILT_MM = 105.0
HIP_TO_SHOULDER_MM = (330.0, 700.0)
SIDEWAYS_LEAN_MM = 110.0
_AROUND = 38  # voxels about a hip that say where the body ends


def assess(landmarks, body=None) -> None:
    """Refuse landmarks that a crop cannot rest on.

    Parameters
    ----------
    landmarks : dict
        Published keys -> voxel indices (x, y, z).
    body : nibabel image, optional
        Body mask: hips must lie in its field of view and within it, or in a notch as the void of an
        implant leaves it in a slim body.

    Raises
    ------
    Refused
        ``hips_not_found``, ``shoulders_not_found`` or ``landmarks_implausible``; the
        message says what was measured and what is expected.
    """
    spacing = np.array(grid.SPACING_MM)
    for what, verdict in (
        ("hips", Verdict.HIPS_NOT_FOUND),
        ("shoulders", Verdict.SHOULDERS_NOT_FOUND),
    ):
        missing = [key for key in PAIRS[what] if key not in landmarks]
        if missing:
            raise Refused(verdict, f"landmarks: {what} not found (keys {', '.join(missing)})")
    points = {key: np.asarray(xyz, dtype=float) * spacing for key, xyz in landmarks.items()}
    for what, (right, left) in PAIRS.items():
        if right in points and left in points and points[right][0] >= points[left][0]:
            _refuse(
                f"right and left {what} are exchanged: x {landmarks[right][0]} of the right "
                f"is not below x {landmarks[left][0]} of the left"
            )
    _pair(points, "hips", HIP_DISTANCE_MM, HIP_TILT_MM)
    _pair(points, "shoulders", SHOULDER_DISTANCE_MM, SHOULDER_TILT_MM)
    hips, shoulders = ((points[a] + points[b]) / 2 for a, b in (PAIRS["hips"], PAIRS["shoulders"]))
    height = shoulders[2] - hips[2]
    low, high = HIP_TO_SHOULDER_MM
    if not low <= height <= high:
        _refuse(f"shoulders are {height:.0f} mm above the hips, expected {low:g} to {high:g}")
    lean = abs(shoulders[0] - hips[0])
    if lean > SIDEWAYS_LEAN_MM:
        _refuse(
            f"shoulders lie {lean:.0f} mm to the side of the hips, expected at most "
            f"{SIDEWAYS_LEAN_MM:g}"
        )
    if body is not None:
        _inside(landmarks, body)


def _refuse(message: str):
    raise Refused(Verdict.LANDMARKS_IMPLAUSIBLE, f"landmarks: {message}")


def _pair(points, what, distance, tilt):
    right, left = (points[key] for key in PAIRS[what])
    apart = float(np.linalg.norm(left - right))
    low, high = distance
    if not low <= apart <= high:
        _refuse(f"{what} are {apart:.0f} mm apart, expected {low:g} to {high:g}")
    step = abs(left[2] - right[2])
    if step > tilt:
        _refuse(f"{what} differ by {step:.0f} mm in height, expected at most {tilt:g}")


def _inside(landmarks, body):
    mask = np.asanyarray(body.dataobj)
    for key in PAIRS["hips"]:
        index = tuple(int(v) for v in landmarks[key])
        if not all(0 <= v < extent for v, extent in zip(index, mask.shape, strict=True)):
            _refuse(f"hip {key} lies outside the volume")
        around = tuple(slice(max(v - _AROUND, 0), v + _AROUND + 1) for v in index[:2])
        level = without_notches(mask[*around, index[2], None] > 0)[..., 0]
        if not level[tuple(v - part.start for v, part in zip(index, around, strict=False))]:
            _refuse(f"hip {key} lies outside the body")
