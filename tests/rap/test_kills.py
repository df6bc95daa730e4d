"""Machines that are taken away at random moments lose nobody, double nobody, halve nobody.

The worker, its store and its copies are the real ones. The platform's command line, the image work
(`stub_work`) and the mount's failures (`machine`) are stand-ins; ``dx`` fails and cuts off too.

    python tests/rap/test_kills.py 100 [SEED]      the long run, with what it found
"""

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHARDS, MEMBERS = 4, 4
TROUBLE = 0.03  # share of calls that fail, and of readings that fail, are cut off, are garbled
# the package is imported once, not by every machine
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["iliopsoas.rap.worker"])


class World:
    """A project with zips, its store, and what is true of it, known from the zips alone."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.random = folder, random.Random(seed)
        self.project = folder / "project"
        self.images, shards, manifests = {}, [], []
        for shard in range(1, SHARDS + 1):
            name = f"r-{shard:04}"
            for member in range(MEMBERS):
                eid = str(1_000_000 + 37 * (MEMBERS * shard + member))
                path = self.project / "Bulk" / eid[:2] / f"{eid}_20201_2_0.zip"
                path.parent.mkdir(parents=True, exist_ok=True)
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("a.dcm", self.random.randbytes(50_000))
                manifests.append(f"{eid}\t2\t{name}\t{path}")
                image = hashlib.sha256(path.read_bytes()).hexdigest().encode() * 4000
                self.images[f"{eid}_2"] = image
            shards.append(f"{name}\t{MEMBERS}\t0\tdigest{shard}")
        self._write("shards.tsv", ["shard\tparticipants\tannotated\tdigest", *shards])
        self._write("manifests.tsv", ["eid\tinstance\tshard\tscan", *manifests])
        settings = {"releases": [{"name": "r", "zips": "zips", "phenotypes": ["p.csv"]}]}
        (folder / "config.yaml").write_text(yaml.safe_dump(settings))

    def _write(self, name: str, lines: list[str]) -> None:
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def start(self, disk: Path, step: str, *words, trouble=TROUBLE, every=1.0):
        """A machine, in a process group of its own, which can be taken away as a whole."""
        disk.mkdir(parents=True, exist_ok=True)
        work = [
            sys.executable,
            str(HERE / "stub_work.py"),
            str(self.folder),
            "{copies}",
            "{targets}",
        ]
        command = [step, str(self.folder / "config.yaml"), "/run", *map(str, words),
                   "--every", str(every), "--", *work]  # fmt: skip
        variables = {
            "PATH": f"{HERE}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "workflow"),
            "DX_STAND_IN": str(self.project),
            "DX_TROUBLE": str(trouble),
            "WORKED": str(self.folder / f"worked-{disk.name}.txt"),
        }
        log = self.folder / "log.txt"
        process = _SERVER.Process(target=machine, args=(command, disk, variables, log))
        process.start()
        return process

    def run(self, disk: Path, step: str, *words, **options) -> None:
        process = self.start(disk, step, *words, **options)
        process.join()
        assert process.exitcode == 0, (self.folder / "log.txt").read_text()[-5000:]

    def archives(self):
        """Closed archives by name, with their members; read without the code that is tested."""
        for note in sorted((self.project / ".objects").glob("*.json")):
            try:
                about = json.loads(note.read_text())
                content = note.with_suffix("").read_bytes()
            except FileNotFoundError:  # removed meanwhile
                continue
            if about["state"] != "closed":
                continue
            assert hashlib.sha256(content).hexdigest()[:16] == about["name"].split(".")[-2]
            place = self.folder / "read.tar"
            place.write_bytes(content)
            with tarfile.open(place) as tar:
                yield (
                    about["name"],
                    {
                        member.name: tar.extractfile(member).read()
                        for member in tar
                        if member.isfile()
                    },
                )

    def kept(self) -> set[tuple[str, str]]:
        """(stage, participant) whose row and file are both in the store."""
        rows, there = set(), set()
        for _, members in self.archives():
            for name, content in members.items():
                stage = Path(name).name.split(".")[0]
                if name.endswith((".unfinished.jsonl", "/dixon.tsv", "/volumes.tsv")):
                    rows |= {(stage, who) for who in self._rows(name, content.decode())}
                elif "/subjects/" in name:
                    stage = {"water": "dixon", "volume": "volumes"}[stage]
                    there.add((stage, Path(name).parent.name))
                    if stage == "dixon":
                        assert content == self.images[Path(name).parent.name], "half or other image"
        return rows & there

    @staticmethod
    def _rows(name: str, text: str) -> list[str]:
        if name.endswith(".tsv"):
            header, *lines = (line.split("\t") for line in text.splitlines())
            found = [dict(zip(header, line, strict=True)) for line in lines]
        else:
            found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [f"{row['eid']}_{row['instance']}" for row in found if row["verdict"] == "ok"]

    def done(self, machine: int) -> list[tuple[str, str]]:
        """What a machine and those that came after it worked on, in order, as often as they did."""
        path = self.folder / f"worked-disk-{machine}.txt"
        return (
            [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []
        )

    def check(self, disk: Path) -> None:
        """Collect on a new machine: everybody once, and whole."""
        self.run(disk, "collect")
        lines = (disk / "results/volumes.tsv").read_text().splitlines()
        header, *rows = (line.split("\t") for line in lines)
        found = [dict(zip(header, row, strict=True)) for row in rows]
        assert Counter(f"{row['eid']}_2" for row in found) == dict.fromkeys(self.images, 1)
        assert {row["verdict"] for row in found} == {"ok"}
        for name, image in self.images.items():
            folder = disk / "results/subjects" / name[:2] / name
            assert (folder / "water.nii.gz").read_bytes() == image
            assert (folder / "volume.txt").read_text() == f"{image[:64].decode()} {len(image)}\n"
            assert sorted(path.name for path in folder.iterdir()) == ["volume.txt", "water.nii.gz"]
        left = [name for name, _ in self.archives() if ".part." in name]
        assert not left, "parts of finished shards stay"


def machine(command: list[str], disk: Path, variables: dict, log: Path) -> None:
    """A worker whose mount fails, cuts off and garbles; runs in a process made for it."""
    os.setsid()
    os.chdir(disk)
    os.environ.update(variables)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from iliopsoas.rap import __main__ as start
    from iliopsoas.rap import copies, store

    random.seed()
    read, trouble = copies._read, float(variables["DX_TROUBLE"])

    def unsteady(source, target):
        fault = random.random() / trouble if trouble else 9
        if fault < 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        read(source, target)
        place = random.randrange(target.stat().st_size)
        if fault < 2:
            os.truncate(target, place)
        elif fault < 3:
            content = bytearray(target.read_bytes())
            content[place] ^= 255
            target.write_bytes(content)

    copies._read = unsteady
    copies.copy.__defaults__ = (8, 0.01)
    store.Store.__init__.__defaults__ = (8, 0.02)
    sys.exit(start.main(command))


def take_away(process) -> None:
    with contextlib.suppress(ProcessLookupError):  # not yet a group of its own
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def slowness(folder: Path) -> float:
    """Seconds that the work takes to begin, on this machine as busy as it is."""
    start = time.monotonic()
    subprocess.run([sys.executable, str(HERE / "stub_work.py"), "", ""], check=True, cwd=folder,
                   env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")})  # fmt: skip
    return time.monotonic() - start


def kill_often(folder: Path, kills: int, seed: int = 0) -> dict:
    """Take machines away at random until it was done so often; two work at a time.

    Both have the same shards in every other world, and half each in the others.

    Returns
    -------
    dict
        Counts of what happened.
    """
    chance, found = random.Random(seed), Counter()
    while found["kills"] < kills:
        world = World(folder / f"world-{found['worlds']}", seed + found["worlds"])
        same = found["worlds"] % 2 == 0
        found["worlds"] += 1
        world.run(world.folder / "first", "cohort", trouble=0)
        slow = slowness(folder)
        lives = {}
        ended = set()
        while len(ended) < 2:
            for machine in {0, 1} - ended:
                if machine not in lives:
                    kept, before = world.kept(), len(world.done(machine))
                    part = (1, 1) if same else (machine + 1, 2)
                    process = world.start(
                        world.folder / f"disk-{machine}", "shards", *part, every=slow / 5
                    )
                    found["machines"] += 1
                    wait = chance.uniform(0, 4 * slow) if found["kills"] < kills else 1e9
                    lives[machine] = (process, time.monotonic() + wait, kept, before)
                process, end, kept, before = lives[machine]
                status = process.exitcode
                if status is None and time.monotonic() < end:
                    continue
                if status is None:
                    take_away(process)
                    found["kills"] += 1
                    if chance.random() < 0.7:  # another machine, with an empty disk
                        shutil.rmtree(world.folder / f"disk-{machine}")
                else:
                    assert status == 0, (world.folder / "log.txt").read_text()[-5000:]
                    ended.add(machine)
                del lives[machine]
                again = kept & set(world.done(machine)[before:])
                assert not again, f"{len(again)} were worked on again although they had been kept"
            time.sleep(0.02)
        world.check(world.folder / "last")
        found["participants"] += len(world.images)
        found["worked"] += len(world.done(0)) + len(world.done(1))
        found["needed"] += 2 * len(world.images)
        shutil.rmtree(world.folder)
    return dict(found)


def test_a_few_kills(tmp_path):
    assert kill_often(tmp_path, 10)["kills"] >= 10


@pytest.mark.slow
def test_a_hundred_kills(tmp_path):
    assert kill_often(tmp_path, 100, seed=1)["kills"] >= 100


if __name__ == "__main__":
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
        result = kill_often(Path(place), int(sys.argv[1]), seed)
    print(result, f"{time.monotonic() - start:.0f} s")
