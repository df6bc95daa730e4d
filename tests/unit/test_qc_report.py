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


def test_a_cohort_of_unknown_sex_has_a_table_with_a_header(cohort):
    table, verdicts, excluded = cohort
    found = report.before_after(table.assign(sex=None), verdicts, excluded)
    assert list(found.columns) == list(report.before_after(table, verdicts, excluded).columns)


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


def test_judgement_takes_rejected_participants_out_and_says_what_it_could_not_do(tmp_path):
    from test_qc_flags import make_cohort, put

    from iliopsoas.masks import volumes
    from iliopsoas.qc import judge

    sample, ledgers = make_cohort(60)
    ledgers["segment"]["fingerprint"] = "now"
    put(ledgers["volumes"], 3, left_outside_body_percent=20.0)
    table = volumes.table(sample, ledgers)
    people = list(sample["eid"])
    saved = tmp_path / "decisions.tsv"
    saved.write_text(
        "eid\tinstance\trater\tdecision\tnote\ttime\tmode\tjudged\n"
        f"{people[3]}\t2\tjf\treject\tbad\t2026-01-01\topen\tnow\n"
        f"{people[4]}\t2\tjf\treject\tbad\t2026-01-01\topen\tbefore\n"
        f"{people[5]}\t2\tjf\taccept\t\t2026-01-01\topen\tnow\n"
        "9999999\t2\tjf\treject\twithdrawn\t2026-01-01\topen\tnow\n"
    )
    found = judge.judge(sample, table, ledgers, {"review_sample": 30}, saved)
    assert list(found.excluded["eid"]) == [people[3]]
    assert "9999999" not in set(found.decided["eid"])
    assert any("earlier masks" in note for note in found.notes)
    assert any("predicted quality" in note for note in found.notes)
    assert "decisions on 1 scans that are not in this run do not count" in found.notes
    assert found.verdicts.loc[0, "eid"] == people[3]
    assert list(found.volumes["eid"]) == people
    assert found.residual.loc[0, "drawn"] == 30
    assert found.residual.loc[0, "judged"] == 0  # nobody was judged blinded
    everyone = found.shares.set_index("group").loc["all"]
    assert (everyone["excluded"], everyone["flagged"] - everyone["flagged_after"]) == (1, 1)
    alone = judge.judge(sample, table, ledgers)
    assert alone.excluded.empty
    assert alone.kappa.empty
