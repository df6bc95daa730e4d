"""Looks for participants in files and folders, through every container it can open."""

import re
from collections.abc import Iterator
from pathlib import Path

from iliopsoas.privacy import readers, rows, text
from iliopsoas.privacy.findings import CLOSED, COHORT_ID, MARKS, Cohort, Finding, masked

DEEPEST = 8  # containers within containers
_BYTES = re.compile(rb"(?<!\d)\d{7}(?!\d)")
_WIDE = re.compile(rb"(?<!\d\0)(?:\d\0){7}(?!\d\0)")
# Matplotlib's scatter plot in an SVG: a group with a mark for every point
_SCATTER = re.compile(r'<g id="PathCollection_\d+">(.*?)</g>\s*</g>', re.DOTALL)


def scan_folder(folder, cohort: Cohort | None = None, *, leave_out=()) -> list[Finding]:
    """Findings in all files of a folder and in their names, sorted.

    Parameters
    ----------
    folder : path
    cohort : Cohort, optional
        Who must not be found; without it only what looks like an id is.
    leave_out : iterable of str
        Relative paths not to look at.
    """
    folder, found = Path(folder), []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name in leave_out:
            continue
        if path.is_symlink():
            found.append(Finding(masked(name), CLOSED, "a link"))
        elif path.is_file():
            found += scan_file(path, cohort, name=name)
        elif not any(path.iterdir()):
            found += scan_bytes(b"", name, cohort)
    return sorted(set(found))


def scan_file(path, cohort: Cohort | None = None, *, name: str | None = None) -> list[Finding]:
    """Findings in one file; see `scan_bytes`."""
    path = Path(path)
    return scan_bytes(path.read_bytes(), name or path.name, cohort)


def scan_bytes(data: bytes, name: str, cohort: Cohort | None = None) -> list[Finding]:
    """Findings in a file's bytes and in its name.

    Text is searched for ids and dates of birth, tables also for rows about single people.
    Zip, gzip, bzip2, xz and tar are opened; of images, PDF, NIfTI, HDF5 and NumPy files the
    metadata and texts are read. What cannot be opened is a finding.

    Parameters
    ----------
    data : bytes
    name : str
        Relative path that findings name; it is searched as well.
    cohort : Cohort, optional
    """
    cohort = cohort or Cohort()
    shown = masked(name)
    kinds = _kinds(data, name, cohort, 0)
    return sorted({Finding(shown, kind, place or "file name") for kind, place in kinds})


def _kinds(data, name, cohort, depth) -> Iterator[tuple[str, str]]:
    """(kind, place) of everything in a file; an empty place is the file's name."""
    yield from ((kind, "") for kind in text.kinds(name, cohort.ids))
    if depth > DEEPEST:
        yield CLOSED, "too many containers in each other"
        return
    is_text = False
    for part in readers.contents(data, name):
        if isinstance(part, readers.Problem):
            yield part.kind, part.place or "the file"
        elif isinstance(part, readers.Inner):
            inner = masked(part.name)
            for kind, place in _kinds(part.data, part.name, cohort, depth + 1):
                yield kind, f"{inner}: {place}" if place else f"name of {inner}"
        else:
            is_text |= part.table
            for kind in text.kinds(part.text, cohort.ids):
                yield kind, part.place or "text"
            if part.table:
                yield from _in_tables(part.text, name, cohort)
    if not is_text and _has_id(data, cohort.ids):
        yield COHORT_ID, "bytes"


def _in_tables(content, name, cohort):
    for header, cells in rows.tables(content, name):
        yield from rows.kinds(header, cells, cohort)
    if name.lower().endswith((".svg", ".html")):
        for group in _SCATTER.findall(content):
            marks = group.count("<use ")
            if marks >= max(rows.FEWEST, 0.4 * cohort.size if cohort.size else 50):
                yield MARKS, "scatter plot"


def _has_id(data: bytes, ids) -> bool:
    if not ids:
        return False
    if any(run.group().decode() in ids for run in _BYTES.finditer(data)):
        return True
    return any(run.group()[::2].decode() in ids for run in _WIDE.finditer(data))
