"""Who is counted, and whole runs that lack something."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import statistics, tables
from iliopsoas.statistics import cohort
from iliopsoas.status import InputError


def test_only_sampled_measured_first_visits_are_counted(make):
    volumes, sample = make(8)
    volumes.loc[0, ["status", "left_ml"]] = ["no_body", np.nan]
    volumes.loc[1, "left_ml"] = np.nan  # ok, but nothing was measured
    later, later_sample = make(3, instance="3")
    stranger = volumes.tail(1).assign(eid="999")
    found = cohort.measured(
        pd.concat([volumes, later, stranger]), pd.concat([sample, later_sample])
    )
    assert list(cohort.main_visit(found)["eid"]) == list(sample["eid"][2:])
    steps = cohort.flow(volumes, sample).set_index("step")["n"]
    assert steps["sampled"] == 8
    assert steps["not measured: no_body"] == 1
    assert steps["not measured: ok, but a volume is missing"] == 1
    assert steps["analysed"] == 6


def test_a_missing_column_and_a_doubled_visit_are_named(make):
    volumes, sample = make(4)
    with pytest.raises(InputError, match="handedness"):
        cohort.measured(volumes, sample.drop(columns="handedness"))
    with pytest.raises(InputError, match="twice"):
        cohort.measured(pd.concat([volumes, volumes.head(1)]), sample)
    with pytest.raises(InputError, match="female or male"):
        cohort.measured(volumes, sample.assign(sex="F"))


@pytest.mark.parametrize(
    "case", ["nobody", "one", "two", "one sex", "no ages", "no handedness", "constant", "tiny"]
)
def test_small_or_odd_cohorts_give_reasons_not_crashes(make, case, tmp_path):
    sizes = {"nobody": 4, "one": 1, "two": 2, "tiny": 7}
    sexes = ("male",) if case == "one sex" else ("female", "male")
    volumes, sample = make(sizes.get(case, 30), sexes=sexes)
    if case == "nobody":
        volumes = volumes.assign(status="no_body", left_ml=np.nan, right_ml=np.nan)
    if case == "no ages":
        sample["age"] = np.nan
    if case == "no handedness":
        sample["handedness"] = np.nan  # as a column without any value is read from a file
    if case == "constant":
        columns = [measure.column for measure in cohort.MEASURES]
        volumes[columns] = volumes.loc[0, columns].to_numpy()
    found = statistics.run_all(volumes, sample, None, None, None, tmp_path)
    assert (tmp_path / "table2.tsv").is_file()
    for name in ("table2", "correlations", "asymmetry", "normality"):
        undone = found[name][found[name]["p"].isna()]
        assert (undone["note"] != "").all(), name
    if case == "one sex":
        assert found["table2"]["female_mean"].isna().all()
        assert found["gam"].set_index("sex").loc["female", "note"] != ""
    if case == "constant":
        assert found["table2"]["p"].isna().all()


def test_only_tables_declared_as_individual_hold_participants(make, diagnosed, tmp_path):
    volumes, sample = make(80)
    codes = diagnosed({"M170": (30, 20)}, sample["eid"])
    statistics.run_all(volumes, sample, codes, None, None, tmp_path)
    individual = {f"{t.name}.tsv" for t in tables.area("statistics") if t.access == "individual"}
    assert individual == {"z_scores.tsv", "changes.tsv"}
    others = [path for path in tmp_path.iterdir() if path.name not in individual]
    text = "".join(path.read_text() for path in others)
    assert not [eid for eid in sample["eid"] if eid in text]


def test_tables_are_the_same_whatever_the_order_of_rows(make):
    volumes, sample = make(50)
    a = statistics.compute(volumes, sample)
    b = statistics.compute(volumes.iloc[::-1], sample.sample(frac=1, random_state=2))
    for name in a:
        pd.testing.assert_frame_equal(a[name], b[name])
