"""Which manual masks exist: files named by participant and visit."""

import os
import re
from collections import Counter, defaultdict

import pandas as pd

from iliopsoas import files
from iliopsoas.status import InputError
from iliopsoas.ukb.folders import entries

IMAGE = re.compile(r"(?P<stem>.+?)(?P<suffix>\.nii(\.gz)?|(\.seg)?\.nrrd|\.nhdr|\.mha|\.mhd)", re.I)
# 1000107_2, 1000107_2_left, 1000107-2-Left, 1000107_2_L, 1000107_20201_2_0_right
NAME = re.compile(
    r"(?P<eid>[1-9]\d{6})[-_. ]+((20201[-_. ]+)(?P<of_zip>\d)[-_. ]+\d|(?P<instance>\d))"
    r"([-_. ]*(?P<side>left|right|l|r))?",
    re.IGNORECASE,
)
EXPORTED = re.compile(r"[1-9]\d{6}_\d_water", re.IGNORECASE)  # what is drawn on is no mask
COLUMNS = [*files.KEY, "annotation", "stamp"]


def index_masks(folder) -> pd.DataFrame:
    """Manual masks ``<EID>_<instance>[_left|_right].nii.gz`` (or .nii, .nrrd, .nhdr, .mha, .mhd).

    Small and capital letters are the same, and ``-``, ``.`` and blanks stand for ``_``; ``l``
    and ``r`` for the sides.

    Returns
    -------
    DataFrame
        eid, instance, annotation: the paths of a visit joined by ``;``, sorted; stamp: sizes and
        times of all the participant's files there, since a header may have its voxels beside it.
        Its ``attrs["unmatched"]`` counts, by name with every digit as ``#``, the images whose
        name is no visit's.

    Raises
    ------
    InputError
        The folder does not exist, or a visit has one side only or both kinds of file.
    """
    found, stamps, unmatched = defaultdict(dict), defaultdict(list), Counter()
    for path, size, time in entries(folder, role="folder of annotations"):
        name = os.path.basename(path)
        stamps[name[:7]].append(f"{path} {size} {time}")
        image = IMAGE.fullmatch(name)
        match = image and NAME.fullmatch(image["stem"])
        if match:
            side = {"l": "left", "r": "right", "": "both"}[(match["side"] or "")[:1].lower()]
            sides = found[(match["eid"], match["instance"] or match["of_zip"])]
            if side in sides:
                raise InputError(f"folder of annotations {folder}: a visit has two masks ({side})")
            sides[side] = os.path.join(folder, path)
        elif image and not EXPORTED.fullmatch(image["stem"]):
            unmatched[re.sub(r"\d", "#", name)] += 1
    odd = [key for key, sides in found.items() if set(sides) not in ({"both"}, {"left", "right"})]
    if odd:
        raise InputError(
            f"folder of annotations {folder}: {len(odd)} visits have neither one label map nor "
            "exactly one mask per side (_left, _right)"
        )
    rows = [
        (*key, ";".join(sorted(sides.values())), files.fingerprint(sorted(stamps[key[0]])))
        for key, sides in found.items()
    ]
    table = pd.DataFrame(rows, columns=COLUMNS, dtype=str)
    table.attrs = {"unmatched": dict(unmatched)}
    return table
