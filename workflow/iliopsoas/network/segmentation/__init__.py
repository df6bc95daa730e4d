"""Segmentation: the network (`segmenter`), its masks (`masks`), many participants (`pipeline`)."""

from iliopsoas.masks.overlap import dice
from iliopsoas.network.segmentation.masks import post_process
from iliopsoas.network.segmentation.pipeline import (
    Segmentation,
    Subject,
    evaluate,
    finish,
    segment_many,
    segment_subject,
)
from iliopsoas.network.segmentation.segmenter import Segmenter

__all__ = [
    "Segmentation",
    "Segmenter",
    "Subject",
    "dice",
    "evaluate",
    "finish",
    "post_process",
    "segment_many",
    "segment_subject",
]
