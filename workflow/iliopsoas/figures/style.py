"""One look for every figure: journal widths, sizes, colours, and how files are written."""

import io
import re
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from iliopsoas import machine
from iliopsoas.files import write_bytes, write_text

SINGLE_MM, DOUBLE_MM = 85, 180  # column and page width
DPI = 300

# Okabe and Ito's palette: told apart with any colour vision
OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
SEX = {"female": OKABE_ITO["vermilion"], "male": OKABE_ITO["blue"]}
SEX_MAP = {"female": "Oranges", "male": "Blues"}  # of counts
SEX_NAME = {"female": "Women", "male": "Men"}
SIDE = {"left": OKABE_ITO["sky"], "right": OKABE_ITO["purple"]}  # the paper's blue and purple
MANUAL, AUTOMATIC, BOTH = OKABE_ITO["vermilion"], OKABE_ITO["sky"], OKABE_ITO["yellow"]
GREY = "#5F5F5F"

SETTINGS = {
    "font.family": "DejaVu Sans",  # Matplotlib brings it: the same text on every machine
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 8,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.dpi": 100,
    "savefig.dpi": DPI,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "iliopsoas",
}


def inches(mm: float) -> float:
    return mm / 25.4


def figure(width_mm: float, height_mm: float) -> Figure:
    """An empty figure in this style; it belongs to no window and no global state."""
    with machine.drawing(SETTINGS):
        return Figure(figsize=(inches(width_mm), inches(height_mm)), layout="constrained")


def styled(function):
    """Draw in this style, whatever the caller's Matplotlib settings."""
    import functools

    @functools.wraps(function)
    def draw(*args, **kwargs):
        with machine.drawing(SETTINGS):
            return function(*args, **kwargs)

    return draw


def letter(axes, text: str) -> None:
    """A panel letter at the upper left, outside the axes."""
    axes.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=(-2, 4),
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        ha="right",
        va="bottom",
    )


def dot(colour, label: str, marker: str = "o"):
    """A legend's entry for points."""
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, ls="", color=colour, ms=4, label=label)


def line(colour, label: str, dashes=(0, (4, 2))):
    """A legend's entry for a line."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=1, ls=dashes, label=label)


def counts(sex: str):
    """Colours for counts of participants from 1: the map without its nearly white end."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps[SEX_MAP[sex]](np.linspace(0.18, 1, 256)))


def counts_bar(drawing: Figure, mesh, axes) -> None:
    """Colour bar of participants on a logarithmic scale that starts at one participant."""
    from matplotlib.ticker import LogLocator, NullFormatter

    most = float(np.ma.max(mesh.get_array()))
    mesh.set_clim(1, max(most, 2))
    bar = drawing.colorbar(mesh, ax=axes, pad=0.01, aspect=30)
    bar.set_label("Participants")
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)


def empty(message: str, width_mm: float = SINGLE_MM, height_mm: float = 60) -> Figure:
    """A figure that says why there is nothing to draw."""
    with machine.drawing(SETTINGS):
        result = figure(width_mm, height_mm)
        axes = result.add_subplot()
        axes.set_axis_off()
        axes.text(0.5, 0.5, message, ha="center", va="center", wrap=True, color=GREY)
        return result


def save(drawing: Figure, folder, name: str, dpi: int = DPI) -> list[Path]:
    """Write <name>.png and <name>.svg; the same figure gives the same bytes.

    No date, no software version and no path go into the files.
    """
    folder = Path(folder)
    with machine.drawing(SETTINGS):
        picture = io.BytesIO()
        drawing.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
        vector = io.StringIO()
        drawing.savefig(
            vector,
            format="svg",
            dpi=dpi,
            metadata={"Date": None, "Creator": None, "Title": name},
        )
    text = re.sub(r"<!--.*?-->\n?", "", vector.getvalue(), flags=re.DOTALL)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    write_bytes(paths[0], picture.getvalue())
    write_text(paths[1], text)
    return paths
