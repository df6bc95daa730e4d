"""The work of one machine: shards one by one, each kept in the project as soon as it is done.

What lies in the store (`Store`), by name:

``cohort``
    The drawn cohort. Every machine begins with it.
``<shard>.<key>.whole``
    Everything of a finished shard. The first one counts; the others are the same work again.
``<shard>.<key>.part``
    What was finished of a shard in work since the part before: ledgers, then the participants'
    files that their lines promise.
``results``
    What was made of all shards together.

The key is a fingerprint of what a shard is made from: who is in it, settings, weights, versions.
A machine that takes up a shard unpacks its parts, newest first, and the stages go on where the
ledgers say; after a change of key they look at every participant anew. Whatever two machines do to
one shard, each archive is whole, and one of them is collected.
"""

import contextlib
import fcntl
import functools
import random
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from iliopsoas import config, files, starter
from iliopsoas.logs import log
from iliopsoas.rap import archives, copies
from iliopsoas.rap.store import Item, Store, StoreError
from iliopsoas.stages.ledger import Ledger
from iliopsoas.status import InputError
from iliopsoas.versions import IMAGE_STAGES, STAGES

COPIES = "zips"  # below the working folder
# settings of what is made of a participant's images
SECTIONS = (
    "dixon",
    "landmarks",
    "crops",
    "segmentation",
    "volumes",
    "vertebrae",
    "other_methods",
)


class Worker:
    """A machine with a working folder of its own.

    Parameters
    ----------
    store : Store
    settings : config.Config
        Results must lie below the working folder.
    command : list of str
        What makes results; targets take the place of the word ``{targets}``, the folder of copied
        zips that of ``{copies}`` inside a word.
    folder : path
        The working folder; one worker at a time.
    every_s : float
        Seconds between two parts of a shard in work: so much work a killed machine loses.
    copying : dict, optional
        Arguments of `copies.copy`.
    """

    def __init__(self, store: Store, settings: config.Config, command: list[str], folder=".", *,
                 every_s: float = 300, copying: dict | None = None):  # fmt: skip
        self.store, self.settings, self.command = store, settings, command
        self.folder, self.every_s = Path(folder).absolute(), every_s
        self.copying = copying or {}
        self.results = settings.results
        if Path(self.results).is_absolute() or ".." in Path(self.results).parts:
            raise InputError(
                f"results: found {self.results}, expected a folder below the working folder"
            )

    # -- the steps ------------------------------------------------------------------------------

    def cohort(self) -> None:
        """Draw the cohort, after the one that was drawn before, and put it into the store."""
        with self._alone():
            self.store.make()
            earlier = [item for item in self.store.items() if item.name == "cohort"]
            self._take(earlier)
            weights = self.settings.segmentation.weights
            # for all machines: made by each, it would be younger than the others' masks
            targets = ["cohort", *([f"{self.results}/model/weights.json"] if weights else [])]
            if self._run(targets):
                raise InputError("the cohort could not be drawn; the log above says why")
            archive = self.folder / "cohort.tar"
            archives.pack(archive, self.folder, self._files_of_cohort())
            self.store.put(archive, "cohort")
            self.store.remove(earlier)
            archive.unlink()

    def shards(self, part: int, parts: int) -> list[str]:
        """Work on every `parts`-th shard, beginning with the `part`-th.

        Returns
        -------
        list of str
            Shards that could not be finished; what is done of them is in the store.

        Raises
        ------
        InputError
            There is no cohort, or fewer shards than parts.
        """
        with self._alone():
            self._take_cohort()
            mine = self._table_of_shards()[part - 1 :: parts]
            if not mine or not 1 <= part <= parts:
                raise InputError(
                    f"part {part} of {parts}: found no shard for it, expected 1 to {parts}, and no "
                    "more parts than shards"
                )
            items, failed = self.store.items(), []
            todo = [row for row in mine if not self._whole(row, items)]
            random.shuffle(todo)  # a second machine with the same part begins elsewhere
            with ThreadPoolExecutor(1) as beside:
                ahead = iter(todo)

                def copy_next() -> Future | None:
                    row = next(ahead, None)
                    return row and beside.submit(self._copy_zips, row["shard"])

                coming = copy_next()
                for row in todo:
                    ready, coming = coming, copy_next()
                    try:
                        self._finish_shard(row, ready)
                    except (InputError, StoreError) as error:
                        log.error("shard %s is not finished: %s", row["shard"], error)
                        failed.append(row["shard"])
            return sorted(failed)

    def collect(self, targets: list[str]) -> None:
        """Put all shards together, make what follows from them, and put that into the store.

        Raises
        ------
        InputError
            A shard is not finished.
        """
        with self._alone():
            self._take_cohort()
            table, items = self._table_of_shards(), self.store.items()
            found = {row["shard"]: self._whole(row, items) for row in table}
            missing = [str(n + 1) for n, row in enumerate(table) if not found[row["shard"]]]
            if missing:
                raise InputError(
                    f"{len(missing)} of {len(table)} shards are not finished, by their place: "
                    f"{', '.join(missing[:20])}. Run their parts again"
                )
            for wholes in found.values():
                if not self._take(wholes):
                    raise InputError("a finished shard could not be had; the log above says why")
            used = {item.id for wholes in found.values() for item in wholes}
            self.store.remove(item for item in items if item.id not in used and _of_a_shard(item))
            if self._run(targets):
                raise InputError("not everything could be made; the log above says why")
            archive = self.folder / "results.tar"
            archives.pack(archive, self.folder, self._files_of_results())
            self.store.put(archive, "results")
            self.store.remove(item for item in items if item.name == "results")
            archive.unlink()

    # -- one shard ------------------------------------------------------------------------------

    def _finish_shard(self, row: dict, ready: Future) -> None:
        name = row["shard"]
        ready.result()
        # twice: a machine that finishes the shard meanwhile removes its parts
        sent = None if self._whole(row) else self._take_up(row)
        if sent is None or self._whole(row):
            log.info("shard %s was finished by another machine", name)
            self._forget(name)
            return
        failed = self._run([f"{self.results}/shards/{name}/{file}" for file in self._last()],
                           meanwhile=lambda: self._send_part(row, sent))  # fmt: skip
        if failed:
            self._send_part(row, sent)
            raise InputError("its command failed; the log above says why")
        self._check(name)
        archive = self.folder / f"{name}.tar"
        archives.pack(archive, self.folder, self._files_of_shard(name, logs=True))
        items = self.store.items()
        if not self._whole(row, items):
            self.store.put(archive, f"{name}.{self._key(row)}.whole")
        self.store.remove(item for item in items if _of_a_shard(item) == name
                          and item.name != f"{name}.{self._key(row)}.whole")  # fmt: skip
        archive.unlink()
        self._forget(name)

    def _last(self) -> list[str]:
        """What ends a shard: all that reads images or crops, which other machines do not have."""
        last = {
            "volumes.tsv": True,
            "opinion.tsv": self.settings.qc.second_opinion,
            "methods.tsv": self.settings.other_methods,
            "images_removed.json": self.settings.run.keep == "results",
        }
        return [name for name, wanted in last.items() if wanted]

    def _take_up(self, row: dict) -> dict[str, tuple[int, int]]:
        """Unpack what the store has of a shard; returns what need not be sent again."""
        name, sent = row["shard"], {}
        items = [item for item in self.store.items() if _of_a_shard(item) == name]
        for path in self._take(items, keep=True):
            sent[path] = _stamp(self.folder / path)
        place = self.folder / self.results / "shards" / name
        for stage in IMAGE_STAGES:
            if (place / f"{stage}.tsv").exists():
                (place / f"{stage}{archives.LINES}").unlink(missing_ok=True)
        if any(item.name.split(".")[1] != self._key(row) for item in items):
            # made from something else: who is still as it should be is found by fingerprint
            (place / "manifest.tsv").unlink(missing_ok=True)
            for stage in IMAGE_STAGES:
                Ledger(place / f"{stage}.tsv").reopen()
        return sent

    def _send_part(self, row: dict, sent: dict[str, tuple[int, int]]) -> None:
        """Put what is new into the store; a failure costs nothing but this part."""
        name = row["shard"]
        archive = self.folder / f"{name}.part.tar"
        new = (path for path in self._files_of_shard(name)
               if sent.get(path) != _stamp(self.folder / path))  # fmt: skip
        packed = archives.pack(archive, self.folder, new)
        if packed:
            try:
                self.store.put(archive, f"{name}.{self._key(row)}.part")
                sent.update(packed)
                log.info("%s: %d more files are kept", name, len(packed))
            except StoreError as error:
                log.warning("%s: a part was not kept: %s", name, error)
        archive.unlink()

    def _check(self, name: str) -> None:
        """A shard is finished where everybody has a row in its last ledger, once."""
        rows = files.read_tsv(self.folder / self.results / "shards" / name / "volumes.tsv")
        found = sorted(zip(rows["eid"], rows["instance"], strict=True))
        expected = sorted(self._members(name)[files.KEY].itertuples(index=False, name=None))
        if found != expected:
            raise InputError(
                f"volumes.tsv: found {len(found)} rows, expected one of each of the "
                f"{len(expected)} participants"
            )

    def _copy_zips(self, name: str) -> None:
        copies.copy_all(self._members(name)["scan"], self.folder / COPIES, **self.copying)

    def _forget(self, name: str) -> None:
        """Make room: what the store has, and zips that were used."""
        for row in self._members(name).itertuples():
            (self.folder / COPIES / Path(row.scan).name).unlink(missing_ok=True)
        for path in list(self._files_of_shard(name, logs=True)):
            (self.folder / path).unlink(missing_ok=True)

    # -- names ----------------------------------------------------------------------------------

    def _key(self, row: dict) -> str:
        settings = self.settings.model_dump(mode="json", include=set(SECTIONS))
        for name in ("weights", "batch_size"):
            settings["segmentation"].pop(name)
        settings["second_opinion"] = self.settings.qc.second_opinion
        versions = {stage: STAGES[stage] for stage in IMAGE_STAGES}
        return files.fingerprint(row["digest"], settings, self._weights, versions)

    @functools.cached_property
    def _weights(self) -> str | None:
        path = starter.path_of(self.settings.segmentation.weights)
        return files.sha256(path) if path and path.is_file() else None

    def _whole(self, row: dict, items: list[Item] | None = None) -> list[Item]:
        """The finished archives of a shard, the first one first."""
        wanted = f"{row['shard']}.{self._key(row)}.whole"
        items = self.store.items() if items is None else items
        return [item for item in reversed(items) if item.name == wanted]

    # -- files ----------------------------------------------------------------------------------

    def _take_cohort(self) -> None:
        if not self._take([item for item in self.store.items() if item.name == "cohort"]):
            raise InputError("found no cohort in the store; run the step cohort first")

    def _take(self, items: list[Item], keep: bool = False) -> list[str]:
        """Unpack the first of these archives that can be had; with `keep`, one after another."""
        written, archive = [], self.folder / "taken.tar"
        for item in items:
            try:
                self.store.get(item, archive)
            except StoreError as error:
                log.warning("an archive could not be had: %s", error)
                continue
            written += archives.unpack(archive, self.folder, keep=keep)
            archive.unlink()
            if not keep:
                break
        return written

    def _table_of_shards(self) -> list[dict]:
        path = self.folder / self.results / "cohort/shards.tsv"
        return files.read_tsv(path, dtype={"digest": str}).to_dict("records")

    def _members(self, name: str):
        return self._manifests[self._manifests["shard"] == name]

    @functools.cached_property
    def _manifests(self):
        return files.read_tsv(self.folder / self.results / "cohort/manifests.tsv")

    def _files_of_cohort(self):
        yield from _below(self.folder, f"{self.results}/cohort")
        for name in ("model/weights.json", "logs/cohort.log", "benchmarks/cohort.tsv"):
            yield f"{self.results}/{name}"

    def _files_of_results(self):
        """All but what the store has shard by shard."""
        for path in _below(self.folder, self.results):
            if Path(path).relative_to(self.results).parts[0] not in ("shards", "subjects"):
                yield path

    def _files_of_shard(self, name: str, logs: bool = False):
        """Ledgers first: what their lines promise is there when its turn comes."""
        yield from _below(self.folder, f"{self.results}/shards/{name}")
        for row in self._members(name).itertuples():
            yield from _below(self.folder, str(files.subject_folder(self.results, row.eid,
                                                                    row.instance)))  # fmt: skip
        for kind in ("logs", "benchmarks") if logs else ():
            for path in sorted((self.folder / self.results / kind).glob(f"*/{name}.*")):
                yield path.relative_to(self.folder).as_posix()

    # -- processes ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self):
        """The working folder belongs to this worker, and to what it started, until all are gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".worker.lock", "wb") as self._lock:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError("another worker, or what it left running, is in this folder"
                                 ) from None  # fmt: skip
            for litter in (self.folder / COPIES).glob(f"{files.TEMPORARY}*"):
                litter.unlink()
            yield

    def _run(self, targets: list[str], meanwhile=None) -> int:
        words = []
        for word in self.command:
            word = word.replace("{copies}", str(self.folder / COPIES))
            words += targets if word == "{targets}" else [word]
        process = subprocess.Popen(words, cwd=self.folder, pass_fds=[self._lock.fileno()])
        while True:
            try:
                return process.wait(self.every_s if meanwhile else None)
            except subprocess.TimeoutExpired:
                meanwhile()


def _of_a_shard(item: Item) -> str | None:
    """The shard that an archive is of."""
    return item.name.split(".")[0] if item.name.endswith((".whole", ".part")) else None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _below(folder: Path, place: str):
    """Names of the whole files of a folder and its subfolders."""
    for path in sorted((folder / place).rglob("*")):
        # written in place, and made again in seconds
        if path.name.endswith((".unfinished.h5", ".stale.h5")):
            continue
        if path.is_file() and not path.name.startswith(files.TEMPORARY):
            yield path.relative_to(folder).as_posix()
