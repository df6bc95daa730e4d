"""The entry point for published weights; see `iliopsoas.network.weights`."""

from iliopsoas.network.weights import load_published_weights

__all__ = ["load_published_weights"]
