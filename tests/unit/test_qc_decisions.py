"""Decisions of raters: reading, combining, kappa, the blinded sample."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from iliopsoas.qc import audit, decisions
from iliopsoas.status import InputError

HEADER = "eid\tinstance\trater\tdecision\tnote\ttime\tmode\tjudged\n"


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
    ("text", "expected"),
    [
        ("eid\tinstance\n1\t2\n", "column rater is missing"),
        (HEADER + "1\t2\tjf\tperhaps\t\tt\t\t\n", "line 2: decision must be"),
        (HEADER + "1\t2\tjf\taccept\t\tt\t\t\n1\t2\t\taccept\t\tt\t\t\n", "line 3: the rater"),
        (HEADER + "\t2\tjf\taccept\t\tt\t\t\n", "line 2: eid or instance"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_line(tmp_path, text, expected):
    path = tmp_path / "wrong.tsv"
    path.write_text(text)
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


def test_nothing_judged_is_no_rate_and_no_failure_still_has_an_upper_bound():
    drawn = audit.draw(cohort(), 59)
    none = decisions.residual_failure_rate(decisions.combine(votes()), drawn)
    assert none["rate"] is None
    rows = [(eid, "a", "accept", "", "") for eid in drawn["eid"]]
    found = decisions.residual_failure_rate(decisions.combine(votes(*rows)), drawn)
    assert found["rate"] == 0
    assert found["low"] == 0
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 59))
