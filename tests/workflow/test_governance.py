"""Failures, withdrawals, releases and egress on a run of the whole workflow."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import pandas as pd
import pytest
import yaml

from iliopsoas import files
from iliopsoas.stages import snapshots as releases

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


def table(workflow, name):
    return files.read_tsv(workflow.results / name)


def start(workflow, *targets) -> subprocess.Popen:
    """Snakemake in a process group of its own, not waited for."""
    path = workflow.folder / "config.yaml"
    path.write_text(yaml.safe_dump(workflow.settings))
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "snakemake", *targets),
            *("--snakefile", str(ROOT / "Snakefile"), "--directory", str(workflow.folder)),
            *("--cores", "2", "--resources", "gpu=1", "--configfile", str(path)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def wait_for(condition, process, seconds=300):
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()[-3000:]
        assert time.monotonic() < limit
        time.sleep(0.02)


def not_annotated(workflow) -> pd.Series:
    """A measured participant of a shard that nothing is trained on."""
    shards = table(workflow, "cohort/shards.tsv")
    shards = shards[shards["annotated"].astype(int) == 0]["shard"]
    sample = table(workflow, "cohort/sample.tsv").merge(
        table(workflow, "volumes.tsv")[[*files.KEY, "status"]], on=files.KEY
    )
    return sample[sample["shard"].isin(shards) & (sample["status"] == "ok")].iloc[0]


def images(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")}


def test_every_volume_says_what_made_it(workflow):
    rows = table(workflow, "volumes.tsv")
    measured = rows[rows["status"] == "ok"]
    for name in ("scan_sha256", "weights_sha256"):
        assert measured[name].str.fullmatch(r"[0-9a-f]{64}").all(), name
    for row in measured.itertuples():
        zips = list((workflow.folder / "phantom/zips").rglob(f"{row.eid}_*_{row.instance}_*.zip"))
        assert row.scan_sha256 in {files.sha256(path) for path in zips}
    assert set(measured["weights_sha256"]) == {
        files.sha256(workflow.results / "model/final/model.h5")
    }
    assert {"swaps_corrected", "stations_missing", "qc_verdict"} <= set(rows)
    run = json.loads((workflow.results / "run.json").read_text())
    assert {"finished", "python", "machine", "libraries", "stages", "configuration"} <= set(run)
    assert run["configuration"]["training"]["seed"] == 2020
    assert run["libraries"]["numpy"]


def test_killed_in_the_middle_the_rerun_gives_the_same_to_the_voxel(workflow):
    person = not_annotated(workflow)
    folder = files.subject_folder(workflow.results, person["eid"], person["instance"])
    before, volumes = images(folder), (workflow.results / "volumes.tsv").read_bytes()
    others = workflow.modified("subjects/*/*/water.nii.gz")
    others = {path: at for path, at in others.items() if person["eid"] not in path}
    for path in folder.iterdir():
        path.unlink()
    job = start(workflow, "--forcerun", f"results/shards/{person['shard']}/dixon.tsv")
    wait_for(lambda: (folder / "water.nii.gz").exists(), job)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    second = start(workflow)
    refused = second.communicate()[0]
    assert second.returncode != 0, "a run that was killed leaves its lock"
    assert "lock" in refused.lower()
    workflow.run("--unlock")
    workflow.run()
    assert images(folder) == before
    assert (workflow.results / "volumes.tsv").read_bytes() == volumes
    now = workflow.modified("subjects/*/*/water.nii.gz")
    assert {path: now[path] for path in others} == others, "nobody else was done again"


def test_two_runs_at_once_are_refused(workflow):
    locks = workflow.folder / ".snakemake/locks"
    first = start(workflow, "--forcerun", "summary")
    wait_for(lambda: locks.exists() and any(locks.iterdir()), first)
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        output = workflow.run("--forcerun", "summary", check=False)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert "cannot be locked" in output
    output = first.communicate()[0]
    assert first.returncode == 0, output[-3000:]


def test_only_who_failed_is_tried_again(workflow):
    person = not_annotated(workflow)
    ledger = workflow.results / f"shards/{person['shard']}/landmarks.tsv"
    found = files.subject_folder(workflow.results, person["eid"], "2") / "landmarks.json"
    rows = files.read_tsv(ledger)
    rows.loc[rows["eid"] == person["eid"], "verdict"] = "time_limit"
    files.write_tsv(ledger, rows)
    dates = {
        path: path.stat().st_mtime_ns
        for path in workflow.results.glob("subjects/*/*/landmarks.json")
    }
    dixon = workflow.modified("shards/*/dixon.tsv")
    rules = workflow.rules_run("retry_failed")
    assert {"find_failed", "landmarks_shard"} <= rules
    assert not rules & {"phantom", "cohort", "dixon_shard", "train"}
    assert workflow.modified("shards/*/dixon.tsv") == dixon
    changed = {path for path, date in dates.items() if path.stat().st_mtime_ns != date}
    assert changed == {found}
    assert (files.read_tsv(ledger)["verdict"] != "time_limit").all()
    assert "Nothing to be done" in workflow.run()


def test_a_release_is_frozen_and_compared(workflow):
    workflow.run("freeze", "--config", "release_tag=first")
    assert "exists" in workflow.run("freeze", "--config", "release_tag=first", check=False)
    workflow.run("drift", "--config", "release_tag=first")
    drift = table(workflow, "drift/first.tsv")
    assert set(drift["change"]) <= {"same", "missing"}
    assert len(drift) == 6 * len(table(workflow, "volumes.tsv"))
    releases.verify(workflow.results, "first")


def test_what_may_leave_is_collected_and_a_planted_id_stops_it(workflow):
    eid = table(workflow, "cohort/sample.tsv")["eid"].iloc[0]
    workflow.run("egress")
    folder = workflow.results / "egress"
    assert (folder / "MANIFEST.tsv").exists()
    (folder / "note.txt").write_text(f"participant {eid}")
    output = workflow.run("egress", check=False)
    assert "note.txt: id of this cohort" in output
    assert f"participant {eid}" not in output
    (folder / "note.txt").unlink()
    workflow.run("egress")


def opened(path):
    """A file's bytes, and the bytes and names inside it where it is a container."""
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield archive.read(name)
    elif data[:4] == b"\x89HDF":
        with h5py.File(path) as file:
            names = []
            file.visit(names.append)
            yield "\n".join(names).encode()
            for name in names:
                yield str(dict(file[name].attrs)).encode()
                values = file[name][()] if isinstance(file[name], h5py.Dataset) else []
                if getattr(values, "ndim", 0) == 1 and values.dtype.kind in "OSiu":
                    words = [v.decode() if isinstance(v, bytes) else str(v) for v in values]
                    yield "\n".join(words).encode()


def traces(folder, eid) -> list[str]:
    """Files and folders with an id in their name or content, containers opened."""
    found = []
    for path in folder.rglob("*"):
        if eid in path.name or (
            path.is_file() and any(eid.encode() in part for part in opened(path))
        ):
            found.append(str(path.relative_to(folder)))
    return found


def test_images_that_are_not_kept_change_nothing_else(workflow):
    volumes = (workflow.results / "volumes.tsv").read_bytes()
    measured = table(workflow, "volumes.tsv").query("status == 'ok'")
    folders = [
        files.subject_folder(workflow.results, row.eid, row.instance)
        for row in measured.itertuples()
    ]
    workflow.settings["run"]["keep"] = "results"
    rules = workflow.rules_run()
    assert "remove_images" in rules
    assert not rules & {"dixon_shard", "landmarks_shard", "segment_shard", "train", "cohort"}
    assert not any((folder / "water.nii.gz").exists() for folder in folders)
    assert all((folder / "iliopsoas.nii.gz").exists() for folder in folders)
    assert "Nothing to be done" in workflow.run()
    # a figure that shows water images makes them again, and leaves none behind
    (workflow.results / "figures/figure3.png").unlink()
    assert "figures" in workflow.rules_run()
    assert (workflow.results / "volumes.tsv").read_bytes() == volumes
    assert not any((folder / "water.nii.gz").exists() for folder in folders)


def test_a_withdrawn_training_participant_leaves_no_trace(workflow):
    workflow.run("export_for_annotation")
    eid = table(workflow, "model/final/participants.tsv")["eid"].iloc[0]
    before = traces(workflow.results, eid)
    for part in ("subjects", "shards", "model", "qc/review", "annotation", "frozen", "drift"):
        assert any(path.startswith(part) for path in before), f"the search sees {part}"
    assert any(path.endswith("crops.h5") for path in before)
    (workflow.folder / "w12345_20260201.csv").write_text(f"{eid}\n")
    workflow.settings.setdefault("withdrawals", []).append("w12345_20260201.csv")
    output = workflow.run()
    assert "trained on participants who have withdrawn" in output
    assert traces(workflow.results, eid) == []
    assert traces(workflow.folder / ".snakemake", eid) == []
    record = table(workflow, "cohort/removed.tsv").iloc[-1]
    assert record["scans_removed"] >= 1
    assert "final" in record["models_trained_on_them"]
    assert not (workflow.results / "model/final/withdrawn.json").exists(), "it was trained again"
    releases.verify(workflow.results, "first")
