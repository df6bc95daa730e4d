"""Files: where they lie, and how they are written so that none is ever half there."""

import contextlib
import hashlib
import io
import json
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from isal import igzip

from iliopsoas import machine
from iliopsoas.status import InputError

KEY = ["eid", "instance"]  # what identifies a row of every per-participant table
# folder, below the results, of exports that hold participants whatever they are called in them
INDIVIDUAL_LEVEL = "individual_level"
TEMPORARY = ".partial-"  # then machine, process and a random part: whose it is


def subject_name(eid, instance) -> str:
    """``<eid>_<instance>``."""
    return f"{eid}_{instance}"


def subject_folder(results, eid, instance) -> Path:
    """``results/subjects/<first two digits>/<eid>_<instance>``."""
    return Path(results) / "subjects" / str(eid)[:2] / subject_name(eid, instance)


@contextlib.contextmanager
def atomic(path, scratch: str | None = None):
    """Yield a temporary path that replaces `path` only if the block succeeds.

    Parameters
    ----------
    path : path
    scratch : str, optional
        Folder, on a node's own disk, where the file is built before it is copied; variables such
        as ``$TMPDIR`` are resolved. Default: beside `path`.

    Raises
    ------
    InputError
        `scratch` is no folder on this machine.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if scratch:
        try:
            place = machine.expand(scratch)
        except ValueError as error:
            raise InputError(
                f"scratch {scratch}: expected a folder on this machine, but {error}"
            ) from None
        if not os.path.isdir(place):
            raise InputError(f"scratch {scratch}: expected a folder on this machine, found none")
        with tempfile.TemporaryDirectory(prefix="iliopsoas-", dir=place) as folder:
            built = Path(folder) / path.name
            yield built
            with atomic(path) as temporary:
                shutil.copyfile(built, temporary)
        return
    # the suffix is kept: writers choose the format by it
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".nii.gz") else path.suffix
    owner = f"{TEMPORARY}{platform.node()}-{os.getpid()}-"
    handle, name = tempfile.mkstemp(prefix=owner, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_abandoned(temporary) -> bool:
    """Whether the process that `atomic` made a temporary file for is no more, on this machine.

    What another machine's process writes is never taken for abandoned.
    """
    machine, _, rest = (
        Path(temporary).name.removeprefix(TEMPORARY).rpartition("-")[0].rpartition("-")
    )
    if machine != platform.node() or not rest.isdigit():
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def write_bytes(path, data: bytes) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path, text: str) -> None:
    write_bytes(path, text.encode())


def plain(value):
    """JSON form of NumPy scalars and arrays; not-a-number becomes null."""
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def as_json(content) -> str:
    """Readable JSON; NumPy's types become plain, what is not finite null."""
    return json.dumps(plain(content), indent=1, allow_nan=False)


def write_json(path, content) -> None:
    write_text(path, as_json(content) + "\n")


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_tsv(path, table: pd.DataFrame) -> None:
    """Write a table; missing values stay empty."""
    text = io.StringIO()
    table.to_csv(text, sep="\t", index=False, lineterminator="\n")
    write_text(path, text.getvalue())


def read_tsv(path, **options) -> pd.DataFrame:
    """Read a table of ours; ``eid`` and ``instance`` stay text, so no id loses a digit."""
    types = {"eid": str, "instance": str} | options.pop("dtype", {})
    return pd.read_csv(path, sep="\t", dtype=types, **options)


def write_nifti(path, image: nib.Nifti1Image, level: int = 1) -> None:
    """Write ``.nii.gz`` through ISA-L; no name and no time go into the gzip header.

    The bytes depend on the image alone, so a second run writes the same file.
    """
    write_bytes(path, igzip.compress(image.to_bytes(), compresslevel=level, mtime=0))


def sha256(path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts) -> str:
    """A short hash of anything JSON can hold: the same parts, the same fingerprint."""
    text = json.dumps(plain(list(parts)), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextlib.contextmanager
def owned_folder(folder, alone: bool = False):
    """Yield an empty folder; what is written there takes the place of what we wrote before.

    A folder in which people work too: only files that an earlier call wrote are replaced or
    removed, and not where somebody changed them since. They are known by a record beside the
    folder, ``.<name>.written``, which holds hashes of their names and contents and so no
    participant's id.

    Parameters
    ----------
    folder : path
    alone : bool
        Nobody else's file may be in the folder.

    Raises
    ------
    InputError
        A file of the same name as one of ours, or with `alone` any file, is somebody else's.
        Nothing is changed then.
    """
    folder = Path(folder).resolve()
    record = folder.with_name(f".{folder.name}.written")
    ours = set(record.read_text(encoding="utf-8").splitlines()) if record.exists() else set()
    if alone:
        _refuse(folder, [name for name in _within(folder) if _mark(folder, name) not in ours])
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
    try:
        yield part
        new = _within(part)
        there = _within(folder)
        others = [name for name in there if _mark(folder, name) not in ours]
        _refuse(folder, others if alone else sorted(set(others) & set(new)))
        marks = {_mark(part, name) for name in new}
        # both while files move, so that after a kill all of them are still known as ours
        write_text(record, "\n".join(sorted(ours | marks)) + "\n")
        for name in new:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(part / name, folder / name)
        for name in set(there) - set(new) - set(others):
            (folder / name).unlink()
            _remove_empty(folder, (folder / name).parent)
        write_text(record, "\n".join(sorted(marks)) + "\n")
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _within(folder: Path) -> list[str]:
    """Files below a folder, by relative path; what Snakemake and we leave there does not count."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(folder).as_posix() for path in found)
    return sorted(name for name in names if name != ".snakemake_timestamp")


def _mark(folder: Path, name: str) -> str:
    """A file as it is: a hash of its name, and one of its content."""
    path = folder / name
    content = sha256(path) if path.is_file() else ""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:32]} {content[:32]}"


def _refuse(folder: Path, names: list[str]) -> None:
    if names:
        shown = ", ".join(re.sub(r"\d{7,}", "#######", name) for name in names[:5])
        raise InputError(
            f"{folder.name}: {len(names)} files there were not written by this workflow, or were "
            f"changed since ({shown}); expected only its own. Move them, or the whole folder, away"
        )


def _remove_empty(top: Path, folder: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
