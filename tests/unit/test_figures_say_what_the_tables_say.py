"""Figures carry the numbers of the tables, and hide neither withheld values nor outliers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import statistics
from iliopsoas.figures import against_paper, scatter, shared
from iliopsoas.figures.draw import draw, repeat_figure
from iliopsoas.phantom.phenotypes import paper_folds
from iliopsoas.statistics import cohort, comparison, repeat

ROOT = Path(__file__).resolve().parents[2]


def words(drawing):
    drawing.draw_without_rendering()
    return "\n".join(
        [text.get_text() for panel in drawing.axes for text in panel.texts]
        + [panel.get_title(loc="left") for panel in drawing.axes]
        + [text.get_text() for legend in drawing.legends for text in legend.get_texts()]
    )


def main_of(volumes, sample):
    return cohort.main_visit(cohort.measured(volumes, sample))


def test_repeat_visits_draw_the_tables_bias_also_with_pairs_of_zeros():
    rng = np.random.default_rng(1)
    first = rng.uniform(400, 900, 30)
    both = pd.DataFrame({"sex": ["female", "male"] * 15, "total_ml_first": first})
    both["total_ml_second"] = first - rng.normal(20, 5, 30)
    both.loc[:3, ["total_ml_first", "total_ml_second"]] = 0.0
    for side in ("left", "right"):
        for end in ("first", "second"):
            both[f"{side}_ml_{end}"] = both[f"total_ml_{end}"] / 2
    table = repeat.bland_altman_table(repeat.comparisons(None, both))
    drawing = repeat_figure(both)
    for panel, unit in zip(drawing.axes, ("ml", "%"), strict=True):
        row = table[(table["measure"] == "total volume") & (table["unit"] == unit)].iloc[0]
        heights = [float(line.get_ydata()[0]) for line in panel.lines]
        assert min(abs(height - row["bias"]) for height in heights) < 1e-9
        assert f"n = {row['n']}" in panel.get_title(loc="left")


def test_repeat_visits_colour_women_and_men_apart():
    both = pd.DataFrame({"sex": ["female", "male"] * 5})
    both["total_ml_first"] = np.arange(10) + 500.0
    both["total_ml_second"] = both["total_ml_first"] + 3 * np.cos(np.arange(10))
    drawing = repeat_figure(both)
    colours = drawing.axes[0].collections[0].get_facecolor()
    assert len(np.unique(colours, axis=0)) == 2
    assert "women" in words(drawing)


def test_one_extreme_difference_leaves_the_bars_visible_and_is_counted(make):
    volumes, sample = make(400)
    row = volumes.index[volumes["eid"].isin(sample.loc[sample["sex"] == "female", "eid"])][0]
    volumes.loc[row, ["left_ml", "difference_ml"]] += 3000
    main = main_of(volumes, sample)
    table = statistics.compute(volumes, sample)["asymmetry"]
    drawing = scatter.figure4(main, table)
    women = drawing.axes[0]
    assert sum(patch.get_height() > 1 for patch in women.patches) > 4
    assert np.ptp(women.get_xlim()) < 400
    assert "1 beyond" in words(drawing)
    low = table.set_index("sex").loc["female", "difference_ml_low"]
    assert f"{low:.1f}".replace("-", "\u2212") in words(drawing)  # the interval of the mean


@pytest.fixture(scope="module")
def men_decline():
    """Tables of 600 participants whose men's index falls from 62 on."""
    rng = np.random.default_rng(5)
    n = 600
    sex = np.resize(["female", "male"], n)
    age = rng.integers(45, 82, n)
    index = np.where(sex == "male", 260 - 3 * np.maximum(age - 62, 0), 205) + rng.normal(0, 12, n)
    height = rng.normal(170, 6, n)
    total = index * (height / 100) ** 2
    keys = {"eid": np.arange(n).astype(str), "instance": "2"}
    difference = rng.normal(-5, 10, n)
    volumes = pd.DataFrame(
        keys
        | {
            "status": "ok",
            "left_ml": (total + difference) / 2,
            "right_ml": (total - difference) / 2,
            "total_ml": total,
            "mean_ml": total / 2,
            "difference_ml": difference,
            "imi_ml_m2": index,
        }
    )
    sample = pd.DataFrame(
        keys
        | {
            "sex": sex,
            "age": age,
            "height_cm": height,
            "bmi": rng.normal(26, 3, n),
            "weight_kg": 75.0,
            "ethnicity": "Other",
            "handedness": "right",
            "visit_date": "2016-01-01",
        }
    )
    return statistics.compute(volumes, sample), main_of(volumes, sample)


def test_figure7_gives_the_texts_break_and_explains_itself(men_decline):
    tables, main = men_decline
    drawing = scatter.figure7(
        main, tables["gam_curve"], tables["acceleration"], tables["correlations"]
    )
    said = words(drawing)
    row = tables["acceleration"].set_index("sex").loc["male"]
    assert f"{row['break_x']:.1f} [{row['break_low']:.1f}, {row['break_high']:.1f}]" in said
    rho = tables["correlations"].query("x == 'age' and sex == 'male'")["rho"].iloc[0]
    assert f"{rho:.2f}".replace("-", "\u2212") in said
    assert "n = 300" in said
    assert "interval of the age of the change" in said  # the grey
    assert "spread at random" in said  # the jitter


def test_figure7_for_sharing_gives_rho_too(men_decline):
    tables, main = men_decline
    drawing = shared.figure7(main, tables["gam_curve"], correlations=tables["correlations"])
    assert "\\rho" in words(drawing)
    assert "band" in words(drawing)


def test_colour_bars_of_crowded_panels_start_at_one_participant(make):
    volumes, sample = make(2 * scatter.CROWDED + 40)
    tables = statistics.compute(volumes, sample)
    main = main_of(volumes, sample)
    for drawing in (
        scatter.figure5(main, tables["correlations"]),
        scatter.figure7(main, tables["gam_curve"], tables["acceleration"], tables["correlations"]),
    ):
        bars = [panel for panel in drawing.axes if panel.get_ylabel() == "Participants"]
        assert len(bars) == 2
        assert [bar.get_ylim()[0] for bar in bars] == [1, 1]


def test_numbers_without_a_comparison_are_marked_not_dropped():
    numbers = comparison.read_paper(ROOT / "resources/paper.tsv")
    every = comparison.paper_comparison(numbers, {})
    known = every["kind"].isin(against_paper.DRAWN)
    assert known.sum() > 60
    shown = every.assign(z=np.where(known, 0.3, np.nan), within_sampling_error=known)
    hidden = shown.index[known][:3]
    shown.loc[hidden, "z"] = np.nan
    drawing = against_paper.paper_comparison(shown)
    crosses = [line for panel in drawing.axes for line in panel.lines if line.get_marker() == "x"]
    assert len(crosses) == 3
    assert "not available or withheld (3)" in words(drawing)


def test_the_papers_cross_validation_is_drawn_in_the_synthetic_cohort(make):
    volumes, sample = make(200)
    folds = paper_folds(volumes, annotated=90)
    tables = statistics.compute(volumes, sample, None, folds)
    drawn = draw(tables, main_of(volumes, sample), folds)
    assert "n = 90" in words(drawn["figure2"])
    assert len(drawn["figureS2"].axes) == 3
    means = tables["cross_validation"].set_index("fold")["dice_mean"]
    assert means["mean of folds"] == pytest.approx(0.9046, abs=4 * 0.0068 / np.sqrt(6))
