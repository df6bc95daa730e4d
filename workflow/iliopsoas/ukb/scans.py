"""Which zips of field 20201 exist."""

import os
import re
from pathlib import Path

import pandas as pd

from iliopsoas.status import InputError

NAME = re.compile(r"(?P<eid>[1-9]\d{6})_20201_(?P<instance>\d+)_(?P<array>\d+)\.zip")
COLUMNS = ["eid", "instance", "array", "path", "superseded"]


def index_zips(folder, instances=(2, 3)) -> pd.DataFrame:
    """Find ``<EID>_20201_<instance>_<array>.zip`` in a folder and its subfolders.

    Parameters
    ----------
    folder : path
        A flat folder, or RAP's with a subfolder per first two digits; it is only read.
    instances : iterable of int
        Imaging visits wanted.

    Returns
    -------
    DataFrame
        eid, instance (text), array (int), path (text), superseded (int: how many further zips
        of the same visit, of lower array index or a second copy, are not used), sorted by eid
        and instance. The highest array index wins. Its ``attrs`` hold the counts
        ``other_files`` and ``other_instances``.

    Raises
    ------
    InputError
        The folder does not exist or cannot be listed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"folder of zips {folder}: does not exist, or is not a folder")
    wanted = {str(int(instance)) for instance in instances}
    rows, other_files, other_instances = [], 0, 0
    seen = set()

    def refuse(error):
        raise InputError(f"folder of zips {error.filename}: {error.strerror}")

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        place = os.path.realpath(root)
        if place in seen:  # a link back up
            folders.clear()
            continue
        seen.add(place)
        for name in names:
            match = NAME.fullmatch(name)
            if not match:
                other_files += 1
            elif match["instance"] not in wanted:
                other_instances += 1
            else:
                path = os.path.join(root, name)
                rows.append((match["eid"], match["instance"], int(match["array"]), path))
    table = pd.DataFrame(rows, columns=COLUMNS[:4])
    # the last of a visit wins: highest array; of two copies the first by path
    table = table.sort_values(["eid", "instance", "array", "path"], ascending=[1, 1, 1, 0])
    counts = table.groupby(["eid", "instance"])["array"].transform("size") - 1
    table["superseded"] = counts.astype(int)
    table = table.drop_duplicates(["eid", "instance"], keep="last").reset_index(drop=True)
    table.attrs = {"other_files": other_files, "other_instances": other_instances}
    return table
