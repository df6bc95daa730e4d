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
    page = summary.page(table, table, flags, pd.DataFrame({"measure": ["Total volume (ml)"]}))
    assert "| dixon | truncated_zip | 1 |" in page
    assert "| asymmetry | 1 |" in page
    assert "100000" not in page


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
