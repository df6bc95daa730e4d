"""Which zips of field 20201 exist."""

import json
import os
import re
from collections import Counter
from pathlib import Path

import pandas as pd

from iliopsoas.status import InputError
from iliopsoas.ukb.folders import entries

NAME = re.compile(r"(?P<eid>[1-9]\d{6})_20201_(?P<instance>\d+)_(?P<array>\d+)\.zip", re.IGNORECASE)
COLUMNS = ["eid", "instance", "array", "path", "stamp", "superseded"]
MOUNT = "/mnt/project"  # where UK Biobank's platform shows a project's files
# a line of `dx find data`: closed  2024-02-19 10:25:15 5.30 MB /Bulk/.../NAME.zip (file-...)
_FOUND = re.compile(
    r"\w+\s+(?P<stamp>[\d-]{10} [\d:]{8}(?:\s+[\d.,]+ \w+)?)\s+(?P<path>/.*?)\s+"
    r"\(?(?P<id>(project-\w+:)?file-\w+)\)?"
)


def index_zips(source, instances=(2, 3), mount: str | None = None) -> pd.DataFrame:
    """Find ``<EID>_20201_<instance>_<array>.zip``.

    Parameters
    ----------
    source : path
        A folder, searched with its subfolders (RAP has one per first two digits), or a file that
        lists zips: see `listed`. It is only read.
    instances : iterable of int
        Imaging visits wanted.
    mount : str, optional
        Where paths of the platform's listing lie on this machine; `MOUNT` by default.

    Returns
    -------
    DataFrame
        eid, instance (text), array (int), path (text), stamp (text: size and time, or what the
        listing says in their place), superseded (int: how many further zips
        of the same visit, of lower array index or a second copy, are not used), sorted by eid
        and instance. The highest array index wins. Its ``attrs`` hold the counts ``other_files``
        and ``other_instances``, and ``unmatched``: counts of zips whose name is no visit's, by
        name with every digit as ``#``.

    Raises
    ------
    InputError
        The source does not exist or cannot be listed.
    """
    wanted = {str(int(instance)) for instance in instances}
    rows, counts, unmatched = [], {"other_files": 0, "other_instances": 0}, Counter()
    for path, stamp in listed(source, mount, every=True):
        name = os.path.basename(path)
        match = NAME.fullmatch(name)
        if not match and name.lower().endswith(".zip"):
            unmatched[re.sub(r"\d", "#", name)] += 1
        elif not match:
            counts["other_files"] += 1
        elif match["instance"] not in wanted:
            counts["other_instances"] += 1
        else:
            rows.append((match["eid"], match["instance"], int(match["array"]), path, stamp))
    table = pd.DataFrame(rows, columns=COLUMNS[:5])
    # the last of a visit wins: highest array; of two copies the first by path
    table = table.sort_values(["eid", "instance", "array", "path"], ascending=[1, 1, 1, 0])
    copies = table.groupby(["eid", "instance"])["array"].transform("size") - 1
    table["superseded"] = copies.astype(int)
    table = table.drop_duplicates(["eid", "instance"], keep="last").reset_index(drop=True)
    table.attrs = counts | {"unmatched": dict(unmatched)}
    return table


def listed(source, mount: str | None = None, *, every: bool = False, missing_ok: bool = False):
    """The files a release names as its zips, with what tells whether one was replaced.

    Parameters
    ----------
    source : path
        A folder; or a text file with a path a line, or what ``dx find data --property
        field_id=20201`` prints on UK Biobank's platform, as text or with ``--json``.
    mount : str, optional
        Put before the platform's paths, which begin with ``/Bulk``.
    every : bool
        Files with other names too.
    missing_ok : bool
        A source that does not exist has no files; otherwise it is an error.

    Returns
    -------
    list of (path, stamp)
        Sorted.
    """
    source = Path(source)
    if missing_ok and not source.exists():
        return []
    if source.is_file():
        found = _read_list(source, (mount or MOUNT).rstrip("/"))
        if not every:
            found = [item for item in found if NAME.fullmatch(os.path.basename(item[0]))]
        return sorted(set(found))
    wanted = None if every else NAME.fullmatch
    return [
        (f"{source}/{path}", f"{size} {time}")
        for path, size, time in entries(source, wanted, role="folder of zips")
    ]


def _read_list(path: Path, mount: str) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            found = [_of_json(item, mount) for item in json.loads(text)]
        else:
            found = [_of_line(line, mount) for line in map(str.strip, text.splitlines()) if line]
    except OSError as error:
        raise InputError(f"list of zips {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        found = []
    if not any(name.lower().endswith(".zip") for name, _ in found):
        raise InputError(
            f"list of zips {path}: expected a path a line, or the output of dx find data (with "
            "--json: id and describe with folder and name), found no zip"
        )
    return found


def _of_line(line: str, mount: str) -> tuple[str, str]:
    match = _FOUND.fullmatch(line)
    if match:
        return mount + match["path"], f"{match['id']} {match['stamp']}"
    try:
        status = os.stat(line)
    except OSError:
        return line, "missing"
    return line, f"{status.st_size} {status.st_mtime_ns}"


def _of_json(item: dict, mount: str) -> tuple[str, str]:
    about = item["describe"]
    path = f"{mount}{about['folder'].rstrip('/')}/{about['name']}"
    return path, f"{item['id']} {about.get('size')} {about.get('modified')}"
