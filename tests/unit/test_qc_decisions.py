"""Decisions of raters: reading, combining, kappa, the blinded sample."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from iliopsoas.qc import audit, decisions
from iliopsoas.status import InputError

HEADER = "eid\tinstance\trater\tdecision\tnote\ttime\tmode\tjudged\n"


ROW = "1000001\t2\tjf\taccept\t{note}\t2026-01-01T00:00:00Z\topen\tx\n"


def votes(*rows):
    names = [*decisions.COLUMNS, *decisions.OPTIONAL]
    return pd.DataFrame(
        [(eid, "2", rater, decision, note, "t", "open", judged) for
         eid, rater, decision, note, judged in rows],
        columns=names,
    )  # fmt: skip


def test_reading_keeps_the_newest_of_each_rater(tmp_path):
    (tmp_path / "a.tsv").write_text(
        HEADER
        + "1000001\t2\tjf\taccept\t\t2026-01-02T00:00:00Z\topen\tx\n"
        + "1000001\t2\tnb\treject\ta \"quoted' note\t2026-01-01T00:00:00Z\topen\tx\n"
    )
    (tmp_path / "b.tsv").write_text(
        "\ufeff" + HEADER + "1000001\t2\tjf\tReject\tlater\t2026-02-02T00:00:00Z\topen\tx\n"
    )
    read = decisions.read(tmp_path).set_index("rater")
    assert read.loc["jf", "decision"] == "reject"
    assert read.loc["nb", "note"] == "a \"quoted' note"
    assert read.loc["nb", "eid"] == "1000001"


@pytest.mark.parametrize(
    ("data", "note"),
    [
        ((HEADER + ROW.format(note="seen")).replace("\n", "\r\n").encode(), "seen"),
        ((HEADER + ROW.format(note="gr\u00f6\u00dfer")).encode("utf-16"), "gr\u00f6\u00dfer"),
        ((HEADER + ROW.format(note='"cut, ""psoas"""')).encode(), 'cut, "psoas"'),
        ((HEADER + ROW.format(note="\"open")).encode(), '"open'),
        ((HEADER + "\n" + ROW.format(note="seen") + "\t" * 7 + "\n\n").encode(), "seen"),
        ((HEADER.strip() + "\t\n" + ROW.format(note="seen")).encode(), "seen"),
        ((HEADER + ROW.format(note="seen").strip() + "\t\t\n").encode(), "seen"),
    ],
    ids=["crlf", "utf-16", "quoted", "one quote", "empty lines", "wide header", "wide row"],
)  # fmt: skip
def test_a_file_that_went_through_a_spreadsheet_is_read(tmp_path, data, note):
    path = tmp_path / "saved.tsv"
    path.write_bytes(data)
    read = decisions.read(path)
    assert read["note"].tolist() == [note]
    assert read[["eid", "decision", "judged"]].to_numpy().tolist() == [["1000001", "accept", "x"]]


def test_files_that_a_system_hides_in_a_folder_are_passed_over(tmp_path):
    (tmp_path / "a.tsv").write_text(HEADER + ROW.format(note=""))
    (tmp_path / "._a.tsv").write_bytes(b"\0\5\x16\7\xff\xfe")
    assert len(decisions.read(tmp_path)) == 1
    assert len(decisions.read([tmp_path / "a.tsv"])) == 1


def test_a_decision_taken_back_after_it_was_saved_no_longer_counts(tmp_path):
    taken = ROW.format(note="").replace("accept", "reject")
    (tmp_path / "1.tsv").write_text(HEADER + taken)
    back = taken.replace("reject", "").replace("01-01", "01-02")
    (tmp_path / "2.tsv").write_text(HEADER + back)
    assert decisions.combine(decisions.read(tmp_path)).empty


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "column eid is missing"),
        (HEADER + "1\t2\tjf\taccept\ta\tb\tt\topen\tx\n", "line 2: 9 cells, expected 8"),
        (HEADER + "\n1\t2\tjf\tperhaps\t\tt\t\t\n", "line 3: decision must be"),
        (HEADER + "1\t2\tjf\taccept\tgr\udcf6sser\tt\t\t\n", "line 2: the text is not UTF-8"),
        ("eid\tinstance\n1\t2\n", "column rater is missing"),
        (HEADER + "1\t2\tjf\tperhaps\t\tt\t\t\n", "line 2: decision must be"),
        (HEADER + "1\t2\tjf\taccept\t\tt\t\t\n1\t2\t\taccept\t\tt\t\t\n", "line 3: the rater"),
        (HEADER + "\t2\tjf\taccept\t\tt\t\t\n", "line 2: eid or instance"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(tmp_path, text, expected):
    path = tmp_path / "wrong.tsv"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=rf"wrong\.tsv.*{expected}"):
        decisions.read(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no file"):
        decisions.read(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="no file"):
        decisions.read(tmp_path)


def test_the_strictest_of_disagreeing_raters_holds():
    combined = decisions.combine(
        votes(
            ("1", "a", "accept", "", ""),
            ("1", "b", "reject", "cut", ""),
            ("2", "a", "accept", "", ""),
            ("2", "b", "redo", "", ""),
            ("3", "a", "accept", "", ""),
            ("4", "a", "", "only a note", ""),
        )
    ).set_index("eid")
    assert dict(combined["decision"]) == {"1": "reject", "2": "redo", "3": "accept"}
    assert list(combined["agree"]) == [False, False, True]
    assert combined.loc["1", "notes"] == "b: cut"
    out = decisions.excluded(combined.reset_index())
    assert list(out["eid"]) == ["1", "2"]
    assert out.loc[0, "reason"] == "review: reject by 2 rater(s)"


def test_decisions_on_another_mask_or_a_withdrawn_participant_do_not_count():
    volumes = pd.DataFrame(
        {"eid": ["1", "2"], "instance": "2", "segment_fingerprint": ["new", "same"]}
    )
    combined = decisions.combine(
        votes(
            ("1", "a", "reject", "", "old"),
            ("2", "a", "reject", "", "same"),
            ("9", "a", "reject", "", "same"),
        ),
        volumes,
    )
    assert list(combined["eid"]) == ["1", "2"]
    assert list(combined["decision"]) == ["", "reject"]
    assert list(combined["stale"]) == [1, 0]
    assert list(decisions.excluded(combined)["eid"]) == ["2"]


def test_kappa_is_that_of_scikit_learn_on_shared_participants():
    rng = np.random.default_rng(1)
    first = rng.choice(["accept", "reject", "redo"], 80, p=[0.7, 0.2, 0.1])
    second = np.where(rng.random(80) < 0.8, first, rng.permutation(first))
    rows = [(str(i), "a", first[i], "", "") for i in range(80)]
    rows += [(str(i), "b", second[i], "", "") for i in range(80)]
    rows += [("900", "a", "reject", "", ""), ("901", "b", "accept", "", "")]
    found = decisions.kappa(votes(*rows)).iloc[0]
    assert found["participants"] == 80
    assert found["agreement"] == pytest.approx(np.mean(first == second))
    assert found["kappa"] == pytest.approx(cohen_kappa_score(first, second))
    assert found["low"] < found["kappa"] < found["high"]


def kappa_of(first, second):
    rows = [(str(i), "a", decision, "", "") for i, decision in enumerate(first)]
    rows += [(str(i), "b", decision, "", "") for i, decision in enumerate(second)]
    return decisions.kappa(votes(*rows)).iloc[0]


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        (["accept"], ["reject"], 0),
        (["accept", "reject"], ["accept", "reject"], 1),
        (["accept", "reject"], ["reject", "accept"], -1),
        (["accept"] * 3, ["accept"] * 2 + ["reject"], 0),
    ],
)
def test_kappa_of_few_participants_has_a_wide_interval(first, second, kappa):
    found = kappa_of(first, second)
    assert found["kappa"] == pytest.approx(kappa)
    assert -1 <= found["low"] <= kappa <= found["high"] <= 1
    assert found["high"] - found["low"] > 0.9


def test_the_interval_of_complete_agreement_narrows_with_participants():
    half = ["accept", "reject"]
    lows = [kappa_of(half * n, half * n)["low"] for n in (5, 50, 500)]
    # exact bound of 2n agreements of 2n; chance agreement is one half
    assert lows == pytest.approx([(0.025 ** (0.5 / n) - 0.5) / 0.5 for n in (5, 50, 500)])


def test_kappa_counts_todays_masks_and_blinded_decisions_before_open_ones():
    volumes = pd.DataFrame({"eid": ["1", "2", "3"], "instance": "2", "segment_fingerprint": "new"})
    table = votes(
        ("1", "a", "accept", "", "new"),
        ("1", "b", "accept", "", "new"),
        ("2", "a", "accept", "", "old"),
        ("2", "b", "reject", "", "new"),
        ("3", "a", "reject", "", "new"),
        ("3", "b", "accept", "", "new"),
        ("9", "a", "accept", "", "new"),  # withdrawn
        ("9", "b", "reject", "", "new"),
    )
    talked = votes(("3", "b", "reject", "", "new")).assign(time="u")
    table = pd.concat([table.assign(mode="blinded"), talked], ignore_index=True)
    found = decisions.kappa(table, volumes).iloc[0]
    assert (found["participants"], found["agreement"]) == (2, 0.5)
    combined = decisions.combine(table, volumes).set_index("eid")
    assert combined.loc["3", "agree"]
    assert combined.loc["3", "raters"] == 2


def test_kappa_without_variation_or_shared_participants_is_missing():
    same = decisions.kappa(votes(("1", "a", "accept", "", ""), ("1", "b", "accept", "", "")))
    assert same.loc[0, "agreement"] == 1
    assert pd.isna(same.loc[0, "kappa"])
    apart = decisions.kappa(votes(("1", "a", "accept", "", ""), ("2", "b", "accept", "", "")))
    assert apart.loc[0, "participants"] == 0
    assert pd.isna(apart.loc[0, "kappa"])
    assert decisions.kappa(votes(("1", "a", "accept", "", ""))).empty


def cohort(people=1000, flagged=100):
    qc = np.where(np.arange(people) < flagged, "review", "pass")
    qc[:10] = "no_volume"
    eids = [str(1000000 + i) for i in range(people)]
    return pd.DataFrame({"eid": eids, "instance": "2", "qc": qc})


def test_the_blinded_sample_is_stable_and_mixed():
    people = cohort()
    drawn = audit.draw(people, 100)
    assert (drawn["group"] == "unflagged").sum() == 100
    assert (drawn["group"] == "decoy").sum() == 25
    shuffled = audit.draw(people.sample(frac=1, random_state=3), 100)
    assert drawn.equals(shuffled)
    larger = audit.draw(people, 150)
    assert set(drawn["eid"]) <= set(larger["eid"])
    assert set(audit.draw(people, 100, seed=1)["eid"]) != set(drawn["eid"])
    qc = people.set_index("eid")["qc"]
    assert set(qc[drawn.loc[drawn["group"] == "decoy", "eid"]]) == {"review"}
    assert set(qc[drawn.loc[drawn["group"] == "unflagged", "eid"]]) == {"pass"}
    first, last = drawn["group"][:60], drawn["group"][-60:]
    assert "decoy" in set(first)
    assert "decoy" in set(last)


def test_a_small_cohort_is_drawn_whole_and_pictures_are_for_flagged_and_drawn():
    people = cohort(28, 14)
    drawn = audit.draw(people, 200)
    assert (drawn["group"] == "unflagged").sum() == 14
    pictured = audit.wants_picture(people, drawn)
    assert len(pictured) == 18
    assert not set(pictured["eid"]) & set(people["eid"][:10])
    people.loc[people["qc"] == "pass", "qc"] = "note"  # a note too is looked for on the page
    assert len(audit.wants_picture(people, drawn[:0])) == 18


def test_the_residual_failure_rate_counts_the_unflagged_alone():
    drawn = audit.draw(cohort(), 100)
    unflagged = drawn.loc[drawn["group"] == "unflagged", "eid"].tolist()
    decoys = drawn.loc[drawn["group"] == "decoy", "eid"].tolist()
    rows = [(eid, "a", "reject", "", "") for eid in [*decoys, *unflagged[:3]]]
    rows += [(eid, "a", "accept", "", "") for eid in unflagged[3:80]]
    found = decisions.residual_failure_rate(decisions.combine(votes(*rows)), drawn)
    assert (found["drawn"], found["judged"], found["failed"]) == (100, 80, 3)
    expected = stats.binomtest(3, 80).proportion_ci(method="exact")
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_only_blinded_decisions_tell_the_residual_failure_rate(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text(
        HEADER
        + "1\t2\ta\taccept\t\t2026-01-01T00:00:00Z\tblinded\t\n"
        + "1\t2\ta\treject\t\t2026-01-02T00:00:00Z\topen\t\n"
        + "2\t2\ta\treject\t\t2026-01-02T00:00:00Z\topen\t\n"
    )
    read = decisions.read(path)
    assert list(decisions.combine(read)["decision"]) == ["reject", "reject"]
    drawn = pd.DataFrame({"eid": ["1", "2"], "instance": "2", "group": "unflagged"})
    found = decisions.residual_failure_rate(decisions.combine(decisions.blind(read)), drawn)
    assert (found["drawn"], found["judged"], found["failed"]) == (2, 1, 0)


def test_nothing_judged_is_no_rate_and_no_failure_still_has_an_upper_bound():
    drawn = audit.draw(cohort(), 59)
    none = decisions.residual_failure_rate(decisions.combine(votes()), drawn)
    assert none["rate"] is None
    rows = [(eid, "a", "accept", "", "") for eid in drawn["eid"]]
    found = decisions.residual_failure_rate(decisions.combine(votes(*rows)), drawn)
    assert found["rate"] == 0
    assert found["low"] == 0
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 59))
