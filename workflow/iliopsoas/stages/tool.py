"""Another tool's command on a shard's stitched images: masks into its folder, failures by name."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import pandas as pd

from iliopsoas import files, grid, machine
from iliopsoas.config import Run
from iliopsoas.logs import log
from iliopsoas.stages import images
from iliopsoas.stages.ledger import Ledger
from iliopsoas.stages.shards import Outcome, Shard, Stage, guarded
from iliopsoas.status import InputError, Refused, Verdict

TOGETHER = 50  # participants of one call that takes folders: about 1 GB of images
NOT_FOUND = 127  # the shell's exit code for a program that is not there
_LINES = 20  # of what a failing tool printed, for the log


def run(
    manifest, dixon, ledger, *, results, method: dict, version: str, options: Run
) -> pd.DataFrame:
    """Draw a shard's masks with a tool.

    The tool works in a folder of its own, under numbers instead of EIDs; a mask is copied to where
    `iliopsoas.stages.other` expects it only once it can be read. A file that lies there already and
    that the ledger does not know is kept beside it, as ``NAME.kept``.

    Parameters
    ----------
    manifest, dixon, ledger : path
        The shard's participants, the ledger of their images, the ledger written.
    method : dict
        Of section other_methods: name, folder, left_file, right_file, command, contrast.
    options : config.Run
        ``time_limit_s`` holds for each participant, also of those that go together.

    Raises
    ------
    InputError
        The shell does not find the command's program.
    """
    from iliopsoas.masks import other_tools as masks

    patterns = {side: method[f"{side}_file"] for side in grid.SIDES}
    one_by_one = "{input}" in method["command"]

    def targets(folder: Path) -> dict[str, Path]:
        eid, instance = folder.name.rsplit("_", 1)
        return masks.find(method["folder"], patterns, eid, instance)

    def size(folder: Path) -> int | None:
        try:
            return sum(path.stat().st_size for path in set(targets(folder).values()))
        except FileNotFoundError:
            return None

    earlier = Ledger(ledger).rows()

    def drawn_before(task) -> bool:
        found = size(task.folder)
        return found is not None and str(earlier.get(task.key, {}).get("bytes")) == str(found)

    shard = Shard(
        Stage("tool", after="dixon", size=size),
        manifest,
        ledger,
        results=results,
        parts=("tool", version, method["command"], method["contrast"], patterns),
        previous=dixon,
        options=options,
    )
    scratch = machine.expand(options.scratch) if options.scratch else None
    number = 1 if one_by_one else TOGETHER
    for first in range(0, len(shard.pending), number):
        tasks = shard.pending[first : first + number]
        for task in tasks:
            _make_room(set(targets(task.folder).values()), drawn_before(task))
        with tempfile.TemporaryDirectory(prefix="iliopsoas-", dir=scratch) as room:
            start = time.perf_counter()
            done = list(_call(Path(room), tasks, method, patterns, targets, options.time_limit_s))
            seconds = (time.perf_counter() - start) / len(tasks)
        for task, outcome in done:
            shard.finish(task, replace(outcome, seconds=seconds))
    return shard.close()


def _call(room: Path, tasks, method: dict, patterns: dict, targets, time_limit_s: float):
    """Run the command once on these participants; yields each with what became of it."""
    from iliopsoas.masks import other_tools as masks

    inputs, outputs = room / "inputs", room / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    given = []  # who has an image, with its file and where the masks are to be
    for number, task in enumerate(tasks, 1):
        known = f"{number:04}", task.instance
        image = inputs / f"{files.subject_name(*known)}.nii.gz"
        loaded = guarded(_give, task.folder, method["contrast"], image)
        if loaded.verdict == Verdict.OK:
            given.append((task, image, masks.find(outputs, patterns, *known)))
        else:
            yield task, loaded
    if not given:
        return
    for _, _, drawn in given:
        for path in drawn.values():
            path.parent.mkdir(parents=True, exist_ok=True)
    _, image, drawn = given[0]
    one_file = drawn["left"] == drawn["right"]
    places = {
        "input": image,
        "output": drawn["left"] if one_file else Path(os.path.commonpath(drawn.values())),
        "inputs": inputs,
        "outputs": outputs,
    }
    command = method["command"].format(**{n: shlex.quote(str(p)) for n, p in places.items()})
    failed = _shell(command, room, time_limit_s * len(given), method["name"])
    for task, _, drawn in given:
        outcome = guarded(_take, drawn, targets(task.folder), method["name"])
        if failed and outcome.verdict == Verdict.MASK_MISSING:
            outcome = failed
        yield task, outcome


def _make_room(paths, ours: bool) -> None:
    """Remove masks of an earlier command; what somebody else put there gets another name."""
    for path in paths:
        if ours:
            path.unlink(missing_ok=True)
        elif path.exists():
            kept = (path.with_name(f"{path.name}.kept{n or ''}") for n in count())
            path.rename(next(place for place in kept if not place.exists()))
            log.warning("a mask that no command here drew was in the way; it is kept as *.kept")


def _give(folder: Path, contrast: str, path: Path) -> None:
    (image,) = images.load(folder, f"{contrast}.nii.gz")
    files.write_nifti(path, image)


def _take(drawn: dict, targets: dict, name: str) -> None:
    """Copy masks that can be read to their place.

    Raises
    ------
    Refused
        ``mask_missing``, ``mask_unreadable``.
    """
    from iliopsoas.masks.label_images import load

    for side, path in drawn.items():
        role = f"{name} mask ({side})"
        if not path.is_file():
            raise Refused(Verdict.MASK_MISSING, f"{role}: the command ended and left no file")
        try:
            load(path, role)
        except Refused as refused:
            raise Refused(Verdict.MASK_UNREADABLE, refused.message) from None
    for side, path in drawn.items():
        with files.atomic(targets[side]) as temporary:
            shutil.copyfile(path, temporary)


def _shell(command: str, room: Path, time_limit_s: float, name: str) -> Outcome | None:
    """Run a command to its end; what it means for whom it leaves without a mask, None: nothing."""
    printed = room / "printed.txt"
    with open(printed, "wb") as file:
        process = subprocess.Popen(
            command,
            shell=True,
            cwd=room,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that all it has started can be ended with it
        )
        try:
            code = process.wait(time_limit_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return Outcome(Verdict.TIME_LIMIT, f"{name}: given up after {time_limit_s:g} s")
            raise
    if code == NOT_FOUND:
        raise InputError(f"other_methods: the shell does not find the program of {name}'s command")
    if code:
        lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:]
        text = re.sub(r"(?<!\d)\d{7}(?!\d)", "<EID>", "\n".join(lines))
        log.warning("%s ended with exit code %d and said\n%s", name, code, text)
        return Outcome(Verdict.TOOL_FAILED, f"{name}: its command ended with exit code {code}")
    return None
