"""A machine's work: what counts as finished, what is taken up, what is refused.

Against the stand-in for the platform's command line; a few lines of shell make the results.
Machines that are killed: tests/rap/test_kills.py.
"""

import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from iliopsoas import config
from iliopsoas.rap.store import Store
from iliopsoas.rap.worker import Worker
from iliopsoas.status import InputError

STAND_IN = Path(__file__).resolve().parents[1] / "rap"
# writes ledgers of everybody but of $NOBODY, and notes what it found; fails for $FAILS
WORK = """
for target; do
  case $target in
  cohort) mkdir -p results/cohort; cp "$WORLD"/*.tsv results/cohort ;;
  all) echo made >results/report ;;
  */volumes.tsv)
    shard=$(basename "$(dirname "$target")")
    mkdir -p "results/shards/$shard" "results/subjects/10"
    (cd "results/shards/$shard" && ls) >"$WORLD/found-$shard"
    for ledger in dixon volumes; do
      [ "$shard-$ledger" != "$FAILS" ] || exit 1
      { printf 'eid\\tinstance\\tverdict\\n'
        awk -F '\\t' -v s="$shard" -v n="$NOBODY" '
          $3 == s && $1 != n { print $1 "\\t" $2 "\\tok" }' \\
          results/cohort/manifests.tsv; } >"results/shards/$shard/$ledger.tsv"
    done ;;
  esac
done
"""


class World:
    def __init__(self, folder: Path):
        self.folder = folder
        self.settings = {"releases": [{"name": "r", "zips": "zips", "phenotypes": ["p.csv"]}]}
        self.draw({"r-0001": ["1000107", "1000206"], "r-0002": ["1000305"]})

    def draw(self, shards: dict[str, list[str]]) -> None:
        (self.folder / "world").mkdir(exist_ok=True)
        members = [(eid, shard) for shard, eids in shards.items() for eid in eids]
        for eid, _ in members:
            with zipfile.ZipFile(self.folder / f"{eid}_20201_2_0.zip", "w") as archive:
                archive.writestr("a.dcm", eid)
        lines = [f"{eid}\t2\t{s}\t{self.folder}/{eid}_20201_2_0.zip" for eid, s in members]
        self.write("manifests.tsv", ["eid\tinstance\tshard\tscan", *lines])
        lines = [f"{s}\t{len(eids)}\t0\t{'-'.join(eids)}" for s, eids in shards.items()]
        self.write("shards.tsv", ["shard\tparticipants\tannotated\tdigest", *lines])

    def write(self, name: str, lines: list[str]) -> None:
        (self.folder / "world" / name).write_text("\n".join(lines) + "\n")

    def worker(
        self, disk: str = "disk", command=("bash", "-c", WORK, "work", "{targets}")
    ) -> Worker:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        store = Store("/run", tries=2, wait_s=0)
        return Worker(store, config.load(path), list(command), self.folder / disk,
                      copying={"tries": 2, "wait_s": 0})  # fmt: skip

    def kept(self, kind: str) -> dict[str, list[str]]:
        """Members of the archives of a kind, by shard."""
        found = {}
        for path in sorted((self.folder / "project/run").glob(f"*.{kind}.*.tar")):
            with tarfile.open(path) as tar:
                found.setdefault(path.name.split(".")[0], []).extend(tar.getnames())
        return found


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("DX_STAND_IN", str(tmp_path / "project"))
    monkeypatch.setenv("WORLD", str(tmp_path / "world"))
    monkeypatch.setenv("NOBODY", "")
    monkeypatch.setenv("FAILS", "")
    made = World(tmp_path)
    made.worker("first").cohort()
    return made


def test_parts_are_put_together_once_all_are_finished(world):
    assert world.worker().shards(1, 2) == []
    assert list(world.kept("whole")) == ["r-0001"]
    with pytest.raises(InputError, match="1 of 2 shards are not finished, by their place: 2"):
        world.worker("last").collect(["all"])
    assert world.worker("other").shards(2, 2) == []
    world.worker("last").collect(["all"])
    there = {
        path.parent.name for path in (world.folder / "last").glob("results/shards/*/volumes.tsv")
    }
    assert there == {"r-0001", "r-0002"}
    (archive,) = (world.folder / "project/run").glob("results.*.tar")
    with tarfile.open(archive) as tar:
        assert "results/report" in tar.getnames()
        assert not [name for name in tar.getnames() if "/shards/" in name]


def test_what_is_finished_is_not_done_again_and_leaves_the_disk(world):
    world.worker().shards(1, 1)
    left = [path.name for path in (world.folder / "disk").rglob("*") if path.is_file()]
    assert sorted(left) == [".worker.lock", "manifests.tsv", "shards.tsv"]
    (world.folder / "world/found-r-0001").unlink()
    world.worker("another").shards(1, 1)
    assert not (world.folder / "world/found-r-0001").exists()


@pytest.mark.parametrize(("part", "parts"), [(0, 2), (3, 2), (3, 3)])
def test_a_part_without_shards_is_refused(world, part, parts):
    with pytest.raises(InputError, match=f"part {part} of {parts}"):
        world.worker().shards(part, parts)


def test_a_ledger_with_a_hole_is_not_finished(world, monkeypatch):
    monkeypatch.setenv("NOBODY", "1000206")
    assert world.worker().shards(1, 1) == ["r-0001"]
    assert list(world.kept("whole")) == ["r-0002"]


def test_a_failure_keeps_what_was_done_and_no_other_shard_waiting(world, monkeypatch):
    monkeypatch.setenv("FAILS", "r-0001-volumes")
    assert world.worker().shards(1, 1) == ["r-0001"]
    assert list(world.kept("whole")) == ["r-0002"]
    assert world.kept("part") == {"r-0001": ["results/shards/r-0001/dixon.tsv"]}
    monkeypatch.setenv("FAILS", "")
    assert world.worker("another").shards(1, 1) == []
    assert (world.folder / "world/found-r-0001").read_text() == "dixon.tsv\n"
    assert not world.kept("part")


def test_a_shard_with_an_unreadable_zip_is_not_begun(world, monkeypatch):
    monkeypatch.setattr(
        "iliopsoas.rap.copies._read", lambda source, target: target.write_bytes(b"")
    )
    assert world.worker().shards(1, 1) == ["r-0001", "r-0002"]
    assert not (world.folder / "world/found-r-0001").exists()


@pytest.mark.parametrize("change", ["setting", "vertebrae", "member"])
def test_a_shard_made_from_something_else_is_looked_at_anew(world, change):
    """Its rows are taken up for the fingerprints to judge; no ledger of it passes for today's."""
    world.worker().shards(1, 1)
    before = world.kept("whole")
    if change == "setting":
        world.settings["dixon"] = {"bias_shrink": 1}
    elif change == "vertebrae":
        world.settings["vertebrae"] = {"folder": "spines", "l3": [3], "l4": [4], "l5": [5]}
    else:  # somebody has withdrawn
        world.draw({"r-0001": ["1000107"], "r-0002": ["1000305"]})
        world.worker("first").cohort()
    world.worker("another").shards(1, 1)
    found = (world.folder / "world/found-r-0001").read_text().split()
    assert found == ["dixon.unfinished.jsonl", "volumes.unfinished.jsonl"]
    assert list(world.kept("whole")) == ["r-0001", "r-0002"]
    names = {path.name for path in (world.folder / "project/run").glob("r-0001.*")}
    assert len(names) == 1, "the old archive goes"
    assert before["r-0001"] is not None
    if change == "member":
        (path,) = (world.folder / "project/run").glob("r-0001.*")
        with tarfile.open(path) as tar:
            ledger = tar.extractfile("results/shards/r-0001/volumes.tsv").read().decode()
        assert "1000206" not in ledger


def test_a_folder_belongs_to_one_worker_and_to_what_it_left_running(world):
    """The worker is gone here; what it started still works."""
    lock = world.folder / "disk" / ".worker.lock"
    lock.parent.mkdir()
    script = f"exec 9>{lock}; flock 9; echo ready; exec sleep 60"
    left = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE)
    left.stdout.readline()
    with pytest.raises(InputError, match="in this folder"):
        world.worker().shards(1, 1)
    left.kill()
    left.wait()
    assert world.worker().shards(1, 1) == []


def test_results_lie_below_the_working_folder(world):
    world.settings["results"] = "/elsewhere/results"
    with pytest.raises(InputError, match="below the working folder"):
        world.worker()


def test_all_that_reads_images_or_crops_is_made_where_they_are(world):
    """The machine that puts shards together has neither."""
    world.settings["qc"] = {"second_opinion": True}
    world.settings["run"] = {"keep": "results"}
    labels = {"left_labels": [1], "right_labels": [2]}
    world.settings["other_methods"] = [{"name": "tool", "folder": "masks"} | labels]
    told = WORK + '\nprintf "%s\\n" "$@" >>"$WORLD/targets"'
    world.worker(command=("bash", "-c", told, "work", "{targets}")).shards(1, 1)
    targets = (world.folder / "world/targets").read_text().split()
    for shard in ("r-0001", "r-0002"):
        for name in ("volumes.tsv", "opinion.tsv", "methods.tsv", "images_removed.json"):
            assert f"results/shards/{shard}/{name}" in targets
