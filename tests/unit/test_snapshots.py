"""Frozen results stay as they were, and drift says who changed and by what."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import cli, files
from iliopsoas.stages import snapshots as releases
from iliopsoas.statistics.cohort import MEASURES
from iliopsoas.status import InputError

NAMES = [measure.column for measure in MEASURES]


def volumes(values: dict, scan="a") -> pd.DataFrame:
    """A volume table with the same number in every measure."""
    table = pd.DataFrame({"eid": list(values), "instance": "2"})
    return table.assign(scan_sha256=scan, **{name: list(values.values()) for name in NAMES})


@pytest.fixture
def results(tmp_path):
    files.write_tsv(tmp_path / "volumes.tsv", volumes({"1000001": 100.0, "1000002": 200.0}))
    files.write_tsv(tmp_path / "statistics/table2.tsv", pd.DataFrame({"n": [2]}))
    files.write_json(tmp_path / "run.json", {"commit": "abc"})
    return tmp_path


def test_a_frozen_release_is_read_only_listed_and_never_overwritten(results):
    manifest = releases.freeze(results, "first")
    folder = results / "frozen/first"
    assert set(manifest["file"]) == {"volumes.tsv", "run.json", "statistics/table2.tsv"}
    for row in manifest.itertuples():
        assert files.sha256(folder / row.file) == row.sha256
    modes = {path.stat().st_mode & 0o222 for path in [folder, *folder.rglob("*")]}
    assert modes == {0}
    files.write_tsv(results / "volumes.tsv", volumes({"1000001": 1.0}))
    with pytest.raises(InputError, match="never changed"):
        releases.freeze(results, "first")
    assert len(files.read_tsv(folder / "volumes.tsv")) == 2


@pytest.mark.parametrize("tag", ["", "../up", "a/b", ".hidden", "2026", "a b", None])
def test_a_tag_is_a_plain_name(results, tag):
    with pytest.raises(InputError, match="tag"):
        releases.freeze(results, tag)


def test_unfinished_results_are_not_frozen(results):
    (results / "run.json").unlink()
    with pytest.raises(InputError, match=r"run.json: missing"):
        releases.freeze(results, "first")
    assert not (results / "frozen/first").exists()


def test_a_changed_release_is_not_compared_with(results):
    releases.freeze(results, "first")
    path = results / "frozen/first/volumes.tsv"
    path.chmod(0o644)
    path.write_text("eid\tinstance\n")
    with pytest.raises(InputError, match="changed since it was frozen"):
        releases.compare(results, "first")
    with pytest.raises(InputError, match="there are: first"):
        releases.compare(results, "second")


def test_drift_names_every_kind_of_change_for_every_measure():
    before = volumes({"1": 100.0, "2": 200.0, "3": 300.0, "4": np.nan, "5": 50.0, "6": np.nan})
    now = volumes({"1": 100.0, "2": 210.0, "3": np.nan, "4": 40.0, "6": np.nan, "7": 70.0})
    now.loc[now["eid"] == "2", "scan_sha256"] = "b"
    table = releases.drift(before, now)
    assert len(table) == 7 * len(NAMES)
    for name in NAMES:
        part = table[table["measure"] == name].set_index("eid")
        assert part["change"].to_dict() == {
            "1": "same", "2": "changed", "3": "lost", "4": "gained", "5": "gone", "6": "missing",
            "7": "new",
        }  # fmt: skip
        assert part.loc["2", "difference"] == 10
        assert part.loc["2", "percent"] == 5
        assert part.loc["2", "made_with"] == "scan_sha256"
        assert part.loc["1", "made_with"] == ""
        assert np.isnan(part.loc["3", "difference"])


def test_the_summary_counts_and_averages_and_names_nobody():
    rng = np.random.default_rng(4)
    a = rng.normal(500, 50, 200)
    b = a + rng.normal(2, 5, 200)
    people = [str(2_000_000 + i) for i in range(200)]
    table = releases.drift(
        volumes(dict(zip(people, a, strict=True))), volumes(dict(zip(people, b, strict=True)))
    )
    summary = releases.summarise(table)
    assert summary["measure"].tolist() == NAMES
    row = summary.iloc[0]
    assert row["changed"] == 200
    assert row["difference_mean"] == pytest.approx((b - a).mean())
    assert row["difference_sd"] == pytest.approx((b - a).std(ddof=1))
    assert row["percent_p95"] == pytest.approx(np.percentile(100 * np.abs(b - a) / a, 95))
    assert "eid" not in summary


def test_the_command_freezes_and_compares(results, capsys):
    assert cli.main(["freeze", "first", "--results", str(results)]) == 0
    files.write_tsv(results / "volumes.tsv", volumes({"1000001": 110.0, "1000002": 200.0}))
    assert cli.main(["drift", "first", "--results", str(results)]) == 0
    table = files.read_tsv(results / "drift/first.tsv")
    assert set(table.loc[table["change"] == "changed", "eid"]) == {"1000001"}
    assert (results / "drift/first_summary.tsv").exists()
    assert cli.main(["drift", "second", "--results", str(results)]) == 3
    assert "no frozen release" in capsys.readouterr().err
