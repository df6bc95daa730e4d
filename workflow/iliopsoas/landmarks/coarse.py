"""Coarse landmarks from the body mask alone, by a small linear model of its shape.

The model's numbers are in ``model.json``; ``resources/landmarks/fit.py`` fits them to
body masks with landmarks and says how large the errors on left-out bodies are.
"""

import json
from functools import cache
from importlib import resources

import numpy as np

from iliopsoas.landmarks import silhouette
from iliopsoas.landmarks.silhouette import Silhouette

SIDES = ("right", "left")  # in the order of the published keys
SHOULDER = {"right": "1", "left": "2"}
HIP = {"right": "11", "left": "12"}
KNEE = {"right": "21", "left": "22"}

_LOWEST_KNEE = 4  # slices below show no body in the stitched volume
_LEGS_CUT = 12  # a body that begins higher lacks its lowest station: nothing tells the knees


@cache
def shipped_model() -> dict:
    """The model that comes with the package."""
    text = resources.files("iliopsoas.landmarks").joinpath("model.json").read_text(encoding="utf-8")
    return json.loads(text)


def linear(part: dict, features) -> float:
    """Value of one linear model: intercept + coefficients . (features - mean)."""
    features = np.asarray(features, dtype=float)
    return float(part["intercept"] + (features - part["mean"]) @ np.asarray(part["coefficients"]))


def hip_height(shape: Silhouette, model: dict) -> float:
    """z of the femoral heads, mean of both."""
    share = linear(model["hip_share_of_trunk"], silhouette.hip_features(shape))
    return shape.crotch + share * silhouette.trunk_length(shape)


def joints(shape: Silhouette, model: dict | None = None) -> dict:
    """Landmarks of a silhouette.

    Parameters
    ----------
    shape : Silhouette
    model : dict, optional
        Default: the shipped model.

    Returns
    -------
    dict
        Published keys -> (x, y, z) float voxels of the stitched grid; what is not in view
        is absent.
    """
    model = shipped_model() if model is None else model
    found = {}
    hip = hip_height(shape, model)
    trunk, gap = silhouette.midline_features(shape, hip)
    share = model["midline_gap_share"]
    middle = (1 - share) * trunk + share * gap + model["midline_offset"]
    depth = silhouette.depth_centre(shape, round(hip)) + model["hip_forward"]
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        found[HIP[side]] = (middle + sign * model["hip_half_distance"], depth, hip)
    found |= _shoulders(shape, model, hip)
    found |= _knees(shape, model, hip, gap)
    return found


def usual_shoulders(right_hip, left_hip, model: dict | None = None) -> dict:
    """Shoulders at their usual height, for a body whose highest station is missing.

    Only their height enters the crop, divided by eight: 30 slices off move it by less than four.
    """
    model = shipped_model() if model is None else model
    middle, depth, _ = (np.asarray(right_hip, float) + np.asarray(left_hip, float)) / 2
    height = model["shoulder_height"]["intercept"]
    return {
        SHOULDER[side]: (middle + sign * model["shoulder_half_distance"], depth, height)
        for side, sign in zip(SIDES, (-1, 1), strict=True)
    }


def _shoulders(shape, model, hip):
    found = {}
    for side, sign in zip(SIDES, (-1, 1), strict=True):
        features = silhouette.shoulder_features(shape, side, hip)
        if features is None:
            continue
        z = min(linear(model["shoulder_height"], features), shape.body.shape[2] - 1)
        _, middle, reach = silhouette.half(shape, side)
        x = middle + sign * model["shoulder_outward_share"] * reach
        centre = silhouette.section_centre(shape, (x - 8, x + 9), round(z))
        if centre is not None:
            found[SHOULDER[side]] = (x, centre[1] + model["shoulder_forward"], z)
    return found


def _knees(shape, model, hip, gap):
    lowest = int(np.flatnonzero(shape.thickness.any(axis=0))[0])
    z = linear(model["knee_height"], silhouette.knee_features(shape, hip))
    if lowest > _LEGS_CUT or z < max(lowest, _LOWEST_KNEE):
        return {}
    found = {}
    ends = {"right": (gap - 75, gap), "left": (gap + 1, gap + 76)}
    for side in SIDES:
        centre = silhouette.section_centre(shape, ends[side], round(z))
        if centre is not None:
            found[KNEE[side]] = (centre[0], centre[1] + model["knee_forward"], z)
    return found
