"""Withdrawn participants are forgotten; others who are not there today are not."""

import pandas as pd

from iliopsoas import files
from iliopsoas.stages.cohort import forget


def fill(results, eids, shard):
    for eid in eids:
        files.write_text(files.subject_folder(results, eid, "2") / "dixon.json", "{}")
    table = pd.DataFrame({"eid": eids, "instance": "2"})
    files.write_tsv(results / "shards" / shard / "manifest.tsv", table)


def test_only_the_withdrawn_are_removed_and_the_record_names_nobody(tmp_path):
    fill(tmp_path, ["1000001", "1000002"], "r-0000")
    fill(tmp_path, ["1000003"], "r-0001")
    for model, eids in (("final", ["1000001", "1000002"]), ("fold-1", ["1000002"])):
        table = pd.DataFrame({"eid": eids, "instance": "2"})
        files.write_tsv(tmp_path / "model" / model / "participants.tsv", table)
    forget(tmp_path, {"1000001", "1000003"})
    assert [path.name for path in tmp_path.glob("subjects/*/*")] == ["1000002_2"]
    assert [path.name for path in tmp_path.glob("shards/*")] == ["r-0000"]
    record = (tmp_path / "cohort/removed.tsv").read_text()
    assert "100000" not in record
    assert files.read_tsv(tmp_path / "cohort/removed.tsv").to_dict("records") == [
        {"scans_removed": 2, "models_trained_on_them": "final"}
    ]
    assert forget(tmp_path, {"1000001", "1000003"})["models_trained_on_them"].tolist() == ["final"]


def test_nothing_to_forget_leaves_no_record(tmp_path):
    fill(tmp_path, ["1000001"], "r-0000")
    assert forget(tmp_path, {"2000000"}).empty
    assert not (tmp_path / "cohort").exists()
