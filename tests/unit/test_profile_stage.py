"""A shard's profiles come from its participants' files, of those that were measured."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, grid, tables
from iliopsoas.masks import profile
from iliopsoas.stages import volumes
from iliopsoas.statistics import slices
from iliopsoas.status import Refused


def measured(results, eid, hip=163, vertebrae=None):
    """A participant's folder with a profile and landmarks, as the stages leave it."""
    mask = np.zeros((40, 30, 120), np.uint8)
    mask[25:31, 10:18, 20:100] = grid.LEFT
    mask[5:11, 10:18, 25:95] = grid.RIGHT
    affine = grid.las_affine(origin=(0.0, 0.0, -200.0))
    landmarks = {"11": [5, 14, hip], "12": [28, 14, hip], "1": [2, 2, 340], "2": [30, 2, 340]}
    places = profile.heights(landmarks, affine, vertebrae)
    folder = files.subject_folder(results, eid, "2")
    files.write_tsv(
        folder / volumes.PROFILE, profile.per_level(mask, affine, hip_mm=places["hip_mm"])
    )
    return {"eid": eid, "instance": "2", "verdict": "ok"} | places


def test_profiles_of_a_shard_hold_who_was_measured(tmp_path):
    places = measured(tmp_path, "1234567")
    spine = {"L3": 495.0, "L4": 457.0, "L5": 420.0}
    other = measured(tmp_path, "2345678", hip=150, vertebrae=spine)
    refused = {"eid": "3456789", "instance": "2", "verdict": "mask_empty"}
    ledger = pd.DataFrame([places, other, refused])
    found = volumes.profiles(ledger, results=tmp_path)
    assert found[["eid", "side"]].to_numpy().tolist() == [
        [eid, side] for eid in ("1234567", "2345678") for side in ("left", "right")
    ]
    first = found.iloc[0]
    assert first["l3_above_hip_mm"] == pytest.approx(places["l3_above_hip_mm"])
    assert first["area_500"] == pytest.approx(48 * grid.IN_PLANE_MM**2 / 100)
    assert first["span_mm"] == pytest.approx(79 * 3)
    tables.check("shards/one-0001/profiles.tsv", found.columns)
    people = pd.DataFrame({"eid": ["1234567", "2345678"], "instance": "2", "sex": "male"})
    files.write_tsv(tmp_path / "profiles.tsv", found)
    read = files.read_tsv(tmp_path / "profiles.tsv")
    table = slices.slices(read, people.assign(total_ml=[700.0, 650.0]))
    assert table["n"].max() == 2
    assert found["level_source"].tolist() == ["landmarks"] * 2 + ["vertebrae"] * 2
    assert found["l3_above_hip_mm"].iloc[2] == pytest.approx(495 - (-200 + 150 * grid.SLICE_MM))
    assert set(table.loc[table["axis"] == "lumbar", "level_source"]) == {
        "landmarks and vertebrae",
        "",
    }


def test_a_lost_profile_is_named_as_such(tmp_path, monkeypatch):
    monkeypatch.setattr("iliopsoas.stages.shards.LATE_S", 0.1)
    ledger = pd.DataFrame({"eid": ["1234567"], "instance": "2", "verdict": ["ok"]})
    with pytest.raises(Refused):
        volumes.profiles(ledger, results=tmp_path)


def test_nobody_measured_gives_a_table_without_rows(tmp_path):
    ledger = pd.DataFrame({"eid": ["1"], "instance": "2", "verdict": ["no_hips"]})
    found = volumes.profiles(ledger, results=tmp_path)
    assert found.empty
    tables.check("shards/one-0001/profiles.tsv", found.columns)
