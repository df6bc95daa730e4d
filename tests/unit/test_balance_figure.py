"""The figure of the sample's balance."""

import pandas as pd

from iliopsoas.figures.balance import sample_balance
from iliopsoas.sampling import draw

GROUPS = [(44, 63), (64, 82)]


def balance(size):
    rows = [
        {
            "eid": str(1_000_000 + number),
            "instance": "2",
            "sex": ("female", "male")[number % 2],
            "age_group": ("44-63", "64-82")[number // 2 % 2],
            "bmi": 20 + number % 17,
        }
        for number in range(400)
    ]
    return draw(pd.DataFrame(rows), size=size, age_groups=GROUPS, seed=1).balance


def test_bars_are_the_drawn_and_lines_the_wanted():
    people, bmi = sample_balance(balance(40)).axes
    assert [bar.get_height() for bar in people.patches] == [10, 10, 10, 10]
    assert len(bmi.collections) == 2 * 2 * 2  # per sex: eligible and drawn, two widths each
    assert [label.get_text() for label in people.get_xticklabels()] == [
        "44\N{EN DASH}63",
        "64\N{EN DASH}82",
    ]


def test_small_cells_show_no_bmi_and_a_shortfall_is_said():
    found = balance(2000)
    people, _ = sample_balance(found).axes
    assert people.get_title(loc="left") == "400 of 2,000 wanted"
    _, bmi = sample_balance(balance(12)).axes
    shown = [line for line in bmi.lines if pd.notna(line.get_ydata()).any()]
    assert shown == []


def test_nobody_is_a_figure_too():
    assert sample_balance(balance(40).assign(eligible=0)).axes
