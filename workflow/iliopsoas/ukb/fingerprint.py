"""Whether a scan is still the one that was processed, without reading all of it."""

import zipfile
from pathlib import Path

from iliopsoas import files

_TAIL = 1 << 16


def content_fingerprint(path) -> str:
    """A hash of a scan's content that costs a read of the archive's directory only.

    Parameters
    ----------
    path : path
        A zip: name, size and CRC-32 of every member as its central directory states them, so
        that a copy elsewhere or with another date counts as the same scan. What is no readable
        zip is known by its size and last 64 KiB; a folder by its files' names and sizes.

    Returns
    -------
    str
        ``missing`` where there is nothing at `path`.
    """
    path = Path(path)
    if path.is_dir():
        members = (file for file in sorted(path.rglob("*")) if file.is_file())
        listed = [(str(file.relative_to(path)), file.stat().st_size) for file in members]
        return files.fingerprint("folder", listed)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = sorted((m.filename, m.file_size, m.CRC) for m in archive.infolist())
        return files.fingerprint("zip", listed)
    except FileNotFoundError:
        return "missing"
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL))
            return files.fingerprint("other", size, file.read().hex())
