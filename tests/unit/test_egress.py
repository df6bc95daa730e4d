"""What leaves: small cells withheld, nothing of single people, and a stop where there is."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import egress, files, statistics
from iliopsoas.egress import tables
from iliopsoas.figures import shared
from iliopsoas.figures.paper import split
from iliopsoas.phantom.phenotypes import paper_cohort
from iliopsoas.statistics.disclosure import suppress_margins
from iliopsoas.status import InputError

COUNTS = ("n", "female", "male", "participants", "female_n", "male_n", "all_n", "missing")
EXTREMES = ("min", "max", "female_min", "male_max", "dice_min", "x_min", "minimum")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Results of a cohort of numbers."""
    results = tmp_path_factory.mktemp("egress") / "results"
    volumes, sample, diagnoses = split(paper_cohort(300, 5, repeats=30))
    flags = pd.DataFrame({"eid": volumes["eid"][:3], "instance": "2", "flag": "a",
                          "severity": "serious"})  # fmt: skip
    files.write_tsv(results / "volumes.tsv", volumes)
    files.write_tsv(results / "cohort/sample.tsv", sample.assign(sampled=True))
    files.write_tsv(results / "qc/excluded.tsv", volumes[["eid", "instance"]][:0])
    statistics.run_all(volumes, sample, diagnoses, None, flags, results / "statistics")
    files.write_json(results / "run.json", {"commit": "a" * 40})
    return results


@pytest.fixture(scope="module")
def collected(finished):
    folder = finished / "egress"
    egress.run(finished, folder, dpi=50)
    return folder


@pytest.fixture
def results(finished, tmp_path):
    """A copy that a test may spoil."""
    import shutil

    return shutil.copytree(finished, tmp_path / "results", ignore=shutil.ignore_patterns("egress"))


def test_what_was_collected_is_listed_with_its_hash_and_found_clean(collected, finished):
    manifest = files.read_tsv(collected / "MANIFEST.tsv")
    there = {p.relative_to(collected).as_posix() for p in collected.rglob("*") if p.is_file()}
    assert set(manifest["file"]) == there - {"MANIFEST.tsv"}
    assert {
        "report.html",
        "run.json",
        "figures/figure5.svg",
        "tables/statistics/table2.tsv",
    } <= there
    for row in manifest.itertuples():
        assert files.sha256(collected / row.file) == row.sha256
    sheet = (collected / "REVIEW.md").read_text()
    assert all(f"| {name} |" in sheet for name in manifest["file"] if name != "REVIEW.md")
    counted = manifest.dropna(subset=["smallest_cell"])
    assert (counted["smallest_cell"] >= 5).all()
    assert (counted["people"] >= counted["smallest_cell"]).all()
    left = files.read_tsv(collected / "LEFT_OUT.tsv")
    assert {"volumes.tsv", "cohort/sample.tsv"} <= set(left["what"])
    assert left["reason"].notna().all()
    assert egress.check_folder(finished, collected) == len(there)


def test_no_count_below_the_smallest_cell_and_no_extreme_leaves(collected):
    counts = 0
    for path in (collected / "tables").rglob("*.tsv"):
        table = files.read_tsv(path)
        for column in table:
            values = pd.to_numeric(table[column], errors="coerce").dropna()
            if column in (
                "n",
                "female",
                "male",
                "participants",
                "female_n",
                "male_n",
                "all_n",
                "missing",
            ):
                assert (values >= 5).all(), (path.name, column)
                counts += len(values)
            if column in EXTREMES:
                assert values.empty, (path.name, column)
    assert counts > 50


def test_numbers_leave_with_four_digits_so_that_none_is_a_measurement(collected):
    for path in (collected / "tables").rglob("*.tsv"):
        table = files.read_tsv(path)
        counts = [name for name in table if pd.api.types.is_integer_dtype(table[name])]
        for value in table.drop(columns=counts).select_dtypes("number").to_numpy(float).ravel():
            assert not np.isfinite(value) or value == float(f"{value:.4g}") or value % 1 == 0


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda t, eid: t.assign(note=eid), "id of this cohort"),
        (lambda t, eid: t.assign(eid=range(len(t))), "column of participant ids"),
        (lambda t, eid: t.assign(note="1950-02-03"), "date of birth"),
        (lambda t, eid: t.assign(note="sub-7654321"), "number of seven digits"),
    ],
)
def test_a_leak_in_a_table_stops_everything_and_is_not_repeated(results, tmp_path, plant, kind):
    eid = files.read_tsv(results / "volumes.tsv")["eid"].iloc[3]
    path = results / "statistics/correlations.tsv"
    files.write_tsv(path, plant(files.read_tsv(path), eid))
    with pytest.raises(egress.Leak) as leak:
        egress.run(results, tmp_path / "out", dpi=50)
    assert "statistics/correlations.tsv" in str(leak.value)
    assert kind in str(leak.value)
    assert not any(secret in str(leak.value) for secret in (eid, "7654321", "1950"))
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.iterdir()) == [results], "nothing half-collected stays"


def test_a_row_per_participant_under_a_tables_name_stops_everything(results, tmp_path):
    volumes = files.read_tsv(results / "volumes.tsv")
    path = results / "statistics/gam_curve.tsv"
    files.write_tsv(path, volumes[["total_ml"]].rename(columns={"total_ml": "fit"}))
    with pytest.raises(egress.Leak, match=r"gam_curve.tsv: row per participant"):
        egress.run(results, tmp_path / "out", dpi=50)


def test_a_column_nobody_judged_does_not_leave(results, tmp_path):
    path = results / "statistics/flow.tsv"
    files.write_tsv(path, files.read_tsv(path).assign(new=1))
    with pytest.raises(InputError, match="undeclared: new"):
        egress.run(results, tmp_path / "out", dpi=50)


def test_further_files_are_taken_as_they_are_and_searched(results, tmp_path):
    (results / "mine").mkdir()
    (results / "mine/notes.txt").write_text("a mean of 12.5 ml")
    manifest = egress.run(results, tmp_path / "out", also=["mine/*"], dpi=50)
    assert "mine/notes.txt" in set(manifest["file"])
    (results / "mine/notes.txt").write_text("participant 7654321 is odd")
    with pytest.raises(egress.Leak, match=r"mine/notes.txt: number of seven digits"):
        egress.run(results, tmp_path / "out", also=["mine/*"], dpi=50)
    assert (tmp_path / "out/mine/notes.txt").read_text() == "a mean of 12.5 ml"
    with pytest.raises(InputError, match="nothing below"):
        egress.run(results, tmp_path / "out", also=["mine/*.pdf"], dpi=50)


def test_what_people_put_into_the_folder_is_neither_deleted_nor_exported(results, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("mine")
    with pytest.raises(InputError, match=r"thesis\.docx"):
        egress.run(results, out, dpi=50)
    assert [path.name for path in out.iterdir()] == ["thesis.docx"]


def test_figures_are_thinned_until_the_folder_is_small_enough(results, tmp_path):
    def size(folder):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6

    egress.run(results, tmp_path / "large", dpi=200)
    limit = 0.6 * size(tmp_path / "large")
    manifest = egress.run(results, tmp_path / "small", dpi=200, max_mb=limit)
    assert size(tmp_path / "small") <= limit
    figures = manifest[manifest["file"].str.startswith("figures/")]
    assert not figures["treatment"].str.contains("200 dots").any()
    with pytest.raises(InputError, match=r"at most egress\.max_mb = 0\.01; the largest file is"):
        egress.run(results, tmp_path / "none", dpi=50, max_mb=0.01)
    assert not (tmp_path / "none").exists()


def test_an_export_that_differs_by_few_people_from_an_earlier_one_is_refused(results, tmp_path):
    egress.run(results, tmp_path / "first", dpi=50)
    egress.run(results, tmp_path / "again", dpi=50)
    assert len(list((results / "egress_record").glob("*.tsv"))) == 1, "the same is kept once"
    path = results / "statistics/correlations.tsv"
    table = files.read_tsv(path)
    files.write_tsv(path, table.assign(n=table["n"] - 2))
    with pytest.raises(egress.Leak, match=r"correlations\.tsv: \d+ counts differ by fewer than 5"):
        egress.run(results, tmp_path / "second", dpi=50)
    assert not (tmp_path / "second").exists()
    files.write_tsv(path, table.assign(n=table["n"] - 20))
    egress.run(results, tmp_path / "later", dpi=50)


def test_a_folder_that_was_tampered_with_is_refused(results, tmp_path):
    out = tmp_path / "out"
    egress.run(results, out, dpi=50)
    (out / "extra.txt").write_text("well")
    with pytest.raises(egress.Leak, match=r"extra.txt: not in the manifest"):
        egress.check_folder(results, out)
    (out / "extra.txt").unlink()
    (out / "report.html").write_text("other")
    with pytest.raises(egress.Leak, match=r"report.html: changed"):
        egress.check_folder(results, out)
    (out / "report.html").unlink()
    with pytest.raises(egress.Leak, match=r"report.html: gone"):
        egress.check_folder(results, out)


def test_means_that_differ_by_few_people_are_not_shown_side_by_side(finished, collected):
    before = files.read_tsv(finished / "statistics/sensitivity.tsv")
    after = files.read_tsv(collected / "tables/statistics/sensitivity.tsv")
    gap = before["n_all"] - before["n_unflagged"]
    assert gap.between(1, 4).any()
    assert after.loc[gap.between(1, 4).to_numpy(), "value_unflagged"].isna().all()


def solvable(shown: pd.DataFrame) -> list:
    """Withheld cells that follow from the sums: bridges of the graph of rows and columns.

    Moving a withheld count by one needs a closed walk over withheld cells.
    """
    cells = [(r, c) for r in shown.index for c in shown if np.isnan(shown.loc[r, c])]
    found = []
    for cell in cells:
        others = [other for other in cells if other != cell]
        reached, size = {("row", cell[0])}, 0
        while len(reached) > size:
            size = len(reached)
            for r, c in others:
                if {("row", r), ("column", c)} & reached:
                    reached |= {("row", r), ("column", c)}
        if ("column", cell[1]) not in reached:
            found.append(cell)
    return found


@pytest.mark.parametrize("seed", range(12))
def test_no_withheld_count_follows_from_the_sums(seed):
    rng = np.random.default_rng(seed)
    inner = pd.DataFrame(rng.integers(0, 40, (4, 3)), index=list("abcd"), columns=list("xyz"))
    inner = inner.where(rng.random(inner.shape) < 0.7, rng.integers(0, 5, inner.shape))
    table = inner.assign(all=inner.sum(axis=1))
    table.loc["all"] = table.sum()
    shown = suppress_margins(table, 5, total="all", whole="all")
    assert (shown.min().min() >= 5) or shown.isna().all(axis=None)
    assert solvable(shown) == []


def test_densities_count_people_and_withhold_small_cells():
    rng = np.random.default_rng(3)
    x, y = rng.normal(170, 8, 500), rng.normal(600, 90, 500)
    cells = shared.density(x, y, 2.0, 25.0, 5)
    assert (cells["n"] >= 5).all()
    assert (cells["x"] % 2 == 0).all()
    assert (cells["y"] % 25 == 0).all()
    for cell in cells.itertuples():
        inside = (x >= cell.x) & (x < cell.x + 2) & (y >= cell.y) & (y < cell.y + 25)
        assert inside.sum() == cell.n


def test_few_people_in_all_withheld_cells_take_a_larger_one_with_them():
    shown = shared.withhold(pd.Series([50, 20, 2]), 5)
    assert shown.isna().tolist() == [False, True, True]
    assert shared.withhold(pd.Series([50, 20]), 5).notna().all()


def test_the_ends_of_ages_are_reached_by_enough_people():
    from iliopsoas.egress.drawn import age_range

    main = pd.DataFrame({"age": [44.0, *[50.0] * 5, *[60.0] * 20, *[70.0] * 5, 82.0]})
    assert age_range(main, 5) == (50.0, 70.0)
    assert age_range(main.head(6), 5) == (None, None)


def test_the_balance_is_drawn_from_what_may_be_shown():
    from iliopsoas.egress import drawn

    columns = [
        "sex", "age_group", "eligible", "quota", "kept", "drawn", "shortfall", "filled",
        "share_eligible", "share_drawn", "bmi_ks", "within_limit",
        *(f"bmi_p{share}_{who}" for who in ("eligible", "drawn") for share in (5, 25, 50, 75, 95)),
    ]  # fmt: skip
    rows = [
        {"sex": sex, "age_group": age, "eligible": n, "quota": 10, "drawn": n}
        for sex, counts in (("female", (30, 2, 40)), ("male", (20, 25, 35)))
        for age, n in zip(("44-53", "54-63", "64-72"), counts, strict=True)
    ]
    rows += [
        {"sex": sex, "age_group": "all", "eligible": n, "quota": 30, "drawn": n}
        for sex, n in (("female", 72), ("male", 80), ("all", 152))
    ]
    balance = pd.DataFrame(rows).reindex(columns=columns)
    shown = tables.release("cohort/balance", balance, 5)
    strata = shown[shown["age_group"] != "all"]
    assert strata["drawn"].isna().sum() >= 2, "one withheld alone would follow from the sum"
    assert (strata["drawn"].dropna() >= 5).all()
    figure = drawn.draw({"cohort/balance": shown}, pd.DataFrame(), 5)["balance"]
    assert "withheld" in figure.axes[0].get_title(loc="left")
    nobody = shown.assign(drawn=pd.NA, eligible=pd.NA)
    text = drawn.draw({"cohort/balance": nobody}, pd.DataFrame(), 5)["balance"].axes[0].texts[0]
    assert "fewer than 5" in text.get_text()


def test_a_figure_s_title_does_not_tell_how_few_have_no_value():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"sex": ["female"] * 60 + ["male"] * 60, "bmi": rng.normal(26, 3, 120),
                          "imi_ml_m2": rng.normal(250, 30, 120)})  # fmt: skip
    table.loc[:1, "bmi"] = np.nan
    rows = pd.DataFrame(columns=["x", "sex", "rho", "rho_low", "rho_high", "p", "n"])
    panels = shared.figure6(table, rows).axes
    titles = [panel.get_title(loc) for panel in panels for loc in ("left", "center")]
    assert not any("58" in title for title in titles)
    assert any("60" in title for title in titles)
