"""The run's exit status and its page."""

import pandas as pd
import pytest

from iliopsoas.reporting import recovery, summary
from iliopsoas.status import InputError


def volumes(*statuses):
    return pd.DataFrame(
        {
            "eid": [str(1_000_000 + i) for i in range(len(statuses))],
            "instance": "2",
            "status": statuses,
            "stopped_at": ["" if status == "ok" else "dixon" for status in statuses],
        }
    )


def table2():
    """Total volume of the paper's Table 2."""
    row = {"label": "Total", "unit": "ml", "p": 1.4e-5, "q": 2e-5, "rank_biserial": -0.91}
    for sex, numbers in (("female", (542.3, 72.1, 305, 822)), ("male", (814.5, 113, 441, 1280))):
        row |= {f"{sex}_{k}": v for k, v in zip(("mean", "sd", "min", "max"), numbers, strict=True)}
    return pd.DataFrame([row])


def test_a_participant_without_a_verdict_fails_the_run():
    sample = volumes("ok", "ok", "ok")
    with pytest.raises(InputError, match="1 participants of the sample have no verdict"):
        summary.check(sample, volumes("ok", "ok"), max_failed_share=1.0)
    with pytest.raises(InputError, match="no verdict"):
        summary.check(sample, volumes("ok", "ok", "no_verdict"), max_failed_share=1.0)


def test_too_many_failures_fail_the_run():
    table = volumes("ok", "ok", "ok", "truncated_zip")
    summary.check(table, table, max_failed_share=0.25)
    with pytest.raises(InputError, match=r"25\.0%"):
        summary.check(table, table, max_failed_share=0.2)


def test_the_page_counts_reasons_and_names_nobody():
    table = volumes("ok", "truncated_zip", "station_missing")
    flags = pd.DataFrame({"eid": ["1000000"], "flag": ["asymmetry"]})
    page = summary.page(table, table, flags, table2())
    assert "| dixon | truncated_zip | 1 |" in page
    assert "| asymmetry | 1 |" in page
    assert "100000" not in page


def test_the_page_begins_with_the_accuracy_and_prints_table_2_as_the_paper_does():
    table = volumes("ok", "ok")
    folds = pd.DataFrame(
        {
            "fold": ["1", "all muscles", "mean of folds"],
            "subjects": [9, 18, 18],
            "dice_mean": [0.91, 0.9153, 0.91],
            "dice_sd": [0.01, 0.012, 0.01],
            "dice_min": [0.88, 0.871, 0.88],
            "bias_percent": [1.0, -1.26, 1.0],
        }
    )
    page = summary.page(table, table, pd.DataFrame(), table2(), cross_validation=folds)
    assert page.index("Dice of unseen participants: 0.915") < page.index("Open first")
    assert "-1.3 %" in page
    assert "lowest muscle 0.871" in page
    assert "nan" not in page
    assert "e-05" not in page
    assert "Female, mean ± SD" in page
    elsewhere = folds[folds["fold"] == "all muscles"]
    page = summary.page(table, table, pd.DataFrame(), table2(), cross_validation=elsewhere)
    assert "unseen" not in page
    assert "0.915" in page
    assert "may have been trained on them" in page
    assert "Dice of unseen" not in summary.page(table, table, pd.DataFrame(), table2())


def test_the_page_says_where_masks_are_by_the_starter():
    table = volumes("ok", "ok").assign(network=["starter", "starter"])
    assert "synthetic people only" in summary.page(table, table, pd.DataFrame(), table2())
    own = table.assign(network="own")
    assert "synthetic people only" not in summary.page(own, own, pd.DataFrame(), table2())


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("", "ok"),
        ("truncated", "truncated_zip"),
        ("missing:3", "station_missing"),
        ("missing:6", "ok"),
        ("swapped:4", "ok"),
    ],
)
def test_planted_faults_lead_to_their_status(fault, status):
    assert recovery.expected_status(fault) == status


def test_a_failure_that_was_not_planted_is_not_excused():
    rows = {"eid": ["1000000"], "instance": ["2"], "planted_fault": [""]}
    table = pd.DataFrame(rows | {"status": ["time_limit"], "expected_status": ["ok"]})
    with pytest.raises(InputError, match="1 synthetic participants"):
        recovery.check_planted_faults(table)


def test_the_runs_record_holds_software_and_configuration():
    record = summary.run_record({"training": {"seed": 7}})
    assert record["configuration"]["training"]["seed"] == 7
    assert record["libraries"]["numpy"]
    assert record["machine"]["cores"] >= 1


def test_the_record_needs_no_git(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))  # as in the container
    assert summary.run_record({}, tmp_path)["commit"] is None
