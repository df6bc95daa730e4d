"""Zips on the machine's own disk: the mounted folder fails and cuts off now and then."""

import errno
import time
import zipfile
from pathlib import Path

from iliopsoas import files
from iliopsoas.logs import log
from iliopsoas.status import InputError

_BLOCK = 1 << 20
AGREE = 3  # so many readings of a zip with an error give the same bytes: the zip has the error


class Unreadable(InputError):
    """The mount did not give a whole file, however often."""


def copy(source, target, tries: int = 8, wait_s: float = 1.0) -> bool:
    """Copy a zip to this machine's disk; it appears whole or not at all.

    A copy is whole where it has the source's size and every member its checksum (CRC-32). A zip
    that is damaged where it lies is copied as it is: `AGREE` readings must give the same bytes.

    Parameters
    ----------
    source, target : path
    tries : int
    wait_s : float
        Pause after the first failure; it doubles with each.

    Returns
    -------
    bool
        False where there is no such file, in a folder that is there.

    Raises
    ------
    Unreadable
    """
    source, readings, reason = Path(source), {}, ""
    for attempt in range(tries):
        if attempt:
            time.sleep(wait_s * 2 ** (attempt - 1))
        try:
            with files.atomic(target) as temporary:
                size = source.stat().st_size
                _read(source, temporary)
                if temporary.stat().st_size != size:
                    raise OSError(errno.EIO, "cut off")
                if not _is_sound(temporary):
                    digest = files.sha256(temporary)
                    readings[digest] = readings.get(digest, 0) + 1
                    if readings[digest] < AGREE:
                        raise OSError(errno.EIO, "a checksum is wrong")
            return True
        except FileNotFoundError as error:
            if source.parent.is_dir():
                return False
            reason = error.strerror
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            reason = error.strerror
    raise Unreadable(f"a zip could not be read in {tries} tries: {reason}")


def _read(source: Path, target: Path) -> None:
    with open(source, "rb", buffering=0) as here, open(target, "wb") as there:
        while block := here.read(_BLOCK):
            there.write(block)


def _is_sound(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # what a broken zip raises has no common class
        return False


def copy_all(sources, folder, **options) -> None:
    """Copy the zips of a shard; those that are there are whole and stay.

    Parameters
    ----------
    sources : iterable of path
    folder : path
    **options
        Of `copy`.

    Raises
    ------
    Unreadable
        Saying of how many, after all others were copied.
    """
    sources, failed, absent, last = list(sources), 0, 0, None
    for source in sources:
        target = Path(folder) / Path(source).name
        if target.exists() or Path(source).is_dir():
            continue
        try:
            absent += not copy(source, target, **options)
        except Unreadable as error:
            failed, last = failed + 1, error
    if absent:
        log.warning("%d of %d zips are not where the cohort says", absent, len(sources))
    if failed:
        raise Unreadable(f"{failed} of {len(sources)} zips: {last}")
