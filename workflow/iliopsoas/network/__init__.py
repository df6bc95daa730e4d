"""The segmentation network: its layers, weights, training and inference."""

from iliopsoas.network import backend

backend.prepare()  # before anything imports Keras

from iliopsoas.network.architecture import build_network  # noqa: E402

__all__ = ["build_network"]
