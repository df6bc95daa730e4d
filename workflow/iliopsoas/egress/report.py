"""The report that may leave: one page of tables and figures, without script, nothing fetched."""

import base64
import html
import math
from pathlib import Path

import pandas as pd

from iliopsoas.statistics import diagnoses, formats, tables

CAPTIONS = {
    "figure4": "Left minus right volume by sex (the paper's Figure 4).",
    "figure5": "Total volume against height (Figure 5), as numbers of participants in cells.",
    "figure6": "Muscle index against BMI (Figure 6), as numbers of participants in cells.",
    "figure7": "Muscle index against age with the fitted curve (Figure 7).",
    "balance": "Participants drawn in each stratum.",
    "paper_comparison": "Differences from the paper's numbers in standard errors.",
}
TABLES = {
    "statistics/flow": "From the sample to the analysis.",
    "statistics/table1": "Table 1. Demographics; counts with percent, mean ± SD.",
    "statistics/table2": "Table 2. Iliopsoas muscle volumes.",
    "statistics/cross_validation": "Cross-validation by fold.",
    "statistics/correlations": "Correlations (Spearman).",
    "statistics/asymmetry": "Left against right.",
    "statistics/handedness": "Left-right difference by handedness.",
    "statistics/sex_differences": "Men against women.",
    "statistics/bland_altman": "Agreement (Bland-Altman).",
    "statistics/repeat": "Repeat visits.",
    "statistics/acceleration": "Change of slope with age.",
    "statistics/table_s1": "Table S1. Participants with a diagnosis in each ICD-10 block.",
    "cohort/exclusions": "Who was left out of the cohort.",
    "qc/shares": "Flagged shares by group.",
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
    for name, caption in TABLES.items():
        if name in released:
            parts.append(formats.table_html(_formatted(name, released[name]), caption, _cell))
    for name, path in pictures.items():
        code = base64.b64encode(Path(path).read_bytes()).decode()
        caption = html.escape(CAPTIONS.get(name, name))
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{code}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    style = "\nimg{max-width:100%}figure{margin:2rem 0}table{margin:2rem 0}"
    return formats.page_html("Iliopsoas muscle volumes", "\n".join(parts), style)


def _formatted(name: str, table: pd.DataFrame) -> pd.DataFrame:
    text = {
        "statistics/table1": tables.table1_formatted,
        "statistics/table2": tables.table2_formatted,
        "statistics/table_s1": diagnoses.table_s1_formatted,
        "statistics/cross_validation": tables.cross_validation_formatted,
    }.get(name)
    if text:
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
