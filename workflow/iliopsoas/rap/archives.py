"""Results in archives that keep times, by which Snakemake knows what is done."""

import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

from iliopsoas import files

LINES = ".unfinished.jsonl"  # of a ledger in work


def pack(archive, folder, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Pack files into an archive.

    Parameters
    ----------
    archive : path
    folder : path
        Names are below it.
    names : iterable of str
        In this order, and asked for one by one: what is packed later may be younger. A file that
        is gone when its turn comes is left out.

    Returns
    -------
    dict of str to (int, int)
        What was packed, with size and time (ns).
    """
    folder, packed = Path(folder), {}
    with files.atomic(archive) as temporary, tarfile.open(temporary, "w") as tar:
        for name in names:
            try:
                file = open(folder / name, "rb")  # noqa: SIM115
            except FileNotFoundError:
                continue
            with file:  # size and content of one file, whatever its name means a moment later
                status = os.fstat(file.fileno())
                about = tar.gettarinfo(arcname=name, fileobj=file)
                tar.addfile(about, file)
            packed[name] = (status.st_size, status.st_mtime_ns)
    return packed


def unpack(archive, folder, *, keep: bool = False) -> list[str]:
    """Unpack an archive; every file appears whole.

    Parameters
    ----------
    archive, folder : path
    keep : bool
        What is there stays: it is younger. Of a ledger in work, the lines are added.

    Returns
    -------
    list of str
        Names of the files that were written.
    """
    folder, written = Path(folder), []
    with tarfile.open(archive) as tar:
        for member in tar:
            target = folder / member.name
            if not member.isfile() or ".." in target.parts or Path(member.name).is_absolute():
                continue
            with tar.extractfile(member) as content:
                if not (keep and target.exists()):
                    with files.atomic(target) as temporary:
                        with open(temporary, "wb") as file:
                            shutil.copyfileobj(content, file)
                        os.utime(temporary, (member.mtime, member.mtime))
                    written.append(member.name)
                elif member.name.endswith(LINES):
                    _add_lines(content.read().decode(errors="replace"), target)
    return written


def _add_lines(older: str, target: Path) -> None:
    """Put lines of an older ledger before those that are there: the last one of a person counts."""
    ours = target.read_text(encoding="utf-8", errors="replace")
    more = "".join(f"{line}\n" for line in older.splitlines() if line not in ours)
    if more:
        files.write_text(target, more + ours)
