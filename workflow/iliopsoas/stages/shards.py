"""Runs one stage over the participants of a shard: process pool, time limit, ledger, resume.

A participant's state at a stage is one small file in the participant's folder, written after
the stage's outputs; the shard's ledger is the table of these states. Work is done again only
where the fingerprint of its inputs and parameters has changed or an output is gone.
"""

import errno
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pebble import ProcessExpired, ProcessPool

from iliopsoas import files
from iliopsoas.logs import Progress, log
from iliopsoas.status import InputError, Refused, Verdict

LEDGER_COLUMNS = [*files.KEY, "verdict", "message", "seconds", "fingerprint"]
# one process per participant is the parallelism; libraries must not add their own
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
# worth another try when the stage runs again: the machine failed, not the scan
TRANSIENT = {
    Verdict.TIME_LIMIT,
    Verdict.WORKER_DIED,
    Verdict.UNEXPECTED_ERROR,
    Verdict.OUT_OF_MEMORY,
    Verdict.SCAN_MISSING,
    Verdict.EARLIER_STAGE,
}
NO_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # full, read-only, over the quota
STAGES = ("dixon", "landmarks", "crops", "segment", "volumes")


@dataclass(frozen=True, eq=False)
class Task:
    """One participant's work at a stage.

    Parameters
    ----------
    eid, instance : str
    fingerprint : str
        Of the inputs and parameters; see `files.fingerprint`.
    arguments : dict
        Keyword arguments for the stage's function; they must pickle.
    blocked : str, optional
        Why an earlier stage left nothing to work on.
    """

    eid: str
    instance: str
    fingerprint: str
    arguments: dict = field(default_factory=dict)
    blocked: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a task; `value` is what the stage's function returned."""

    verdict: Verdict
    message: str = ""
    seconds: float = 0.0
    value: object = None


def outcome_of(error: Exception, seconds: float = 0.0) -> Outcome:
    """What an exception means for the one participant who met it.

    Raises
    ------
    OSError
        `error` itself, where the disk is full or read-only: nobody else would succeed either.
    """
    if isinstance(error, Refused):
        return Outcome(error.verdict, error.message, seconds)
    if isinstance(error, OSError) and error.errno in NO_DISK:
        raise error
    memory = isinstance(error, MemoryError)
    verdict = Verdict.OUT_OF_MEMORY if memory else Verdict.UNEXPECTED_ERROR
    return Outcome(verdict, f"{type(error).__name__}: {error}", seconds)


def _attempt(work: Callable, arguments: dict) -> Outcome:
    """Call `work` and turn a refusal into an outcome; runs inside a worker."""
    start = time.perf_counter()
    try:
        outcome = Outcome(Verdict.OK, value=work(**arguments))
    except Exception as error:
        outcome = outcome_of(error)
    return Outcome(
        outcome.verdict, outcome.message, time.perf_counter() - start, value=outcome.value
    )


def execute(
    work: Callable, tasks: Iterable[Task], processes: int, time_limit_s: float
) -> Iterator[tuple[Task, Outcome]]:
    """Run `work(**task.arguments)` for every task in a pool of processes.

    Yields a task with its outcome as each ends; a worker that hangs or dies costs its own
    participant only. At most two tasks per process wait, so memory stays bounded.

    Raises
    ------
    OSError
        Where the disk is full or read-only: no other participant would succeed either.
    """
    one_thread = dict.fromkeys(ONE_THREAD, "1")
    before = {name: os.environ.get(name) for name in one_thread}
    os.environ.update(one_thread)  # inherited by the workers
    queue = iter(tasks)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPool(max_workers=processes, max_tasks=50, context=context) as pool:
            running = {}

            def submit() -> bool:
                task = next(queue, None)
                if task is None:
                    return False
                future = pool.schedule(_attempt, args=(work, task.arguments), timeout=time_limit_s)
                running[future] = (task, time.perf_counter())
                return True

            try:
                while len(running) < 2 * processes and submit():
                    pass
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task, start = running.pop(future)
                        seconds = time.perf_counter() - start
                        try:
                            outcome = future.result()
                        except TimeoutError:
                            text = f"given up after {time_limit_s:g} s"
                            outcome = Outcome(Verdict.TIME_LIMIT, text, seconds)
                        except ProcessExpired as error:
                            text = f"the worker process died (exit code {error.exitcode})"
                            outcome = Outcome(Verdict.WORKER_DIED, text, seconds)
                        yield task, outcome
                        submit()
            except BaseException:
                pool.stop()
                raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def in_order(tasks: Iterable[Task], outcomes: Iterator) -> Iterator[tuple[Task, Outcome]]:
    """The pairs that `execute` yields, in the order of `tasks`: a second run writes the same."""
    waiting = {}
    for expected in tasks:
        while expected not in waiting:
            task, outcome = next(outcomes)
            waiting[task] = outcome
        yield expected, waiting.pop(expected)


class Stage:
    """The participants of one shard at one stage: what is done, what is left, the ledger.

    Parameters
    ----------
    name : str
        The stage; its states are ``<subject folder>/<name>.state.json``.
    results : path
        Folder of all results.
    outputs : tuple of str
        File names in the subject folder that an ``ok`` promises.
    retry : iterable of str
        Verdicts that are tried again besides `TRANSIENT`.
    instead : dict of str to str, optional
        Output to the file in the subject folder that stands for it where it was removed on purpose.
    """

    def __init__(self, name: str, results, outputs: tuple[str, ...] = (), retry=(), instead=None):
        self.name, self.results, self.outputs = name, Path(results), outputs
        self.instead = instead or {}
        self.retry = {*TRANSIENT, *retry}

    def folder(self, task: Task) -> Path:
        return files.subject_folder(self.results, task.eid, task.instance)

    def state(self, task: Task) -> dict | None:
        """The participant's recorded state, or None where there is none that can be read."""
        return read_state(self.results, task.eid, task.instance, self.name)

    def is_done(self, task: Task) -> bool:
        """Whether the same work was done before and its outputs are still there."""
        state = self.state(task)
        if state is None or state["fingerprint"] != task.fingerprint:
            return False
        if state["verdict"] in self.retry:
            return False
        if state["verdict"] != Verdict.OK:
            return True
        folder = self.folder(task)
        return all(
            (folder / name).exists()
            or (name in self.instead and (folder / self.instead[name]).exists())
            for name in self.outputs
        )

    def finish(self, task: Task, outcome: Outcome, record: dict | None = None) -> None:
        """Record an outcome; outputs of an earlier success do not outlive a refusal."""
        folder = self.folder(task)
        for litter in folder.glob(".partial-*"):  # of a worker that was killed
            litter.unlink()
        if outcome.verdict != Verdict.OK:
            for name in (*self.outputs, *self.instead.values()):
                (folder / name).unlink(missing_ok=True)
        files.write_json(
            folder / f"{self.name}.state.json",
            {
                "verdict": str(outcome.verdict),
                "message": outcome.message,
                "seconds": round(outcome.seconds, 3),
                "fingerprint": task.fingerprint,
                "record": record or {},
            },
        )

    def pending(self, tasks: list[Task]) -> list[Task]:
        """The tasks left to do; those an earlier stage blocked are recorded on the way."""
        for task in tasks:
            if task.blocked and not self._is_blocked_already(task):
                self.finish(task, Outcome(Verdict.EARLIER_STAGE, task.blocked))
        return [task for task in tasks if not task.blocked and not self.is_done(task)]

    def _is_blocked_already(self, task: Task) -> bool:
        state = self.state(task)
        return bool(state) and (state["verdict"], state["message"]) == (
            Verdict.EARLIER_STAGE,
            task.blocked,
        )

    def write_ledger(self, path, tasks: list[Task]) -> pd.DataFrame:
        """Write the table of all states: a row per participant, record keys as columns.

        Raises
        ------
        InputError
            Where a participant has no state: a ledger with a hole is never written.
        """
        rows = []
        for task in tasks:
            state = self.state(task)
            if state is None:
                raise InputError(f"{self.name}: a participant of the shard has no verdict")
            rows.append({"eid": task.eid, "instance": task.instance} | _flat(state))
        table = pd.DataFrame(rows)
        table = table.reindex(
            columns=[*LEDGER_COLUMNS, *[c for c in table.columns if c not in LEDGER_COLUMNS]]
        )
        files.write_tsv(path, table)
        return table

    def run(
        self, work: Callable, tasks: list[Task], ledger, processes: int, time_limit_s: float
    ) -> pd.DataFrame:
        """Do what is left of `tasks` in a pool and write the ledger.

        `work` returns the flat record of a participant; it writes its outputs itself.
        """
        pending = self.pending(tasks)
        log.info(
            "%s: %d of %d participants done before",
            self.name,
            len(tasks) - len(pending),
            len(tasks),
        )
        progress = Progress(self.name, len(pending))
        for task, outcome in execute(work, pending, processes, time_limit_s):
            self.finish(task, outcome, record=outcome.value)
            progress.step(outcome.verdict)
        return self.write_ledger(ledger, tasks)


def ask_again(results, retry=()) -> pd.DataFrame:
    """Remove the ledgers with a failure that is worth another try, so that they are made anew.

    The participants' states stay: making a ledger does nobody again who was done.

    Parameters
    ----------
    results : path
        Folder of all results.
    retry : iterable of str
        Verdicts that count besides failures of the machine.

    Returns
    -------
    DataFrame
        stage, verdict, participants.
    """
    again = {*TRANSIENT, *retry} - {Verdict.EARLIER_STAGE}
    found = []
    for stage in STAGES:
        for path in sorted(Path(results).glob(f"shards/*/{stage}.tsv")):
            verdicts = files.read_tsv(path, usecols=["verdict"])["verdict"]
            failed = verdicts[verdicts.isin(again)]
            if len(failed):
                found.append(pd.DataFrame({"stage": stage, "verdict": failed}))
                path.unlink()
    table = pd.concat([pd.DataFrame(columns=["stage", "verdict"]), *found])
    return table.groupby(["stage", "verdict"], sort=False).size().reset_index(name="participants")


def read_state(results, eid, instance, stage: str) -> dict | None:
    """A participant's state at a stage; None where there is none that can be read."""
    path = files.subject_folder(results, eid, instance) / f"{stage}.state.json"
    try:
        return files.read_json(path)
    except (FileNotFoundError, ValueError):
        return None


def _flat(state: dict) -> dict:
    """A ledger row: lists become text, so that every cell is a scalar."""
    record = {
        key: ",".join(map(str, value)) if isinstance(value, list) else value
        for key, value in state["record"].items()
    }
    return {key: state[key] for key in LEDGER_COLUMNS[2:]} | record
