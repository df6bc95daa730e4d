"""The files of a folder that people fill, with sizes and times."""

import os

from iliopsoas.status import InputError


def entries(folder, wanted=None, *, role: str = "folder") -> list[tuple[str, int, int]]:
    """The files of a folder and its subfolders; links are followed, hidden files are not listed.

    Parameters
    ----------
    folder : path
    wanted : callable, optional
        Takes a file's name and says whether it counts; all do by default.
    role : str
        What messages call the folder.

    Returns
    -------
    list of (path below the folder, size in bytes, time of change in ns)
        Sorted by path.

    Raises
    ------
    InputError
        The folder does not exist, is none, or cannot be listed.
    """
    found, seen, waiting = [], set(), [(os.fspath(folder), "")]
    try:
        while waiting:
            place, below = waiting.pop()
            status = os.stat(place)
            if (status.st_dev, status.st_ino) in seen:  # a link back up
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as listed:
                for entry in listed:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting.append((entry.path, f"{below}{entry.name}/"))
                    elif wanted is None or wanted(entry.name):
                        try:
                            status = entry.stat()
                        except FileNotFoundError:  # a link to nothing
                            continue
                        path = below + entry.name
                        found.append((path, status.st_size, status.st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{role} {folder}: does not exist, or is not a folder") from None
    except OSError as error:
        raise InputError(f"{role} {error.filename}: {error.strerror}") from error
    return sorted(found)
