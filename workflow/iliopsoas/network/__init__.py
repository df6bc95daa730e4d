"""The segmentation network: its layers, weights, training and inference."""

from iliopsoas.network.architecture import build_network

__all__ = ["build_network"]
