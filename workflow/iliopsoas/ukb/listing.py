"""What lies in folders that people fill, cheap enough to be asked at every start.

A listing is the name, size and time of every file. Its digest tells whether a file came,
went, or was replaced; nothing is opened.
"""

import os
from pathlib import Path

from iliopsoas import files
from iliopsoas.ukb import scans
from iliopsoas.ukb.folders import entries

SEEN = "cohort/listings.json"  # below the results folder: the digests of the last cohort


def digest(folder, recorded: str | None = None, wanted=None, *, role: str = "folder") -> str:
    """A digest of `entries`; `recorded` where there is nothing to list.

    Parameters
    ----------
    folder : path
    recorded : str, optional
        The digest when the folder was read last. A folder that is absent, or holds nothing of
        what counts, is not mounted today: that is no change.
    wanted, role
        See `entries`.

    Returns
    -------
    str
        ``nothing`` where there is neither a file nor a record.

    Raises
    ------
    InputError
        The folder is there and cannot be listed.
    """
    found = entries(folder, wanted, role=role) if Path(folder).is_dir() else []
    if not found:
        return recorded or "nothing"
    return _hash(found)


def of_files(paths, recorded: str | None = None) -> str:
    """The same for single files, such as another tool's masks of a shard's participants."""
    found = []
    for path in sorted(map(str, paths)):
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append((path, status.st_size, status.st_mtime_ns))
    if not found:
        return recorded or "nothing"
    return _hash(found)


def of_release(release, results=None) -> dict[str, str]:
    """The digests of a release's zips and manual masks, for a parameter of the cohort's rule.

    Parameters
    ----------
    release : dict or `iliopsoas.config.Release`
        name, zips, mount and annotations are read.
    results : path, optional
        Where an earlier cohort recorded (`record`) what it read; what is not mounted today has
        the digest that it had then.

    Returns
    -------
    dict
        ``zips`` and, where there are any, ``annotations``.
    """
    release = dict(release)
    seen = read(results).get(release["name"], {}) if results else {}
    found = scans.listed(release["zips"], release.get("mount"), missing_ok=True)
    digests = {"zips": _hash(found) if found else seen.get("zips") or "nothing"}
    if release.get("annotations"):
        digests["annotations"] = digest(
            release["annotations"], seen.get("annotations"), role="folder of annotations"
        )
    return digests


def read(results) -> dict[str, dict[str, str]]:
    """The digests of every release as the last cohort recorded them; empty where none did."""
    path = Path(results) / SEEN
    return files.read_json(path) if path.exists() else {}


def record(results, listings: dict[str, dict[str, str]]) -> None:
    """Keep the digests, release by release, that a cohort was drawn from."""
    files.write_json(Path(results) / SEEN, listings)


def _hash(found) -> str:
    """Of one text: as nested JSON, a hundred thousand files would cost a second more."""
    return files.fingerprint("\n".join(" ".join(map(str, item)) for item in found))
