"""Archives in a folder of a project, through the platform's command line ``dx``.

An object there never changes once it is closed, and two may have one name. So nothing is ever
replaced: an archive's name ends with the hash of its bytes, what is open (an upload that was cut
off) does not count, and what does not have its hash is not taken.
"""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from iliopsoas import files
from iliopsoas.logs import log

_NAME = re.compile(r"(?P<name>.+)\.(?P<hash>[0-9a-f]{16})\.tar")


class StoreError(OSError):
    """The platform did not do what was asked, however often."""


class _OtherBytes(Exception):
    """A download was cut off or damaged."""


@dataclass(frozen=True)
class Item:
    """A closed archive.

    Parameters
    ----------
    id : str
        The platform's.
    name : str
        Without hash and ending.
    hash : str
        First 16 hexadecimal digits of the SHA-256 of its bytes.
    modified : int
        Milliseconds since 1970.
    """

    id: str
    name: str
    hash: str
    modified: int


class Store:
    """A folder of a project.

    Parameters
    ----------
    folder : str
        ``/folder``, in the project of the job or the one selected, or ``project:/folder``.
    tries : int
        How often a command is given before it counts as failed.
    wait_s : float
        Pause after the first failure; it doubles with each.
    """

    def __init__(self, folder: str, tries: int = 6, wait_s: float = 2.0):
        # a job's own project is a workspace that is gone after it
        project = os.environ.get("DX_PROJECT_CONTEXT_ID", "")
        self.project, _, place = folder.rpartition(":")
        self.project = self.project or project
        self.folder = f"{self.project}:{place}" if self.project else place
        self.folder = self.folder.rstrip("/")
        self.tries, self.wait_s = tries, wait_s

    def _dx(self, *words) -> str:
        for attempt in range(self.tries):
            if attempt:
                time.sleep(self.wait_s * 2 ** (attempt - 1))
            done = subprocess.run(["dx", *map(str, words)], capture_output=True, text=True)
            if not done.returncode:
                return done.stdout
            log.warning("dx %s failed: %s", words[0], done.stderr.strip()[-300:])
        raise StoreError(f"dx {words[0]} failed {self.tries} times: {done.stderr.strip()[-300:]}")

    def _qualified(self, item: Item) -> str:
        return f"{self.project}:{item.id}" if self.project else item.id

    def make(self) -> None:
        """Make the folder."""
        self._dx("mkdir", "-p", self.folder)

    def items(self) -> list[Item]:
        """The closed archives, newest first."""
        found = self._dx("find", "data", "--class", "file", "--state", "closed", "--path",
                         self.folder, "--norecurse", "--json")  # fmt: skip
        items = []
        for item in json.loads(found):
            match = _NAME.fullmatch(item["describe"]["name"])
            if match:
                modified = int(item["describe"].get("modified") or 0)
                items.append(Item(item["id"], match["name"], match["hash"], modified))
        return sorted(items, key=lambda item: (item.modified, item.id), reverse=True)

    def put(self, archive, name: str) -> None:
        """Upload an archive; it is closed when this returns.

        Raises
        ------
        StoreError
        """
        path = f"{self.folder}/{name}.{files.sha256(archive)[:16]}.tar"
        self._dx("upload", archive, "--path", path, "--parents", "--wait", "--brief",
                 "--no-progress")  # fmt: skip

    def get(self, item: Item, path) -> Path:
        """Download an archive; the file appears when its bytes have their hash.

        Raises
        ------
        StoreError
            Not after all tries, or it was removed.
        """
        for _ in range(self.tries):
            try:
                with files.atomic(path) as temporary:
                    self._dx("download", self._qualified(item), "-o", temporary, "-f",
                             "--no-progress")  # fmt: skip
                    if files.sha256(temporary)[:16] != item.hash:
                        raise _OtherBytes
                return Path(path)
            except _OtherBytes:
                log.warning("an archive came with other bytes than it has")
        raise StoreError(f"an archive came {self.tries} times with other bytes than it has")

    def remove(self, items) -> None:
        """Remove archives, also where another machine does so at the same time."""
        left = list(items)
        for attempt in range(self.tries if left else 0):
            if attempt:
                time.sleep(self.wait_s * 2 ** (attempt - 1))
            # fails for one that is gone; what is still there tells
            words = ["dx", "rm", "-f", *map(self._qualified, left)]
            subprocess.run(words, capture_output=True)
            there = {item.id for item in self.items()}
            left = [item for item in left if item.id in there]
            if not left:
                return
        if left:
            log.warning("%d archives could not be removed from the store", len(left))
