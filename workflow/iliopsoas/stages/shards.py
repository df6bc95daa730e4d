"""Runs one stage over the participants of a shard: guard, process pool, time limit, resume.

Nothing that one participant's files do may harm another: whatever is read of a participant is read
inside a guard that turns an exception into that participant's verdict. Work is done again only
where the fingerprint of its inputs and parameters has changed or an output is not as it was left.
"""

import contextlib
import errno
import multiprocessing
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from pebble import ProcessExpired, ProcessPool

from iliopsoas import files, tables
from iliopsoas.config import Run
from iliopsoas.logs import Progress, log
from iliopsoas.stages.ledger import Ledger
from iliopsoas.status import InputError, Refused, Verdict
from iliopsoas.versions import IMAGE_STAGES

# one process per participant is the parallelism: threads of the libraries would only stand idle
# there (`machine.one_thread` keeps results the same for any number of them)
ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
# the machine failed, not the scan: tried again whenever the stage runs again, and counted, since
# a machine that fails everybody must stop the run
MACHINE = {
    Verdict.TIME_LIMIT,
    Verdict.WORKER_DIED,
    Verdict.UNEXPECTED_ERROR,
    Verdict.OUT_OF_MEMORY,
    Verdict.SCAN_MISSING,
    Verdict.EARLIER_OUTPUT_LOST,
    Verdict.TOOL_FAILED,
}
NO_DISK = {errno.ENOSPC, errno.EROFS, errno.EDQUOT}  # full, read-only, over the quota
FEW = 5  # so many failures of the machine can be chance, whatever their share
LOOK_S = 1.0  # between two looks at the pool, at most
ASLEEP_S = 10.0  # a longer time between them: the machine, or the job on it, was suspended
LOST_S = 60.0  # after the time limit: the pool has lost the task (pebble's issue 153)
LATE_S = 30.0  # how long a file that an earlier stage promised may take to show on this machine


@dataclass(frozen=True)
class Stage:
    """What a stage does with one participant.

    Parameters
    ----------
    name : str
    outputs : tuple of str
        File names in the participant's folder that an ``ok`` promises.
    work : function, optional
        ``work(folder, **arguments)`` writes the outputs and returns the participant's record, a
        flat dict; it runs in a process of its own and must pickle.
    after : str, optional
        The stage before it.
    size : function of a folder, optional
        Bytes of the outputs there, None where one is missing; default: the files' sizes.
    """

    name: str
    outputs: tuple[str, ...] = ()
    work: Callable | None = None
    after: str | None = None
    size: Callable | None = None

    def bytes_in(self, folder: Path) -> int | None:
        """Bytes of the outputs in a participant's folder; None where one is missing."""
        if self.size:
            return self.size(folder)
        try:
            return sum((folder / name).stat().st_size for name in self.outputs)
        except FileNotFoundError:
            return None


@dataclass(frozen=True, eq=False)
class Task:
    """One participant's work at a stage.

    Parameters
    ----------
    eid, instance : str
    folder : Path
        The participant's.
    fingerprint : str
        Of the inputs and parameters; see `files.fingerprint`.
    arguments : dict
        Keyword arguments for the stage's work; they must pickle.
    settled : Outcome, optional
        What is known without any work: an earlier stage left nothing, or an input is unreadable.
    """

    eid: str
    instance: str
    folder: Path
    fingerprint: str
    arguments: dict = field(default_factory=dict)
    settled: "Outcome | None" = None

    @property
    def key(self) -> tuple[str, str]:
        return self.eid, self.instance

    @property
    def name(self) -> str:
        return files.subject_name(self.eid, self.instance)


@dataclass(frozen=True)
class Outcome:
    """What became of a task; `value` is what the stage's work returned."""

    verdict: Verdict
    message: str = ""
    seconds: float = 0.0
    value: object = None
    trace: str = ""


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
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    trace = "".join(traceback.format_exception(error))
    return Outcome(verdict, f"{type(error).__name__}: {error}{where}", seconds, trace=trace)


def guarded(work: Callable, *arguments, **named) -> Outcome:
    """Call `work` and turn what it raises into an outcome.

    Raises
    ------
    OSError
        As `outcome_of`.
    """
    start = time.perf_counter()
    try:
        outcome = Outcome(Verdict.OK, value=work(*arguments, **named))
    except Exception as error:
        outcome = outcome_of(error)
    seconds = time.perf_counter() - start
    return Outcome(outcome.verdict, outcome.message, seconds, outcome.value, outcome.trace)


@contextlib.contextmanager
def output_of(stage: str, *paths):
    """Read, inside the block, what an earlier stage left of one participant.

    A file may show up late on a network disk; one that cannot be read is removed, so that its
    row no longer counts as done and the earlier stage makes it again.

    Parameters
    ----------
    stage : str
        Who made the files.
    *paths : path

    Raises
    ------
    Refused
        ``earlier_output_lost``.
    """
    paths, start = [Path(path) for path in paths], time.monotonic()
    while missing := [path for path in paths if not path.exists()]:
        if time.monotonic() - start > LATE_S:
            raise Refused(
                Verdict.EARLIER_OUTPUT_LOST,
                f"{stage}: {missing[0].name} is gone; `snakemake retry_failed` makes it again",
            )
        time.sleep(0.2)
    try:
        yield
    except (MemoryError, Refused):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # the disk's failure, not the file's
            raise
        for path in paths:
            path.unlink(missing_ok=True)
        names = ", ".join(path.name for path in paths)
        raise Refused(
            Verdict.EARLIER_OUTPUT_LOST,
            f"{stage}: {names} cannot be read ({type(error).__name__}) and was removed; "
            "`snakemake retry_failed` makes it again",
        ) from error


def execute(
    work: Callable, tasks: Iterable[Task], processes: int, time_limit_s: float
) -> Iterator[tuple[Task, Outcome]]:
    """Run ``work(task.folder, **task.arguments)`` for every task in a pool of processes.

    Yields a task with its outcome as each ends; a worker that hangs or dies costs its own
    participant only. No more tasks are handed out than there are processes, so memory stays
    bounded. A task that the pool loses is handed out again, once, and so is one whose time ran
    out while the whole machine, or the job on it, was suspended.

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
            running = {}  # future: task, seconds awake when it was handed out, whether again
            awake, looked = 0.0, time.monotonic()

            def hand_out(task: Task | None, again: bool = False) -> bool:
                if task is None:
                    return False
                arguments = (work, task.folder)
                future = pool.schedule(guarded, arguments, task.arguments, timeout=time_limit_s)
                running[future] = (task, awake, again)
                return True

            try:
                while len(running) < processes and hand_out(next(queue, None)):
                    pass
                while running:
                    ended = wait(running, LOOK_S, return_when=FIRST_COMPLETED).done
                    now = time.monotonic()
                    awake += min(now - looked, ASLEEP_S)
                    looked = now
                    latest = awake - time_limit_s - LOST_S
                    lost = {f for f, (_, since, _) in running.items() if since < latest} - ended
                    outcomes = []
                    for future in (*ended, *lost):
                        task, since, again = running.pop(future)
                        outcome = _outcome_of(future, awake - since, time_limit_s)
                        slept = outcome.verdict == Verdict.TIME_LIMIT and (
                            outcome.seconds < time_limit_s
                        )
                        if (slept or future in lost) and not again:
                            log.warning(
                                "a participant is tried again: the %s",
                                "job was suspended" if slept else "pool of processes lost it",
                            )
                            hand_out(task, again=True)
                        else:
                            outcomes.append((task, outcome))
                            hand_out(next(queue, None))
                    yield from outcomes
            finally:
                pool.stop()  # nothing is left in it but what it lost
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _outcome_of(future, seconds: float, time_limit_s: float) -> Outcome:
    """What a future of the pool says; `seconds` have passed since its task was handed out."""
    try:
        return future.result(0)
    except TimeoutError:  # the task's; or this call's, where the pool has lost the task
        if future.done():
            text = f"given up after {time_limit_s:g} s"
            return Outcome(Verdict.TIME_LIMIT, text, seconds)
        return Outcome(Verdict.WORKER_DIED, "the worker process died unseen", seconds)
    except ProcessExpired as error:
        text = f"the worker process died (exit code {error.exitcode})"
        return Outcome(Verdict.WORKER_DIED, text, seconds)


class Shard:
    """The participants of one shard at one stage: who is done, who is left, the ledger.

    Parameters
    ----------
    stage : Stage
    manifest, ledger : path
        The shard's participants, and the ledger that is written.
    results : path
        Folder of all results.
    parts : tuple
        What fingerprints cover besides the earlier stage's and `inputs`: version, parameters.
    previous : path, optional
        Ledger of the stage before: who is not ``ok`` there has nothing to work on.
    inputs : function, optional
        ``inputs(row, earlier)`` of a manifest row and the participant's earlier ledger row (or
        None) gives ``(parts, arguments)``: further parts of the fingerprint (None: none), and
        keyword arguments for the work. It runs guarded, in threads.
    still_there : function of a Task, optional
        Whether what a done participant left besides files is still there.
    options : config.Run
        How the work is done: time limit, verdicts tried again, share of failures that stops.
    """

    def __init__(
        self,
        stage: Stage,
        manifest,
        ledger,
        *,
        results,
        parts: tuple = (),
        previous=None,
        inputs: Callable | None = None,
        still_there: Callable | None = None,
        options: Run | None = None,
    ):
        self.stage, self.results = stage, Path(results)
        self.options = options or Run()
        self.ledger, self.own = Ledger(ledger), {}
        self._earlier = self.ledger.rows()
        self._previous = None if previous is None else Ledger(previous).rows()
        self._still_there = still_there
        self._failures, self._traced = [], set()
        rows = list(files.read_tsv(manifest).itertuples())
        with ThreadPoolExecutor(8) as threads:  # a network disk answers many at once
            self.tasks = list(threads.map(lambda row: self._task(row, parts, inputs), rows))
        left = [task for task in self.tasks if not self._is_done(task)]
        self.pending = [task for task in left if not task.settled]
        self.done = len(self.tasks) - len(left)
        log.info("%s: %d of %d participants done before", stage.name, self.done, len(self.tasks))
        for task in left:
            if task.settled:
                self._record(task, task.settled)
        self._progress = Progress(stage.name, len(self.pending))

    def _task(self, row, parts: tuple, inputs) -> Task:
        folder = files.subject_folder(self.results, row.eid, row.instance)
        key, settled, arguments, before = (row.eid, row.instance), None, {}, None
        if self._previous is not None:
            state = self._previous.get(key)
            if state is None:
                raise InputError(f"{self.stage.name}: the ledger before it lacks a participant")
            before, settled = state["fingerprint"], _blocked(state, self.stage.after)
        if inputs and not settled:
            read = guarded(inputs, row, self._earlier.get(key))
            if read.verdict == Verdict.OK:
                more, arguments = read.value
                parts = parts if more is None else (*parts, more)
            else:
                settled = read
        return Task(*key, folder, files.fingerprint(before, *parts), arguments, settled)

    def _is_done(self, task: Task) -> bool:
        row = self._earlier.get(task.key)
        if row is None or row["fingerprint"] != task.fingerprint:
            return False
        if task.settled:
            return (row["verdict"], row["message"]) == (task.settled.verdict, task.settled.message)
        if row["verdict"] in {*MACHINE, Verdict.EARLIER_STAGE, *self.options.retry}:
            return False
        if row["verdict"] != Verdict.OK:
            return True
        there = self.stage.bytes_in(task.folder)
        return (
            there is not None
            and str(there) == str(row.get("bytes"))
            and (self._still_there is None or self._still_there(task))
        )

    def finish(self, task: Task, outcome: Outcome, record: dict | None = None) -> None:
        """Record an outcome.

        Outputs of an earlier success do not outlive a refusal; a failure of the machine says
        nothing about them, and a second job on this shard may just have made them.

        Raises
        ------
        InputError
            The machine fails more than ``run.max_machine_failures`` of the participants.
        """
        self._record(task, outcome, record)
        self._progress.step(outcome.verdict)

    def _record(self, task: Task, outcome: Outcome, record: dict | None = None) -> None:
        _remove_litter(task.folder)
        if outcome.verdict not in {Verdict.OK, *MACHINE}:
            for name in self.stage.outputs:
                (task.folder / name).unlink(missing_ok=True)
        message = _masked(outcome.message, task)
        row = dict(zip(files.KEY, task.key, strict=True)) | {
            "verdict": str(outcome.verdict),
            "message": " ".join(message.split()),
            "seconds": round(outcome.seconds, 3),
            "fingerprint": task.fingerprint,
            "bytes": self.stage.bytes_in(task.folder) if outcome.verdict == Verdict.OK else None,
        }
        self.own[task.key] = row | (record or {})
        self.ledger.append(self.own[task.key])
        kind = message.rsplit("(", 1)[-1]
        if outcome.trace and kind not in self._traced:
            self._traced.add(kind)
            log.warning("%s: first error of its kind:\n%s", self.stage.name,
                        _masked(outcome.trace, task))  # fmt: skip
        if outcome.verdict in MACHINE:
            self._failures.append(f"{outcome.verdict}: {message}")
        self._stop_where_the_machine_fails()

    def _stop_where_the_machine_fails(self) -> None:
        failed, finished = len(self._failures), self.done + len(self.own)
        everybody = failed == len(self.tasks) > 1 and self.options.max_machine_failures < 1
        too_many = failed >= FEW and failed > self.options.max_machine_failures * finished
        if everybody or too_many:
            raise InputError(
                f"{self.stage.name}: the machine failed {failed} of {finished} participants, more "
                f"than run.max_machine_failures ({self.options.max_machine_failures:g}) allows; "
                f"the last: {self._failures[-1]}"
            )

    def close(self) -> pd.DataFrame:
        """Write the ledger; see `Ledger.finish`.

        Raises
        ------
        InputError
            Also where a record has a column that is not declared: a misspelt name is no column.
        """
        path = self.ledger.path.absolute()
        if path.is_relative_to(self.results.absolute()):
            name = path.relative_to(self.results.absolute()).as_posix()
            declared = tables.table_of(name)
            written = {column for row in self.own.values() for column in row}
            wrong = declared.undeclared(sorted(written)) if declared else []
            if wrong:
                raise InputError(f"{name}: not declared in iliopsoas/tables: {', '.join(wrong)}")
        return self.ledger.finish([task.key for task in self.tasks], self.own)

    def run(self, processes: int) -> pd.DataFrame:
        """Do what is left in a pool of processes, and write the ledger."""
        outcomes = execute(self.stage.work, self.pending, processes, self.options.time_limit_s)
        with contextlib.closing(outcomes):
            for task, outcome in outcomes:
                self.finish(task, outcome, outcome.value)
        return self.close()


def _blocked(state: dict, stage: str) -> Outcome | None:
    """The outcome of who has nothing to work on after `stage`."""
    if state["verdict"] == Verdict.OK:
        return None
    told = state["verdict"] == Verdict.EARLIER_STAGE
    return Outcome(
        Verdict.EARLIER_STAGE, state["message"] if told else f"{stage}: {state['verdict']}"
    )


def _masked(text: str, task: Task) -> str:
    """A text without the participant's id, nor any other number that could be one."""
    return re.sub(r"(?<!\d)\d{7}(?!\d)", "<EID>", text.replace(task.eid, "<EID>"))


def _remove_litter(folder: Path) -> None:
    """Remove temporary files whose process, on this machine, is no more."""
    for litter in folder.glob(f"{files.TEMPORARY}*"):
        if files.is_abandoned(litter):
            litter.unlink(missing_ok=True)


def ask_again(results, retry=()) -> pd.DataFrame:
    """Reopen the ledgers with a failure that is worth another try, so that they are made anew.

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
    again, found = {*MACHINE, *retry}, []
    for number, stage in enumerate((*IMAGE_STAGES, "opinion", "tool/*", "other/*")):
        for path in sorted(Path(results).glob(f"shards/*/{stage}.tsv")):
            verdicts = files.read_tsv(path, usecols=["verdict"])["verdict"]
            failed = verdicts[verdicts.isin(again)]
            if failed.empty:
                continue
            shard = path.relative_to(results).parts[1]
            name = path.relative_to(Path(results) / "shards" / shard).with_suffix("").as_posix()
            found.append(pd.DataFrame({"stage": name, "verdict": failed}))
            lost = (failed == Verdict.EARLIER_OUTPUT_LOST).any()
            # who made what was lost: the stages before, of which dixon alone is before a tool
            before = IMAGE_STAGES[:number] if number <= len(IMAGE_STAGES) else IMAGE_STAGES[:1]
            for again_too in (*(before if lost else ()), name):
                Ledger(Path(results) / "shards" / shard / f"{again_too}.tsv").reopen()
    table = pd.concat([pd.DataFrame(columns=["stage", "verdict"]), *found])
    return table.groupby(["stage", "verdict"], sort=False).size().reset_index(name="participants")
