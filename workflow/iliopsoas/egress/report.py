"""The report that may leave: one page of tables and figures, without script, nothing fetched."""

import base64
import html
import math
from pathlib import Path

import pandas as pd

from iliopsoas import tables
from iliopsoas.egress.tables import released as declared_tables
from iliopsoas.statistics import formats

CAPTIONS = {
    "figure4": "Left minus right volume by sex (the paper's Figure 4).",
    "figure5": "Total volume against height (Figure 5), as numbers of participants in cells.",
    "figure6": "Muscle index against BMI (Figure 6), as numbers of participants in cells.",
    "figure7": "Muscle index against age with the fitted curve (Figure 7).",
    "balance": "Participants drawn in each stratum.",
    "paper_comparison": "Differences from the paper's numbers in standard errors.",
}


def page(released: dict, pictures: dict, minimum: int) -> str:
    """The page as HTML.

    Parameters
    ----------
    released : dict of DataFrame
        From `collect.release_all`.
    pictures : dict of str to path
        PNG files by figure.
    minimum : int
        Smallest count shown.
    """
    parts = [
        "<h1>Iliopsoas muscle volumes</h1>",
        f"<p>Counts below {minimum} are withheld, and those that would give them away; minima, "
        "maxima and points of single participants are left out.</p>",
    ]
    for name, declared in declared_tables().items():
        if declared.report and name in released:
            text = _formatted(declared, released[name])
            parts.append(formats.table_html(text, declared.report, _cell))
    for name, path in pictures.items():
        code = base64.b64encode(Path(path).read_bytes()).decode()
        caption = html.escape(CAPTIONS.get(name, name))
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{code}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    style = "\nimg{max-width:100%}figure{margin:2rem 0}table{margin:2rem 0}"
    return formats.page_html("Iliopsoas muscle volumes", "\n".join(parts), style)


def _formatted(declared: tables.Table, table: pd.DataFrame) -> pd.DataFrame:
    if declared.formatted:
        text = tables.load(declared.formatted)
        counts = table.select_dtypes("Int64").columns
        table = table.astype(dict.fromkeys(counts, float))
        words = table.select_dtypes(exclude="number").columns
        table = text(table.assign(**{column: table[column].fillna("") for column in words}))
        return table.drop(columns=[column for column in table if "range" in str(column).lower()])
    long = ("method", "note", "statement", "definition", "source")
    return table.drop(columns=[column for column in long if column in table])


def _cell(value) -> str:
    if value is pd.NA:
        return formats.MISSING
    if isinstance(value, float):
        return formats.MISSING if not math.isfinite(value) else f"{value:.4g}"
    return "" if value is None else str(value)
