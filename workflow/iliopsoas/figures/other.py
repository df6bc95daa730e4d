"""Another tool's volumes beside this run's."""

from iliopsoas.figures import style
from iliopsoas.figures.validation import draw_bland_altman
from iliopsoas.statistics import formats
from iliopsoas.statistics.repeat import other_methods


@style.styled
def other_method(volumes, other, name: str):
    """Bland-Altman plots of another tool against this run: total, left and right volume.

    Parameters
    ----------
    volumes, other : DataFrame
        As results/volumes.tsv, of the same visits.
    name : str
        The tool, as in the configuration.
    """
    found = other_methods(volumes, {name: other})
    if not len(found[0][2]):
        return style.empty(f"No visit has volumes of both {name} and this run.")
    drawing = style.figure(style.DOUBLE_MM, 68)
    what = f"{name} {formats.MINUS} this run"
    panels = drawing.subplots(1, 3)
    for panel, letter, (_, subject, a, b) in zip(panels, "abc", found, strict=True):
        draw_bland_altman(panel, a, b, what=what if letter == "a" else "Difference")
        panel.set_title(f"{subject.capitalize()}, {panel.get_title(loc='left')}")
        style.letter(panel, letter)
    return drawing
