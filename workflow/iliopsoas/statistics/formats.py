"""Numbers as the paper prints them, and tables for the report."""

import html
import math

import pandas as pd

MISSING, MINUS, TIMES = "\u2013", "\u2212", "\u00d7"
P_FLOOR = 1e-15  # the paper prints nothing smaller


def number(value, digits: int = 1) -> str:
    """A number with `digits` decimals; a missing one is an en dash, never 0."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def p_value(p) -> str:
    """p as the paper prints it: three decimals, then powers of ten, then p < 10^-15."""
    if p is None or not math.isfinite(p):
        return MISSING
    if p < P_FLOOR:
        return "< 10⁻¹⁵"
    if p >= 0.0005:
        return f"{p:.3f}"
    exponent = math.floor(math.log10(p))
    mantissa = p / 10**exponent
    if round(mantissa, 1) >= 10:
        mantissa, exponent = 1.0, exponent + 1
    return f"{mantissa:.1f} {TIMES} 10{_superscript(exponent)}"


def p_equals(p) -> str:
    """``p = 0.012`` or ``p < 10^-15``."""
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def mean_sd(mean, sd, digits: int = 1) -> str:
    """``63.3 ± 8.3``."""
    return f"{number(mean, digits)} ± {number(sd, digits)}"


def interval(value, low, high, digits: int = 2) -> str:
    """``0.51 [0.49, 0.53]``."""
    if low is None or not math.isfinite(low):
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


STYLE = """
body{font:14px/1.45 system-ui,sans-serif;color:#1a1a1a;margin:1.5rem}
table{border-collapse:collapse}caption{text-align:left;max-width:60rem;padding:0 0 .6rem}
th,td{padding:.25rem .8rem;text-align:right;font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}
thead th{border-top:2px solid #1a1a1a;border-bottom:1px solid #1a1a1a}
tbody tr:last-child td{border-bottom:2px solid #1a1a1a}
""".strip()


def table_html(table: pd.DataFrame, caption: str, cell=str) -> str:
    """The ``<table>`` of a table, escaped; `cell` turns a value into its text."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in table.columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{html.escape(cell(value))}</td>" for value in row) + "</tr>"
        for row in table.itertuples(index=False)
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody></table>"
    )


def page_html(title: str, body: str, style: str = "") -> str:
    """A page of its own: no script, nothing fetched."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body>{body}</body></html>\n"
    )


def to_html(table: pd.DataFrame, caption: str) -> str:
    """A page with one formatted table."""
    return page_html(caption.split(".")[0], table_html(table, caption))
