"""Shards: verdicts, ledger, resume, time limit, dying workers."""

import os
import signal
import time
from pathlib import Path

import pytest

from iliopsoas import files
from iliopsoas.stages.shards import Stage, Task, execute
from iliopsoas.status import InputError, Refused, Verdict


def work(folder, behaviour="ok"):
    """A stage's function that does what its participant's zip would make it do."""
    folder = Path(folder)
    if behaviour == "refused":
        raise Refused(Verdict.STATION_MISSING, "station 3 is missing")
    if behaviour == "bug":
        raise KeyError("surprise")
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


def tasks(results, behaviours, fingerprint="same"):
    return [
        Task(
            eid := str(1_000_000 + i),
            "2",
            fingerprint,
            {"folder": str(files.subject_folder(results, eid, "2")), "behaviour": behaviour},
        )
        for i, behaviour in enumerate(behaviours)
    ]


def run(results, todo, **options):
    stage = Stage("stage", results, ("out.txt",))
    return stage.run(work, todo, results / "ledger.tsv", processes=2, **options)


def calls(results, task):
    return (files.subject_folder(results, task.eid, "2") / "calls").read_text()


def test_every_participant_gets_a_verdict_and_none_fails_the_shard(tmp_path):
    behaviours = ["ok", "refused", "bug", "hang", "die", "ok"]
    run(tmp_path, tasks(tmp_path, behaviours), time_limit_s=5)
    ledger = files.read_tsv(tmp_path / "ledger.tsv")
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
    assert ledger["eid"].tolist() == [task.eid for task in tasks(tmp_path, behaviours)]
    assert ledger["snr"].iloc[0] == 21.5
    assert ledger["swaps_corrected"].iloc[0] == "4,5"
    assert ledger["snr"].isna().iloc[1:5].all()


def test_done_work_is_not_done_again(tmp_path):
    todo = tasks(tmp_path, ["ok", "ok", "refused"])
    first = run(tmp_path, todo, time_limit_s=20)
    (tmp_path / "ledger.tsv").unlink()
    (files.subject_folder(tmp_path, todo[1].eid, "2") / "out.txt").unlink()
    again = run(tmp_path, todo, time_limit_s=20)
    assert calls(tmp_path, todo[0]) == "x"
    assert calls(tmp_path, todo[1]) == "xx", "a lost output is remade"
    assert again["verdict"].tolist() == first["verdict"].tolist()


def test_other_parameters_or_inputs_redo_the_work(tmp_path):
    run(tmp_path, tasks(tmp_path, ["ok"]), time_limit_s=20)
    changed = tasks(tmp_path, ["ok"], fingerprint="other")
    run(tmp_path, changed, time_limit_s=20)
    assert calls(tmp_path, changed[0]) == "xx"


def test_output_of_an_earlier_success_does_not_outlive_a_refusal(tmp_path):
    run(tmp_path, tasks(tmp_path, ["ok"]), time_limit_s=20)
    todo = tasks(tmp_path, ["refused"], fingerprint="new zip")
    run(tmp_path, todo, time_limit_s=20)
    assert not (files.subject_folder(tmp_path, todo[0].eid, "2") / "out.txt").exists()


def test_what_the_machine_failed_is_tried_again_but_a_refused_scan_is_not(tmp_path):
    stage = Stage("stage", tmp_path)
    run(tmp_path, tasks(tmp_path, ["bug", "refused"]), time_limit_s=20)
    pending = stage.pending(tasks(tmp_path, ["ok", "ok"]))
    assert [task.eid for task in pending] == ["1000000"]


def test_a_blocked_participant_is_recorded_and_not_attempted(tmp_path):
    task = Task("1000000", "2", "f", {"folder": "nowhere"}, blocked="dixon: truncated_zip")
    ledger = run(tmp_path, [task], time_limit_s=20)
    assert ledger["verdict"].tolist() == ["earlier_stage"]
    assert ledger["message"].tolist() == ["dixon: truncated_zip"]


def test_a_full_disk_stops_the_run(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        list(execute(work, tasks(tmp_path, ["disk full"] * 3), processes=1, time_limit_s=20))


def test_a_ledger_with_a_hole_is_never_written(tmp_path):
    with pytest.raises(InputError, match="no verdict"):
        Stage("stage", tmp_path).write_ledger(tmp_path / "ledger.tsv", tasks(tmp_path, ["ok"]))
    assert not (tmp_path / "ledger.tsv").exists()


def test_an_unreadable_state_counts_as_no_state(tmp_path):
    todo = tasks(tmp_path, ["ok"])
    run(tmp_path, todo, time_limit_s=20)
    state = files.subject_folder(tmp_path, todo[0].eid, "2") / "stage.state.json"
    state.write_text(state.read_text()[:20])
    run(tmp_path, todo, time_limit_s=20)
    assert calls(tmp_path, todo[0]) == "xx"
