"""Withdrawal files: the participants who must leave every derived file."""

import re
from pathlib import Path

from iliopsoas.status import InputError

_EID = re.compile(r"[1-9]\d{6}")


def read_withdrawals(paths) -> set[str]:
    """EIDs of all withdrawal files together.

    Parameters
    ----------
    paths : path or list of paths
        ``w<application>_<YYYYMMDD>.csv``: one EID of seven digits per line and no header
        (ukb_format.md, section 5). Blank lines, a byte order mark, quotes, a header ``eid`` and
        a trailing comma are tolerated.

    Raises
    ------
    InputError
        A file is missing, is not text, holds no EID, or a line is something else. Lines are
        named by number, never by content.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    withdrawn = set()
    for path in map(Path, paths):
        try:
            lines = path.read_bytes().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(
                f"withdrawal file {path.name}: expected text with one EID per line, found binary"
            ) from None
        except OSError as error:
            raise InputError(f"withdrawal file {path}: {error.strerror}") from error
        found = set()
        for number, line in enumerate(lines, start=1):
            word = line.strip().rstrip(",").strip().strip('"').strip()
            if not word or (word.casefold() in ("eid", "f.eid") and not found):
                continue
            if not _EID.fullmatch(word):
                raise InputError(
                    f"withdrawal file {path.name}, line {number}: expected one EID of seven "
                    f"digits, found {len(word)} characters that are none"
                )
            found.add(word)
        if not found:
            raise InputError(f"withdrawal file {path.name}: holds no EID")
        withdrawn |= found
    return withdrawn
