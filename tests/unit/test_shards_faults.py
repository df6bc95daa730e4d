"""Shards under fire: killed jobs, full and read-only disks, hanging and dying workers, clocks."""

import contextlib
import dataclasses
import errno
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from iliopsoas import files
from iliopsoas.config import Run
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Shard, Stage, Task, ask_again, execute
from iliopsoas.status import Refused, Verdict

ROOT = Path(__file__).resolve().parents[2]
EIDS = [str(1_000_000 + i) for i in range(12)]


@contextlib.contextmanager
def limited(what, limit):
    """A limit of the operating system on this process, lifted afterwards."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


def toy(folder, eid, behaviour="ok", gate=None):
    """A stage's function: two outputs that depend on the participant alone, and a call count."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "calls").open("a") as calls:
        calls.write("x")
    files.write_text(folder / "first.txt", f"first of {eid}\n" * 500)
    if gate:
        Path(gate, eid).touch()
        while not Path(gate, "open").exists():  # the parent is killed meanwhile
            time.sleep(0.01)
    if behaviour == "hang":
        time.sleep(600)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "memory":
        with limited(resource.RLIMIT_AS, 1 << 31):
            bytearray(1 << 33)
    if behaviour == "large file":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with limited(resource.RLIMIT_FSIZE, 4096):
            files.write_bytes(folder / "second.txt", bytes(100_000))
    if behaviour == "refused":
        raise Refused(Verdict.STATION_MISSING, "station 3 is missing")
    files.write_text(folder / "second.txt", f"second of {eid}\n")
    return {"length": len(eid)}


STAGE = Stage("toy", ("first.txt", "second.txt"), toy)


def run(results, behaviours=None, *, fingerprint="f", processes=2, people=EIDS, **options):
    """Run the toy stage for `people`; what is in `options` and no option of a run is the toy's."""
    results, behaviours = Path(results), behaviours or {}
    rows = [{"eid": eid, "instance": "2"} for eid in people]
    files.write_tsv(results / "manifest.tsv", pd.DataFrame(rows))
    gate = options.pop("gate", None)

    def inputs(row, earlier):
        return (), {"eid": row.eid, "behaviour": behaviours.get(row.eid, "ok"), "gate": gate}

    shard = Shard(
        STAGE,
        results / "manifest.tsv",
        results / "toy.tsv",
        results=results,
        parts=(fingerprint,),
        inputs=inputs,
        options=Run(**{"time_limit_s": 60} | options),
    )
    return shard.run(processes)


def content(results) -> dict:
    """Every file of the results but call counts, without the seconds that differ."""
    found = {}
    for path in sorted(Path(results).rglob("*")):
        if not path.is_file() or path.name == "calls":
            continue
        text = path.read_text()
        if path.name == "toy.tsv":
            text = files.read_tsv(path).drop(columns="seconds").to_csv()
        found[path.relative_to(results).as_posix()] = text
    return found


def calls(results) -> dict[str, int]:
    return {
        path.parent.name.split("_")[0]: len(path.read_text())
        for path in Path(results).glob("subjects/*/*/calls")
    }


KILLED_JOB = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_shards_faults import run
if __name__ == "__main__":
    run({results!r}, gate={gate!r})
"""


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, directly or not."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        new = children.get(todo.pop(), [])
        found, todo = found + new, todo + new
    return found


@pytest.mark.parametrize("whom", ["the job and its workers", "the job alone"])
def test_a_job_killed_in_the_middle_goes_on_to_the_same_results(tmp_path, whom):
    untouched, results, gate = tmp_path / "untouched", tmp_path / "killed", tmp_path / "gate"
    run(untouched)
    gate.mkdir()
    run(results, people=EIDS[:5])  # some were done before
    done_before = calls(results)
    script = tmp_path / "job.py"
    script.write_text(
        KILLED_JOB.format(tests=str(Path(__file__).parent), results=str(results), gate=str(gate))
    )
    job = subprocess.Popen(
        [sys.executable, str(script)], env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    )
    while len(list(gate.iterdir())) < 2:  # two participants are half-way
        assert job.poll() is None
        time.sleep(0.02)
    workers = descendants(job.pid)
    job.kill()
    job.wait()
    if whom == "the job and its workers":
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    (gate / "open").touch()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    half_way = [path.name for path in gate.iterdir() if path.name != "open"]
    for eid in half_way:  # an output is there, and nothing says that the participant is done
        assert (files.subject_folder(results, eid, "2") / "first.txt").exists()
        assert (eid, "2") not in Ledger(results / "toy.tsv").rows()
    run(results)
    assert content(results) == content(untouched)
    for eid, count in calls(results).items():
        assert count == (1 if eid in done_before or eid not in half_way else 2)


def test_a_half_written_output_is_never_under_its_name(tmp_path):
    """A write that the system cuts short leaves what was there before, and no litter."""
    ledger = run(tmp_path, {EIDS[3]: "large file"}).set_index("eid")
    assert ledger.loc[EIDS[3], "verdict"] == Verdict.UNEXPECTED_ERROR
    folder = files.subject_folder(tmp_path, EIDS[3], "2")
    assert not (folder / "second.txt").exists()
    assert list(folder.glob(".partial-*")) == []
    assert (ledger.drop(EIDS[3])["verdict"] == "ok").all()


def test_litter_of_a_killed_worker_is_removed_and_a_living_jobs_file_is_not(tmp_path):
    run(tmp_path)
    folder = files.subject_folder(tmp_path, EIDS[0], "2")
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = platform.node()
    abandoned = folder / f"{files.TEMPORARY}{host}-{dead.pid}-abc.nii.gz"
    living = [
        folder / f"{files.TEMPORARY}{host}-{os.getpid()}-abc.nii.gz",
        folder / f"{files.TEMPORARY}another-node-{dead.pid}-abc.nii.gz",
    ]
    for path in (abandoned, *living):
        path.write_text("half")
    run(tmp_path, fingerprint="new")
    assert not abandoned.exists()
    assert all(path.exists() for path in living)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not allowed here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_stops_the_job_and_it_goes_on_when_there_is_room(small_disk, tmp_path):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(330_000))
    with pytest.raises(OSError, match="No space left") as error:
        run(small_disk)
    assert error.value.errno == errno.ENOSPC
    assert not (small_disk / "toy.tsv").exists()
    filler.unlink()
    run(small_disk)
    expected = tmp_path / "expected"
    run(expected)
    assert content(small_disk) == content(expected)


def test_a_full_disk_is_told_from_a_faulty_scan(tmp_path, monkeypatch):
    """The same without a mount: what a stage cannot write stops the job."""
    todo = [Task(eid, "2", tmp_path / eid, "f") for eid in EIDS[:2]]
    for number in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
        with pytest.raises(OSError, match=os.strerror(number)):
            list(execute(fails_to_write, _with(todo, number), processes=1, time_limit_s=20))
    other = list(execute(fails_to_write, _with(todo, errno.EIO), processes=1, time_limit_s=20))
    assert {outcome.verdict for _, outcome in other} == {Verdict.UNEXPECTED_ERROR}


def fails_to_write(folder, number):
    raise OSError(number, os.strerror(number))


def _with(todo, number):
    return [dataclasses.replace(task, arguments={"number": number}) for task in todo]


@pytest.fixture
def read_only(tmp_path):
    """Finished results on a file system that cannot be written; permissions do not bind root."""
    results = tmp_path / "results"
    run(results, people=EIDS[:6])
    mounts = [
        ["mount", "--bind", str(results), str(results)],
        ["mount", "-o", "remount,ro,bind", str(results)],
    ]
    for command in mounts:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting read-only is not allowed here")
    yield results
    subprocess.run(["umount", "-l", str(results)], check=True)


def test_a_read_only_results_folder_stops_the_job_with_its_reason(read_only):
    before = content(read_only)
    with pytest.raises(OSError, match="Read-only file system") as error:
        run(read_only, fingerprint="new")
    assert error.value.errno == errno.EROFS
    assert str(read_only) in str(error.value), "the message names the place"
    assert content(read_only) == before


def test_a_reader_that_hangs_costs_its_own_participant_only(tmp_path):
    ledger = run(tmp_path, {EIDS[1]: "hang"}, time_limit_s=4).set_index("eid")
    assert ledger.loc[EIDS[1], "verdict"] == Verdict.TIME_LIMIT
    assert ledger.loc[EIDS[1], "message"] == "given up after 4 s"
    assert (ledger.drop(EIDS[1])["verdict"] == "ok").all()


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [("memory", Verdict.OUT_OF_MEMORY), ("killed", Verdict.WORKER_DIED)],
)
def test_a_worker_that_dies_of_memory_costs_its_own_participant_only(tmp_path, behaviour, verdict):
    ledger = run(tmp_path, {EIDS[2]: behaviour}).set_index("eid")
    assert ledger.loc[EIDS[2], "verdict"] == verdict
    assert (ledger.drop(EIDS[2])["verdict"] == "ok").all()
    again = run(tmp_path)
    assert (again["verdict"] == "ok").all(), "the machine failed, so the participant is retried"


@pytest.mark.parametrize("years", [-30, 30])
def test_nothing_depends_on_what_the_clock_says(tmp_path, years):
    """Files dated in the past or future, in any order, make nobody be done again."""
    first = run(tmp_path, {EIDS[4]: "refused"})
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    for number, path in enumerate(reversed(paths)):
        moment = time.time() + years * 31_557_600 + number * (-1) ** number * 1e5
        os.utime(path, (moment, moment))
    second = run(tmp_path, {EIDS[4]: "refused"})
    assert second.equals(first)
    assert set(calls(tmp_path).values()) == {1}


def test_a_clock_that_goes_backwards_gives_no_negative_times(tmp_path, monkeypatch):
    moments = iter(range(10_000, 0, -1))
    monkeypatch.setattr(time, "time", lambda: float(next(moments)))
    ledger = run(tmp_path)
    assert (ledger["seconds"] >= 0).all()
    assert (ledger["verdict"] == "ok").all()


def test_only_failures_of_the_machine_are_asked_for_again(tmp_path):
    shard = tmp_path / "shards/r-0001"
    for name, verdict in (
        ("dixon", "station_missing"),
        ("landmarks", "worker_died"),
        ("crops", "earlier_stage"),
    ):
        rows = [f"{eid}\t2\tok" for eid in EIDS] + [f"2000000\t2\t{verdict}"]
        files.write_text(shard / f"{name}.tsv", "\n".join(["eid\tinstance\tverdict", *rows]) + "\n")
    counts = ask_again(tmp_path)
    assert counts.to_dict("records") == [
        {"stage": "landmarks", "verdict": "worker_died", "participants": 1}
    ]
    assert sorted(path.name for path in shard.glob("*.tsv")) == ["crops.tsv", "dixon.tsv"]
    assert len(Ledger(shard / "landmarks.tsv").rows()) == len(EIDS) + 1, "who was done stays done"
    assert ask_again(tmp_path, ["station_missing"])["stage"].tolist() == ["dixon"]
    assert ask_again(tmp_path, ["station_missing"]).empty


def test_a_lost_output_asks_again_for_the_stages_that_lead_to_it(tmp_path):
    for name, verdict in (("dixon", "ok"), ("landmarks", "ok"), ("crops", "earlier_output_lost")):
        rows = pd.DataFrame([{"eid": EIDS[0], "instance": "2", "verdict": verdict}])
        files.write_tsv(tmp_path / f"shards/r-0001/{name}.tsv", rows)
        files.write_tsv(tmp_path / f"shards/r-0002/{name}.tsv", rows.assign(verdict="ok"))
    ask_again(tmp_path)
    assert not list(tmp_path.glob("shards/r-0001/*.tsv"))
    assert len(list(tmp_path.glob("shards/r-0002/*.tsv"))) == 3


def test_a_refused_scan_is_tried_again_only_where_asked(tmp_path):
    run(tmp_path, {EIDS[5]: "refused"})
    run(tmp_path)
    assert calls(tmp_path)[EIDS[5]] == 1
    ledger = run(tmp_path, retry=["station_missing"])
    assert calls(tmp_path)[EIDS[5]] == 2
    assert (ledger["verdict"] == "ok").all()
    assert sum(calls(tmp_path).values()) == len(EIDS) + 1
