"""The paper's figures, in one style: vector and 300 dpi."""

# ruff: noqa: E402

from iliopsoas import machine

machine.matplotlib()  # before anything imports it

from iliopsoas.figures.balance import sample_balance
from iliopsoas.figures.crops import draw_crop_boxes
from iliopsoas.figures.draw import draw, draw_all
from iliopsoas.figures.images import figure1, figure3
from iliopsoas.figures.other import other_method
from iliopsoas.figures.qc import quality
from iliopsoas.figures.scatter import figure4, figure5, figure6, figure7
from iliopsoas.figures.selection import twelve
from iliopsoas.figures.style import save
from iliopsoas.figures.validation import figure2, figure_s2

__all__ = [
    "draw",
    "draw_all",
    "draw_crop_boxes",
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "figure6",
    "figure7",
    "figure_s2",
    "other_method",
    "quality",
    "sample_balance",
    "save",
    "twelve",
]
