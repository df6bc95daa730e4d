"""The muscles' crops: cut, normalised, put back (`boxes`), and kept by the shard (`store`)."""

from iliopsoas.crops.boxes import (
    CROP_SHAPE,
    Box,
    box,
    coarsen,
    crop,
    cut,
    normalise,
    normaliser,
    place,
    refine,
)
from iliopsoas.crops.store import CropReader, Crops, CropWriter, drop

__all__ = [
    "CROP_SHAPE",
    "Box",
    "CropReader",
    "CropWriter",
    "Crops",
    "box",
    "coarsen",
    "crop",
    "cut",
    "drop",
    "normalise",
    "normaliser",
    "place",
    "refine",
]
