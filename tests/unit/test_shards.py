"""Shards: verdicts, ledger, resume, time limit, dying workers, one guard for each participant."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from pebble import ProcessFuture, ProcessPool

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages import shards
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Shard, Stage, Task, execute, output_of
from iliopsoas.status import InputError, Refused, Verdict

QUICK = Run(time_limit_s=20)


def work(folder, behaviour="ok"):
    """A stage's function that does what its participant's zip would make it do."""
    folder = Path(folder)
    if behaviour == "refused":
        raise Refused(Verdict.STATION_MISSING, "station 3 is missing")
    if behaviour == "bug":
        raise KeyError(f"surprise in {folder}")
    if behaviour == "hang":
        time.sleep(60)
    if behaviour == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "disk full":
        raise OSError(28, "No space left on device")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    files.write_text(folder / "out.txt", "result")
    return {"snr": 21.5, "swaps_corrected": [4, 5]}


STAGE = Stage("stage", ("out.txt",), work, after="dixon")


def manifest(results, number):
    rows = [{"eid": str(1_000_000 + i), "instance": "2"} for i in range(number)]
    files.write_tsv(results / "manifest.tsv", pd.DataFrame(rows))


def shard(results, behaviours, fingerprint="same", options=QUICK, **more):
    manifest(results, len(behaviours))

    def inputs(row, earlier):
        return (), {"behaviour": behaviours[int(row.eid) - 1_000_000]}

    more.setdefault("inputs", inputs)
    return Shard(
        STAGE,
        results / "manifest.tsv",
        results / "stage.tsv",
        results=results,
        parts=(fingerprint,),
        options=options,
        **more,
    )


def run(results, behaviours, **more):
    return shard(results, behaviours, **more).run(processes=2)


def folder(results, number=0):
    return files.subject_folder(results, str(1_000_000 + number), "2")


def calls(results, number=0):
    return (folder(results, number) / "calls").read_text()


def test_every_participant_gets_a_verdict_and_none_fails_the_shard(tmp_path):
    behaviours = ["ok", "refused", "bug", "hang", "die", "ok"]
    run(tmp_path, behaviours, options=Run(time_limit_s=5))
    ledger = files.read_tsv(tmp_path / "stage.tsv")
    assert ledger["verdict"].tolist() == [
        "ok",
        "station_missing",
        "unexpected_error",
        "time_limit",
        "worker_died",
        "ok",
    ]
    assert ledger["message"].iloc[1] == "station 3 is missing"
    assert "surprise" in ledger["message"].iloc[2]
    assert ledger["eid"].tolist() == [str(1_000_000 + i) for i in range(6)]
    assert ledger["snr"].iloc[0] == 21.5
    assert ledger["swaps_corrected"].iloc[0] == "4,5"
    assert ledger["snr"].isna().iloc[1:5].all()
    assert not (tmp_path / "stage.unfinished.jsonl").exists()


def test_done_work_is_not_done_again_and_what_is_lost_or_cut_off_is(tmp_path):
    first = run(tmp_path, ["ok", "ok", "ok", "refused"])
    (folder(tmp_path, 1) / "out.txt").unlink()
    (folder(tmp_path, 2) / "out.txt").write_text("res")  # truncated
    again = run(tmp_path, ["ok", "ok", "ok", "refused"])
    assert calls(tmp_path, 0) == "x"
    assert calls(tmp_path, 1) == calls(tmp_path, 2) == "xx"
    assert again["verdict"].tolist() == first["verdict"].tolist()


def test_a_second_run_writes_the_same_ledger(tmp_path):
    run(tmp_path, ["ok", "refused"])
    before = (tmp_path / "stage.tsv").read_bytes()
    run(tmp_path, ["ok", "refused"])
    assert (tmp_path / "stage.tsv").read_bytes() == before


def test_other_parameters_or_inputs_redo_the_work(tmp_path):
    run(tmp_path, ["ok"])
    run(tmp_path, ["ok"], fingerprint="other")
    assert calls(tmp_path) == "xx"


def test_output_of_an_earlier_success_does_not_outlive_a_refusal(tmp_path):
    run(tmp_path, ["ok"])
    run(tmp_path, ["refused"], fingerprint="new zip")
    assert not (folder(tmp_path) / "out.txt").exists()


def test_a_job_whose_machine_fails_leaves_another_jobs_output_alone(tmp_path):
    """Two copies of a job on one shard: the first succeeded, the second dies on the way."""
    second = shard(tmp_path, ["die", "ok"])
    run(tmp_path, ["ok", "ok"])
    ledger = second.run(processes=1)
    assert (folder(tmp_path) / "out.txt").read_text() == "result"
    assert ledger["verdict"].tolist() == ["worker_died", "ok"]
    assert run(tmp_path, ["ok", "ok"])["verdict"].tolist() == ["ok", "ok"]


def test_two_jobs_on_one_shard_both_end_with_a_whole_ledger(tmp_path):
    first, second = shard(tmp_path, ["ok"] * 4), shard(tmp_path, ["ok"] * 4)
    started = execute(work, second.pending, 1, 20)
    task, outcome = next(started)
    second.finish(task, outcome, outcome.value)
    assert len(first.run(processes=1)) == 4
    for task, outcome in started:
        second.finish(task, outcome, outcome.value)
    assert len(second.close()) == 4
    assert (files.read_tsv(tmp_path / "stage.tsv")["verdict"] == "ok").all()


def test_what_the_machine_failed_is_tried_again_but_a_refused_scan_is_not(tmp_path):
    run(tmp_path, ["bug", "refused"])
    assert [task.eid for task in shard(tmp_path, ["ok", "ok"]).pending] == ["1000000"]
    asked = Run(retry=["station_missing"])
    assert len(shard(tmp_path, ["ok", "ok"], options=asked).pending) == 2


def previous(results, verdicts):
    rows = [
        {
            "eid": str(1_000_000 + i),
            "instance": "2",
            "verdict": verdict,
            "message": "dixon: truncated_zip" if verdict == "earlier_stage" else "",
            "fingerprint": "f",
        }
        for i, verdict in enumerate(verdicts)
    ]
    files.write_tsv(results / "dixon.tsv", pd.DataFrame(rows))
    return results / "dixon.tsv"


def test_a_blocked_participant_is_recorded_and_not_attempted(tmp_path):
    before = previous(tmp_path, ["truncated_zip", "earlier_stage", "ok"])
    ledger = run(tmp_path, ["ok"] * 3, previous=before)
    assert ledger["verdict"].tolist() == ["earlier_stage", "earlier_stage", "ok"]
    assert ledger["message"].tolist()[:2] == ["dixon: truncated_zip"] * 2
    assert not folder(tmp_path, 0).exists()


def test_another_result_of_the_stage_before_redoes_the_work(tmp_path):
    run(tmp_path, ["ok"], previous=previous(tmp_path, ["ok"]))
    table = files.read_tsv(tmp_path / "dixon.tsv").assign(fingerprint="g")
    files.write_tsv(tmp_path / "dixon.tsv", table)
    run(tmp_path, ["ok"], previous=tmp_path / "dixon.tsv")
    assert calls(tmp_path) == "xx"


def test_a_ledger_before_that_lacks_a_participant_stops_the_job(tmp_path):
    with pytest.raises(InputError, match="lacks a participant"):
        shard(tmp_path, ["ok", "ok"], previous=previous(tmp_path, ["ok"]))


@pytest.mark.parametrize("error", [FileNotFoundError, PermissionError, OSError, ValueError])
def test_an_input_of_one_participant_that_cannot_be_read_harms_nobody_else(tmp_path, error):
    def inputs(row, earlier):
        if row.eid == "1000001":
            raise error(f"/data/{row.eid}_2_left.nii.gz")
        return (), {}

    ledger = run(tmp_path, ["ok"] * 3, inputs=inputs)
    assert ledger["verdict"].tolist() == ["ok", "unexpected_error", "ok"]
    assert "1000001" not in ledger["message"].iloc[1]
    assert "_2_left.nii.gz" in ledger["message"].iloc[1]


def test_the_log_has_the_first_traceback_of_each_kind_and_no_id(tmp_path, caplog):
    with caplog.at_level("WARNING", logger="iliopsoas"):
        run(tmp_path, ["bug", "bug", "bug", "ok"])
    traces = [record.message for record in caplog.records if "Traceback" in record.message]
    assert len(traces) == 1
    assert "in work" in traces[0]
    assert "10000" not in caplog.text.replace(str(tmp_path), "")


def test_a_machine_that_fails_too_many_stops_the_shard_at_once(tmp_path):
    with pytest.raises(InputError, match=r"max_machine_failures.*surprise"):
        run(tmp_path, ["bug"] * 40)
    tried = Ledger(tmp_path / "stage.tsv").rows()
    assert 5 <= len(tried) < 15
    assert not (tmp_path / "stage.tsv").exists()


def test_a_few_failures_of_the_machine_in_a_large_shard_do_not(tmp_path):
    behaviours = ["bug" if i % 10 == 9 else "ok" for i in range(40)]
    assert (run(tmp_path, behaviours)["verdict"] == "ok").sum() == 36


def test_a_shard_of_which_nobody_succeeds_stops_however_small(tmp_path):
    with pytest.raises(InputError, match="failed 2 of 2"):
        run(tmp_path, ["bug", "bug"])


SUSPENDED = """
import os, sys, time
from pathlib import Path

from iliopsoas.stages import shards


def work(folder):
    print(os.getpid(), flush=True)
    time.sleep(0.5)


if __name__ == "__main__":
    shards.ASLEEP_S = 0.5
    tasks = [shards.Task(str(number), "2", Path("x"), "f") for number in range(6)]
    found = list(shards.execute(work, tasks, processes=2, time_limit_s=5))
    print(*sorted(f"{task.eid}:{outcome.verdict}" for task, outcome in found))
"""


def test_a_job_that_was_suspended_for_longer_than_the_time_limit_goes_on(tmp_path):
    """By SLURM, or by a lid that was closed: nobody is given up, and the job ends."""
    (tmp_path / "job.py").write_text(SUSPENDED)
    command = [sys.executable, str(tmp_path / "job.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as job:
        try:
            job.stdout.readline()  # the first one is in work
            os.killpg(job.pid, signal.SIGSTOP)
            time.sleep(7)
            os.killpg(job.pid, signal.SIGCONT)
            said = job.communicate(timeout=40)[0]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
    assert said.splitlines()[-1] == " ".join(f"{number}:ok" for number in range(6))


@pytest.mark.parametrize("times", [1, 2])
def test_a_participant_whom_the_pool_loses_is_tried_once_more(tmp_path, monkeypatch, times):
    """A worker that is stopped may take the next task along: its future never ends."""
    lost, schedule = [], ProcessPool.schedule

    def losing(pool, function, arguments, named, timeout):
        if "1000000" in str(arguments[1]) and len(lost) < times:
            lost.append(ProcessFuture())
            return lost[-1]
        return schedule(pool, function, arguments, named, timeout)

    monkeypatch.setattr(ProcessPool, "schedule", losing)
    monkeypatch.setattr(shards, "LOST_S", 8 - QUICK.time_limit_s)  # after 8 s in all
    ledger = run(tmp_path, ["ok"] * 3)
    assert ledger["verdict"].tolist() == ["ok" if times == 1 else "worker_died", "ok", "ok"]


def test_a_full_disk_stops_the_run(tmp_path):
    tasks = [Task("1000000", "2", tmp_path / "x", "f", {"behaviour": "disk full"})] * 3
    with pytest.raises(OSError, match="No space left"):
        list(execute(work, tasks, processes=1, time_limit_s=20))


def test_a_ledger_with_a_hole_is_never_written(tmp_path):
    with pytest.raises(InputError, match="no verdict"):
        shard(tmp_path, ["ok"]).close()
    assert not (tmp_path / "stage.tsv").exists()


def test_a_half_written_line_is_no_row_and_spoils_no_other(tmp_path):
    ledger = Ledger(tmp_path / "stage.tsv")
    ledger.append({"eid": "1", "instance": "2", "verdict": "ok"})
    with ledger.unfinished.open("a") as file:
        file.write('{"eid": "2", "insta')
    ledger.append({"eid": "3", "instance": "2", "verdict": "ok"})
    assert set(ledger.rows()) == {("1", "2"), ("3", "2")}
    whole = [json.loads(line) for line in ledger.unfinished.read_text().splitlines()[::2]]
    assert [row["eid"] for row in whole] == ["1", "3"]


def test_an_output_of_an_earlier_stage_that_shows_late_is_waited_for(tmp_path, monkeypatch):
    import threading

    path = tmp_path / "water.txt"
    threading.Timer(0.5, path.write_text, ["whole"]).start()
    with output_of("dixon", path):
        assert path.read_text() == "whole"
    monkeypatch.setattr("iliopsoas.stages.shards.LATE_S", 0.1)
    with (
        pytest.raises(Refused, match=r"dixon: gone.txt") as caught,
        output_of("dixon", tmp_path / "gone.txt"),
    ):
        pass
    assert caught.value.verdict == Verdict.EARLIER_OUTPUT_LOST


def test_a_damaged_output_of_an_earlier_stage_is_removed_and_said(tmp_path):
    path = tmp_path / "water.txt"
    path.write_text("half")
    with pytest.raises(Refused, match="retry_failed"), output_of("dixon", path):
        raise EOFError("compressed file ended before the end-of-stream marker")
    assert not path.exists()


def test_a_disk_that_cannot_be_read_today_is_no_damage(tmp_path):
    path = tmp_path / "water.txt"
    path.write_text("whole")
    with pytest.raises(OSError, match="stale"), output_of("dixon", path):
        raise OSError(116, "stale file handle")
    assert path.exists()
