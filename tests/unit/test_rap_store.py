"""The project's folder of archives, against the stand-in for the platform's command line."""

import json
import os
from pathlib import Path

import pytest

from iliopsoas.rap.store import Store, StoreError

STAND_IN = Path(__file__).resolve().parents[1] / "rap"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{STAND_IN}:{os.environ['PATH']}")
    monkeypatch.setenv("DX_STAND_IN", str(tmp_path / "project"))
    monkeypatch.delenv("DX_PROJECT_CONTEXT_ID", raising=False)
    return tmp_path / "project"


@pytest.fixture
def store(project):
    made = Store("/a run", tries=2, wait_s=0)
    made.make()
    return made


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(b"content" * 1000)
    return path


def test_what_was_put_is_found_newest_first_and_comes_back(store, archive, tmp_path):
    store.put(archive, "r-0001.k.part")
    archive.write_bytes(b"other")
    store.put(archive, "r-0001.k.part")
    items = store.items()
    assert [item.name for item in items] == ["r-0001.k.part"] * 2
    assert store.get(items[0], tmp_path / "y.tar").read_bytes() == b"other"
    assert store.get(items[1], tmp_path / "y.tar").read_bytes() == b"content" * 1000
    store.remove(items)
    store.remove(items)  # another machine did
    assert store.items() == []


def test_removing_is_tried_again(store, archive, monkeypatch):
    store.put(archive, "r-0001.k.part")
    items = store.items()
    answers = iter([items, []])
    monkeypatch.setattr(store, "items", lambda: next(answers))
    asked = []
    monkeypatch.setattr("subprocess.run", lambda words, **_: asked.append(words))
    store.remove(items)
    assert asked == [["dx", "rm", "-f", items[0].id]] * 2


def test_an_upload_that_was_cut_off_does_not_count(store, archive, project):
    store.put(archive, "r-0001.k.whole")
    (note,) = (project / ".objects").glob("*.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {"state": "open"}))
    assert store.items() == []


def test_other_bytes_than_those_that_were_put_are_not_taken(store, archive, project, tmp_path):
    store.put(archive, "r-0001.k.whole")
    (item,) = store.items()
    (project / ".objects" / item.id).write_bytes(b"content")
    with pytest.raises(StoreError, match="other bytes"):
        store.get(item, tmp_path / "y.tar")
    assert not (tmp_path / "y.tar").exists()


def test_what_else_lies_in_the_folder_is_left_alone(store, archive):
    store._dx("upload", archive, "--path", "/a run/notes.tar")
    store._dx("upload", archive, "--path", "/another/r-0001.k.whole.0123456789abcdef.tar")
    assert store.items() == []


def test_a_platform_that_fails_is_asked_again_and_then_told(project, monkeypatch):
    monkeypatch.setenv("DX_TROUBLE", "1")
    with pytest.raises(StoreError, match="dx find failed 2 times: dx: the service"):
        Store("/a run", tries=2, wait_s=0).items()


def test_inside_a_job_the_folder_is_the_projects_not_the_workspaces(monkeypatch):
    monkeypatch.setenv("DX_PROJECT_CONTEXT_ID", "project-A")
    assert Store("/run/").folder == "project-A:/run"
    assert Store("project-B:/run").folder == "project-B:/run"
