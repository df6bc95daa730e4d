"""Tables and figure of the quality report."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas.figures import qc as figure
from iliopsoas.figures import style
from iliopsoas.qc import report


@pytest.fixture
def cohort():
    """200 participants: 10 without a volume, 20 serious (all at one site), 30 to review."""
    people = 200
    key = pd.DataFrame({"eid": [str(1000000 + i) for i in range(people)], "instance": "2"})
    total = np.linspace(400, 800, people)
    table = key.assign(
        sex=np.where(np.arange(people) % 2, "male", "female"),
        centre=np.where(np.arange(people) < 100, "Reading", "Bristol"),
        age_group=np.where(np.arange(people) < 180, "54-63", None),
        total_ml=total,
        left_ml=total / 2,
        right_ml=total / 2,
        difference_ml=0.0,
        imi_ml_m2=total / 3,
    )
    qc = np.array(["pass"] * people, dtype=object)
    qc[:10], qc[10:30], qc[30:60] = "no_volume", "serious", "review"
    table.loc[:9, ["total_ml", "left_ml", "right_ml", "difference_ml", "imi_ml_m2"]] = np.nan
    return table, key.assign(qc=qc), key[10:30]


def test_shares_are_of_those_with_a_volume(cohort):
    found = report.shares(*cohort).set_index(["group", "level"])
    row = found.loc[("site", "Reading")]
    assert (row["participants"], row["no_volume"], row["flagged"]) == (100, 10, 50)
    assert row["flagged_percent"] == pytest.approx(100 * 50 / 90)
    wilson = stats.binomtest(50, 90).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((100 * wilson.low, 100 * wilson.high))
    assert (row["excluded"], row["flagged_after"]) == (20, 30)
    assert row["flagged_after_percent"] == pytest.approx(100 * 30 / 70)
    assert found.loc[("site", "Bristol"), "flagged"] == 0
    assert found.loc[("age", "not known"), "participants"] == 20
    assert "scanner software" not in found.index.get_level_values("group")
    assert found.loc[("all", "all"), "participants"] == 200


def test_nobody_excluded_changes_nothing(cohort):
    table, verdicts, _ = cohort
    found = report.shares(table, verdicts)
    assert (found["flagged"] == found["flagged_after"]).all()
    same = report.before_after(table, verdicts, verdicts[:0])
    wide = same.pivot_table(index=["measure", "sex"], columns="who", values="n")
    assert (wide["everyone"] == wide["after exclusion"]).all()


def test_before_and_after_exclusion(cohort):
    table, verdicts, excluded = cohort
    found = report.before_after(table, verdicts, excluded)
    rows = found[(found["measure"] == "total_ml") & (found["sex"] == "male")].set_index("who")
    male = table["sex"] == "male"
    assert rows.loc["everyone", "n"] == 95
    assert rows.loc["after exclusion", "n"] == 85
    assert rows.loc["unflagged", "n"] == 70
    left = table.loc[male & (table.index >= 30), "total_ml"]
    assert rows.loc["after exclusion", "mean"] == pytest.approx(left.mean())
    assert rows.loc["after exclusion", "sd"] == pytest.approx(left.std())


@pytest.mark.parametrize("rows", [200, 3, 0])
def test_the_figure_is_drawn_for_any_cohort(cohort, tmp_path, rows):
    table, verdicts, excluded = cohort
    table, verdicts = table[:rows], verdicts[:rows]
    key = verdicts[["eid", "instance"]]
    flags = key[:30].assign(flag="touches_crop", severity="serious")
    drawing = figure.quality(table, flags, report.shares(table, verdicts, excluded), excluded)
    paths = style.save(drawing, tmp_path, "qc", dpi=60)
    assert all(path.stat().st_size > 2000 for path in paths)
    assert "1000010" not in paths[1].read_text()
