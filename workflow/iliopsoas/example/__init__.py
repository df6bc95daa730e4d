"""The public example: UK Biobank's example scan beside what the authors published of it."""

from iliopsoas.example.addresses import load
from iliopsoas.example.comparison import compare
from iliopsoas.example.download import fetch

__all__ = ["compare", "fetch", "load"]
