"""Numbers that stand for participants where their EIDs must not: the key stays with the results.

A number is drawn once, by chance and not from the EID (seven digits are soon tried through), and
stays: a later export names the same participant alike. It has eight digits, so that none looks like
an EID.
"""

import secrets
from pathlib import Path

import pandas as pd

from iliopsoas import files

KEY = "cohort/pseudonyms.tsv"  # below the results folder
_FIRST, _LAST = 10_000_000, 99_999_999


def read(results) -> dict[str, str]:
    """EID to number, of everybody who has one."""
    path = Path(results) / KEY
    if not path.exists():
        return {}
    table = pd.read_csv(path, sep="\t", dtype=str)
    return dict(zip(table["eid"], table["pseudonym"], strict=True))


def assign(results, eids) -> dict[str, str]:
    """EID to number of these participants; new ones get a number that is written down first."""
    known = read(results)
    taken, new = set(known.values()), {}
    for eid in sorted(set(eids) - set(known)):
        number = None
        while number is None or number in taken:
            number = str(_FIRST + secrets.randbelow(_LAST - _FIRST + 1))
        taken.add(number)
        new[eid] = number
    if new:
        table = pd.DataFrame(sorted((known | new).items()), columns=["eid", "pseudonym"])
        files.write_tsv(Path(results) / KEY, table)
    return {eid: (known | new)[eid] for eid in eids}
