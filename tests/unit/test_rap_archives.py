"""Archives of results: whole files, their times, and ledgers put together."""

import os
import tarfile

from iliopsoas.rap import archives

NAME = "results/shards/r-0001/dixon.unfinished.jsonl"


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_times_come_back_in_the_order_that_snakemake_reads_from_them(tmp_path):
    for number, name in enumerate(("a", "b")):
        path = write(tmp_path / "here", name, name)
        os.utime(path, ns=(0, 1_700_000_000_123_456_000 + 1000 * number))
    archives.pack(tmp_path / "x.tar", tmp_path / "here", ["a", "b"])
    assert archives.unpack(tmp_path / "x.tar", tmp_path / "there") == ["a", "b"]
    times = [(tmp_path / "there" / name).stat().st_mtime_ns for name in ("a", "b")]
    assert times[0] < times[1]
    assert abs(times[0] - 1_700_000_000_123_456_000) < 1000


def test_a_file_that_goes_meanwhile_is_left_out(tmp_path):
    write(tmp_path, "a", "a")
    packed = archives.pack(tmp_path / "x.tar", tmp_path, ["gone", "a"])
    assert list(packed) == ["a"]
    assert packed["a"][0] == 1


def test_names_are_asked_for_one_by_one(tmp_path):
    """A participant's file, asked for after the ledger, is what the ledger's line promises."""

    def names():
        write(tmp_path, "ledger", "one")
        yield "ledger"
        write(tmp_path, "image", "made after the ledger was packed")
        yield "image"

    assert list(archives.pack(tmp_path / "x.tar", tmp_path, names())) == ["ledger", "image"]


def test_what_is_there_is_younger_and_stays_and_ledgers_are_put_together(tmp_path):
    write(tmp_path / "old", "a", "old")
    write(tmp_path / "old", "b", "old")
    write(tmp_path / "old", NAME, '{"eid": "1"}\n{"eid": "2"}\n{"ei')
    archives.pack(tmp_path / "x.tar", tmp_path / "old", ["a", "b", NAME])
    write(tmp_path / "new", "a", "new")
    write(tmp_path / "new", NAME, '{"eid": "2"}\n{"eid": "3"}\n')
    assert archives.unpack(tmp_path / "x.tar", tmp_path / "new", keep=True) == ["b"]
    assert (tmp_path / "new/a").read_text() == "new"
    lines = (tmp_path / "new" / NAME).read_text().splitlines()
    assert lines[-2:] == ['{"eid": "2"}', '{"eid": "3"}'], "the younger lines count, so come last"
    assert lines.count('{"eid": "2"}') == 1
    assert '{"eid": "1"}' in lines
    archives.unpack(tmp_path / "x.tar", tmp_path / "new")
    assert (tmp_path / "new/a").read_text() == "old"


def test_nothing_is_written_outside(tmp_path):
    write(tmp_path, "a", "a")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("../out", "/tmp/iliopsoas-out", "in"):
            about = tar.gettarinfo(tmp_path / "a", arcname=name)
            about.name = name
            with open(tmp_path / "a", "rb") as file:
                tar.addfile(about, file)
    assert archives.unpack(tmp_path / "x.tar", tmp_path / "there") == ["in"]
    assert not (tmp_path / "out").exists()
