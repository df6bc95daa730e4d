"""Figures: sizes, bytes, orientation, crowded and empty data, and who is shown."""

import hashlib
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from iliopsoas import statistics
from iliopsoas.figures import against_paper, draw_all, images, scatter, selection, style, validation
from iliopsoas.statistics import cohort, comparison

NAMES = ("figure2", "figure4", "figure5", "figure6", "figure7", "figureS2")


def folds_of(volumes, n=12, seed=1):
    rng = np.random.default_rng(seed)
    rows = volumes.head(n)
    parts = [
        pd.DataFrame(
            {
                "fold": np.arange(len(rows)) % 3 + 1,
                "eid": rows["eid"],
                "instance": "2",
                "side": side,
                "dice": rng.uniform(0.8, 0.95, len(rows)),
                "manual_ml": rows[f"{side}_ml"],
                "automatic_ml": rows[f"{side}_ml"] * rng.normal(1, 0.05, len(rows)),
            }
        )
        for side in ("left", "right")
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, make):
    """The files of one run of 120 participants, and where they are."""
    folder = tmp_path_factory.mktemp("figures")
    volumes, sample = make(120)
    folds = folds_of(volumes)
    tables = statistics.compute(volumes, sample, None, folds)
    draw_all(tables, volumes, sample, folds, folder)
    return folder, (tables, volumes, sample, folds), sample


def test_every_figure_is_written_twice_at_journal_width(drawn):
    folder, _, _ = drawn
    for name in NAMES:
        with Image.open(folder / f"{name}.png") as picture:
            dots = picture.info["dpi"][0]
            assert dots == pytest.approx(300, abs=0.1)
            width = picture.width / dots * 25.4
        assert 80 <= width <= 180.5, name
        assert (folder / f"{name}.svg").read_text().rstrip().endswith("</svg>")


def test_files_name_nobody_and_no_time(drawn):
    folder, _, sample = drawn
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not [eid for eid in sample["eid"] if eid.encode() in content], path.name
        if path.suffix == ".svg":
            text = content.decode()
            assert "<dc:date>" not in text
            assert not re.search(r"20\d\d-\d\d-\d\dT", text)
        else:
            with Image.open(path) as picture:
                assert set(picture.info) <= {"dpi"}


def test_the_same_data_give_the_same_bytes(drawn, tmp_path):
    folder, (tables, volumes, sample, folds), _ = drawn
    draw_all(tables, volumes, sample, folds, tmp_path)
    for path in folder.iterdir():
        again = hashlib.sha256((tmp_path / path.name).read_bytes()).hexdigest()
        assert again == hashlib.sha256(path.read_bytes()).hexdigest(), path.name


def test_tables_read_back_from_files_draw_as_well(drawn, tmp_path):
    _, (tables, volumes, sample, folds), _ = drawn
    statistics.write(tables, tmp_path / "statistics")
    read = {
        path.stem: pd.read_csv(path, sep="\t") for path in (tmp_path / "statistics").glob("*.tsv")
    }
    draw_all(read, volumes, sample, folds, tmp_path)
    for name in ("figure4", "figure5", "figure7"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("case", ["nobody", "two", "one sex", "no cross-validation", "no dice"])
def test_little_data_give_a_figure_that_says_so(case, tmp_path, make):
    volumes, sample = make(
        {"nobody": 2, "two": 2}.get(case, 20),
        sexes=("male",) if case == "one sex" else ("female", "male"),
    )
    folds = folds_of(volumes, 6)
    if case == "nobody":
        volumes["status"] = "no_body"
    if case == "no cross-validation":
        folds = None
    if case == "no dice":
        folds = folds.assign(dice=np.nan, automatic_ml=np.nan)
    tables = statistics.compute(volumes, sample, None, folds)
    paths = draw_all(tables, volumes, sample, folds, tmp_path)
    assert {path.stem for path in paths} >= set(NAMES)


def test_crowded_panels_count_instead_of_covering(make):
    volumes, sample = make(2 * scatter.CROWDED + 200)
    main = cohort.main_visit(cohort.measured(volumes, sample))
    tables = statistics.compute(volumes, sample)
    crowded = scatter.figure5(main, tables["correlations"])
    assert len(crowded.axes) == 4  # a colour bar beside each panel
    few = scatter.figure5(main.head(400), tables["correlations"])
    assert len(few.axes) == 2
    counts = crowded.axes[0].collections[0].get_array()
    assert counts.sum() == (main["sex"] == "female").sum()  # everyone is counted


def test_bland_altman_lines_stand_at_the_tables_values(make):
    volumes, _ = make(40)
    folds = folds_of(volumes, 40)
    figure = validation.figure2(folds)
    a, b = validation.totals(folds)
    difference = 100 * (a - b) / ((a + b) / 2)
    heights = {round(float(line.get_ydata()[0]), 6) for line in figure.axes[0].lines}
    assert round(difference.mean(), 6) in heights
    upper = difference.mean() + 1.959964 * difference.std(ddof=1)
    assert min(abs(height - upper) for height in heights) < 1e-4


def test_overlay_colours():
    image = np.full((2, 2), 100.0)
    manual = np.array([[True, True], [False, False]])
    automatic = np.array([[True, False], [True, False]])
    colours = validation.overlay(image, manual, automatic)
    assert len(np.unique(colours.reshape(4, 3), axis=0)) == 4
    assert np.ptp(colours[1, 1]) == 0  # where neither is, the image stays grey


# --- orientation


def corner_volume():
    """Values that tell the patient's side, front and height: left 1, anterior 10, head 100."""
    volume = np.zeros((4, 6, 8))
    volume[2:] += 1
    volume[:, 3:] += 10
    volume[:, :, 4:] += 100
    return volume


def test_slices_follow_radiological_convention():
    volume = corner_volume()
    axial = images.slice_of(volume, "axial", 6)
    assert axial[0, 0] == 110  # top left: anterior, the patient's right
    assert axial[0, -1] == 111
    assert axial[-1, 0] == 100
    coronal = images.slice_of(volume, "coronal", 4)
    assert coronal[0, 0] == 110  # top left: head, the patient's right
    assert coronal[0, -1] == 111
    assert coronal[-1, 0] == 10
    sagittal = images.slice_of(volume, "sagittal", 3)
    assert sagittal[0, 0] == 111  # top left: head, anterior
    assert sagittal[0, -1] == 101


def test_best_slice_and_window():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:9, 4:10, 3] = 1
    mask[5, 4, 7] = 1
    assert images.best_slice(mask, "axial") == 3
    x, y, z = images.window(mask, (1, 1, 1), 2)
    assert (x.start, x.stop, y.start, z.start, z.stop) == (3, 11, 2, 1, 10)
    whole = images.window(np.zeros((3, 4, 5)), (1, 1, 1))
    assert [s.stop for s in whole] == [3, 4, 5]


def muscles():
    grid = np.indices((40, 30, 60))
    mask = np.zeros((40, 30, 60), np.uint8)
    mask[(grid[0] - 28) ** 2 + (grid[1] - 15) ** 2 < 20] = 1
    mask[(grid[0] - 12) ** 2 + (grid[1] - 15) ** 2 < 20] = 2
    mask[:, :, :8] = mask[:, :, 50:] = 0
    return np.random.default_rng(0).uniform(50, 100, mask.shape) + 100 * (mask > 0), mask


def test_the_surface_keeps_the_left_muscle_on_the_right_side():
    _, mask = muscles()
    figure = style.figure(80, 80)
    axes = figure.add_subplot(projection="3d")
    images.surface(axes, mask)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba()).astype(int)
    red, blue = pixels[..., 0], pixels[..., 2]
    columns = np.arange(pixels.shape[1])[None, :] * np.ones_like(red)
    left, right = columns[blue > red + 60], columns[red > blue + 20]  # sky blue and purple
    assert min(len(left), len(right)) > 100
    assert left.min() > right.max()


def test_image_figures_draw_and_say_when_there_is_nothing(tmp_path):
    water, mask = muscles()
    first = images.figure1(water, mask)
    assert len([axes for axes in first.axes if axes.images]) == 6
    panels = [
        {
            "water": images.slice_of(water, "coronal", 15),
            "mask": images.slice_of(mask, "coronal", 15),
            "aspect": images.aspect_of("coronal"),
            "group": group,
            "text": "300 ml",
        }
        for group in selection.GROUPS
        for _ in range(3)
    ]
    style.save(images.figure3(panels), tmp_path, "figure3", dpi=60)
    style.save(images.figure3(panels[:4]), tmp_path, "fewer", dpi=60)
    style.save(images.figure1(water, np.zeros_like(mask)), tmp_path, "nothing", dpi=60)
    style.save(images.figure3([]), tmp_path, "nobody", dpi=60)
    assert len(list(tmp_path.iterdir())) == 8


# --- who is shown


def test_twelve_by_rule():
    n = 101
    table = pd.DataFrame(
        {
            "eid": np.arange(1000, 1000 + n).astype(str),
            "instance": "2",
            "total_ml": np.arange(n) + 300.0,
            "difference_ml": 1.0,
        }
    )
    table.loc[60, "difference_ml"] = -90
    table.loc[70, "difference_ml"] = 80
    table.loc[0, "difference_ml"] = 500  # the smallest: shown once only
    table.loc[20, "difference_ml"] = 70
    chosen = (
        selection.twelve(table.sample(frac=1, random_state=0)).groupby("group")["eid"].agg(list)
    )
    assert chosen["smallest"] == ["1000", "1001", "1002"]
    assert chosen["largest"] == ["1100", "1099", "1098"]
    assert chosen["most asymmetric"] == ["1060", "1070", "1020"]
    assert chosen["typical"][0] == "1050"
    few = selection.twelve(table.head(5))
    assert len(few) == 5
    assert few["eid"].is_unique


# --- the comparison with the paper


def test_comparison_figure_marks_what_lies_outside():
    rows = []
    for name, z, inside in (
        ("measure.total_ml.male.mean", 0.3, True),
        ("rho.age.male", -30.0, False),
    ):
        rows.append(
            {
                "id": name,
                "quantity": name,
                "sex": "male",
                "kind": "mean",
                "z": z,
                "within_sampling_error": inside,
            }
        )
    figure = against_paper.paper_comparison(pd.DataFrame(rows))
    faces = [
        line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "s"
    ]
    assert faces.count("white") == 1
    assert len(faces) == 2
    words = [text.get_text() for text in figure.axes[0].texts]
    assert "-30" in words
    assert "1 of 2" in figure.get_suptitle()


def test_comparison_needs_no_judged_number(tmp_path, make):
    volumes, sample = make(2)
    paper = pd.DataFrame(
        [["cohort.n", "x", "n", "all", "design", "5000", "", 5000, np.nan, ""]],
        columns=comparison.COLUMNS,
    )
    found = statistics.compute(volumes, sample, paper=paper)["paper_comparison"]
    style.save(against_paper.paper_comparison(found), tmp_path, "comparison", dpi=50)
    assert (tmp_path / "comparison.png").is_file()
