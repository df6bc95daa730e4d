"""Phenotype tables in every dialect, withdrawal files, and the index of zips."""

import csv
import gzip
import json
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from iliopsoas.status import InputError
from iliopsoas.ukb import headers, tables
from iliopsoas.ukb.decoding import split_diagnoses
from iliopsoas.ukb.scans import index_zips
from iliopsoas.ukb.withdrawals import read_withdrawals

TITLES = {
    31: "Sex",
    21003: "Age when attended assessment centre",
    53: "Date of attending assessment centre",
    54: "UK Biobank assessment centre",
    50: "Standing height",
    21002: "Weight",
    21001: "Body mass index (BMI)",
    12144: "Height",
    12143: "Weight (pre-imaging)",
    1707: "Handedness (chirality/laterality)",
    21000: "Ethnic background",
    21022: "Age at recruitment",
    41270: "Diagnoses - ICD10",
    20201: "Dixon technique for internal fat - DICOM",
}
LABELS = {
    (31, "0"): "Female",
    (31, "1"): "Male",
    (54, "11025"): "Cheadle (imaging)",
    (54, "11027"): "Newcastle (imaging)",
    (54, "11010"): "Leeds",
    (1707, "1"): "Right-handed",
    (1707, "2"): "Left-handed",
    (1707, "-3"): "Prefer not to answer",
    (21000, "1001"): "British",
    (21000, "3001"): "Indian",
    (21000, "-1"): "Do not know",
    (41270, "M179"): "M17.9 Gonarthrosis, unspecified",
    (41270, "I10"): "I10 Essential (primary) hypertension",
}
SINGLE = {31, 21022}
# (field, instance, array) -> cells of three participants
CELLS = {
    (31, 0, 0): ["0", "1", "1"],
    (21022, 0, 0): ["49", "", "52"],
    (21003, 0, 0): ["50", "51", "52"],
    (21003, 2, 0): ["58", "63", ""],
    (21003, 3, 0): ["", "66", ""],
    (53, 2, 0): ["2015-03-04", "2017-06-01", ""],
    (53, 3, 0): ["", "2020-01-31", ""],
    (54, 0, 0): ["11010", "11010", "11010"],
    (54, 2, 0): ["11025", "11027", ""],
    (54, 3, 0): ["", "11025", ""],
    (50, 2, 0): ["162.5", "", ""],
    (50, 3, 0): ["", "180.5", ""],
    (21002, 2, 0): ["70.1", "80", ""],
    (21001, 2, 0): ["26.5467", "", ""],
    (12144, 2, 0): ["163", "181", ""],
    (12143, 2, 0): ["70", "81", ""],
    (12143, 3, 0): ["", "82", ""],
    (1707, 0, 0): ["1", "2", "1"],
    (1707, 1, 0): ["", "-3", ""],
    (1707, 2, 0): ["", "", ""],
    (21000, 0, 0): ["-1", "3001", "1001"],
    (21000, 1, 0): ["1001", "", ""],
    (21000, 2, 0): ["", "", ""],
    (41270, 0, 0): ["M179", "I10", "I10"],
    (41270, 0, 1): ["I10", "", ""],
    (20201, 2, 0): ["20201_2_0", "20201_2_0", ""],
    (20201, 3, 0): ["", "20201_3_0", ""],
}
EIDS = ["1000107", "2000208", "3000309"]


def classic(field, instance, array):
    return f"{field}-{instance}.{array}"


def r_tab(field, instance, array):
    return f"f.{field}.{instance}.{array}"


def rap(field, instance, array):
    name = f"p{field}"
    if field not in (*SINGLE, 41270):
        name += f"_i{instance}"
    return name + (f"_a{array}" if field == 41270 else "")


def rap_extract(*key):
    return "participant." + rap(*key)


def title(field, instance, array):
    name = TITLES[field]
    if field not in (*SINGLE, 41270):
        name += f" | Instance {instance}"
    return name + (f" | Array {array}" if field == 41270 else "")


DIALECTS = {
    "classic": (classic, "eid"),
    "r": (r_tab, "f.eid"),
    "rap_extract": (rap_extract, "participant.eid"),
    "field_name": (rap, "eid"),
    "field_title": (title, "Participant ID"),
}


def frame(naming, eid_name, labels=False, cells=CELLS):
    table = {eid_name: EIDS, "999-0.0": ["not", "read, ever", 'by "us"\nat all']}
    for key, values in cells.items():
        if labels:
            values = [LABELS.get((key[0], value), value) for value in values]
        table[naming(*key)] = values
    return pd.DataFrame(table)


def problems(report):
    return {(row.problem, row.field): row.count for row in report.itertuples(index=False)}


@pytest.fixture(scope="module")
def expected():
    return pd.DataFrame(
        {
            "eid": ["1000107", "2000208", "2000208"],
            "instance": ["2", "2", "3"],
            "sex": ["female", "male", "male"],
            "age": [58, 63, 66],
            "age_at_recruitment": [49, 51, 51],  # field 21022, else the age at instance 0
            "height_cm": [162.5, 181.0, 180.5],
            "weight_kg": [70.1, 80.0, 82.0],
            "bmi": [26.5467, 80 / 1.81**2, 82 / 1.805**2],
            "ethnicity": ["White European", "Asian", "Asian"],
            "handedness": ["right", "left", "left"],
            "centre": ["Cheadle", "Newcastle", "Cheadle"],
            "visit_date": ["2015-03-04", "2017-06-01", "2020-01-31"],
            "scan_listed": [True, True, True],
        }
    )


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_gives_the_same_table(tmp_path, expected, dialect, labels, separator):
    path = tmp_path / "table.txt"
    frame(*DIALECTS[dialect], labels).to_csv(path, index=False, sep=separator)
    found = tables.read_cohort(path)
    pd.testing.assert_frame_equal(found.table, expected, check_dtype=False, atol=1e-4)
    assert found.diagnoses.to_numpy().tolist() == [
        ["1000107", "I10"],
        ["1000107", "M179"],
        ["2000208", "I10"],
    ]
    assert found.report["problem"].tolist().count("impossible") == 0


def test_gzip_and_byte_order_mark(tmp_path, expected):
    text = "\ufeff" + frame(classic, "eid").to_csv(index=False, lineterminator="\r\n")
    (tmp_path / "a.csv").write_text(text, newline="")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("a.csv", "b.csv.gz"):
        found = tables.read_phenotypes(tmp_path / name)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-4)


def test_every_cell_quoted_as_ukbconv_writes(tmp_path, expected):
    table = frame(classic, "eid").drop(columns="999-0.0")
    path = tmp_path / "a.csv"
    table.to_csv(path, index=False, quoting=csv.QUOTE_ALL)
    found = tables.read_phenotypes(path)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-4)
    path.write_text(path.read_text().replace('"1000107","0"', '"1000107"'))
    with pytest.raises(InputError, match="line 2: 27 columns, the header has 28"):
        tables.read_phenotypes(path)


def test_tables_are_joined_by_eid(tmp_path, expected):
    whole = frame(classic, "eid")
    rap_names = frame(rap_extract, "participant.eid")
    whole.iloc[:, [0, 1, 2, 3, 4, 5]].to_csv(tmp_path / "a.csv", index=False)
    rap_names.iloc[::-1, [0, *range(2, rap_names.shape[1])]].to_csv(
        tmp_path / "b.tsv", index=False, sep="\t"
    )
    found = tables.read_phenotypes([tmp_path / "a.csv", tmp_path / "b.tsv"])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-4)


def test_only_the_instances_asked_for(tmp_path):
    path = tmp_path / "a.csv"
    frame(classic, "eid").to_csv(path, index=False)
    assert tables.read_phenotypes(path, [3])["instance"].tolist() == ["3"]


def test_diagnoses_in_one_cell():
    assert split_diagnoses("M179|I10") == ["M179", "I10"]
    assert split_diagnoses('["M17.9 Gonarthrosis, unspecified","I10"]') == ["M179", "I10"]
    assert split_diagnoses("['M179', 'I10']") == ["M179", "I10"]


@pytest.mark.parametrize("form", ["|".join, json.dumps, repr])
def test_diagnoses_exported_as_one_cell(tmp_path, form):
    cells = {k: v for k, v in CELLS.items() if k[0] != 41270}
    table = frame(rap_extract, "participant.eid", cells=cells)
    table["participant.p41270"] = [form(["M179", "C509", "M179"]), "", form(["I10"])]
    table.to_csv(tmp_path / "a.csv", index=False)
    found = tables.read_cohort(tmp_path / "a.csv").diagnoses
    assert found.to_numpy().tolist() == [["1000107", "C509"], ["1000107", "M179"]]


def test_missing_negative_impossible_and_unreadable_cells_are_counted(tmp_path):
    cells = CELLS | {
        (50, 2, 0): ["1625", "-1", "NA"],  # millimetres
        (12144, 2, 0): ["", "", ""],
        (21002, 2, 0): ["tall", "80", " "],
        (21003, 2, 0): ["58", "630", "nan"],
        (53, 2, 0): ["1900-01-01", "soon", ""],
        (31, 0, 0): ["0", "7", "1"],
        (21001, 2, 0): ["26.5", "", ""],
    }
    path = tmp_path / "a.csv"
    frame(classic, "eid", cells=cells).to_csv(path, index=False)
    found = tables.read_cohort(path)
    counts = problems(found.report[found.report["source"] == "a.csv"])
    assert counts[("impossible", 50)] == 1
    assert counts[("no_answer", 50)] == 1
    assert counts[("unreadable", 21002)] == 1
    assert counts[("impossible", 21003)] == 1
    assert counts[("impossible", 53)] == 1
    assert counts[("unreadable", 53)] == 1
    assert counts[("impossible", 31)] == 1
    table = found.table.set_index(["eid", "instance"])
    assert np.isnan(table.loc[("1000107", "2"), "height_cm"])
    assert table.loc[("1000107", "2"), "weight_kg"] == 70  # entered before imaging
    assert table.loc[("1000107", "2"), "bmi"] == 26.5
    assert pd.isna(table.loc[("2000208", "2"), "age"])
    assert pd.isna(table.loc[("2000208", "2"), "sex"])
    # nobody is named
    assert not any(eid in found.report.to_csv() for eid in EIDS)


def test_duplicates_merge_where_they_agree_and_are_left_out_where_not(tmp_path):
    table = frame(classic, "eid")
    again = table.iloc[[0]].copy()
    again["50-2.0"] = ""  # says less, contradicts nothing
    conflict = table.iloc[[1]].copy()
    conflict["21003-2.0"] = "64"
    path = tmp_path / "a.csv"
    pd.concat([table, again, conflict]).to_csv(path, index=False)
    found = tables.read_cohort(path)
    assert found.table["eid"].unique().tolist() == ["1000107"]
    assert found.table["height_cm"].tolist() == [162.5]
    assert found.conflicting == {"2000208"}
    counts = problems(found.report)
    assert counts[("duplicate_rows_merged", 0)] == 1
    assert counts[("conflicting_duplicates", 21003)] == 1


def test_contradicting_tables_leave_the_participant_out(tmp_path):
    table = frame(classic, "eid")
    table.to_csv(tmp_path / "a.csv", index=False)
    other = table[["eid", "31-0.0"]].copy()
    other.loc[0, "31-0.0"] = "1"
    other.to_csv(tmp_path / "b.csv", index=False)
    found = tables.read_cohort([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert found.conflicting == {"1000107"}
    assert problems(found.report)[("conflicting_tables", 31)] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("eid,31-0.0,21003-2.0\n", "no participant"),
        ("id,31-0.0\n1,0\n", "column of participant ids"),
        ("eid,31-0.0\n1000107,0\n", "21003"),
        ("eid,31-0.0,p31,21003-2.0\n1000107,0,0,60\n", "more than one column"),
        ("eid,31-0.0,21003-2.0\n1000107,0,60\n1000108,0\n", "line 3: 2 columns"),
        ('eid,31-0.0,21003-2.0\n1000107,"0,60\n1000108,0,60\n', "line 2: a quote"),
        ("eid,31-0.0,21003-2.0\n1000107,0,60\n1000108,0,60,7,7\n", "line 3: 5 columns"),
    ],
)
def test_what_is_no_phenotype_table_is_refused(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        tables.read_cohort(path)
    assert "1000107" not in str(error.value)
    assert "bad.csv" in str(error.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"absent\.csv"):
        tables.read_cohort(tmp_path / "absent.csv")


def test_headers_of_other_fields_are_passed_over():
    names = ["34-0.0", "p34", "participant.p34", "Year of birth", "x", "Weight", "f.34.0.0", "p31x"]
    assert [headers.parse(name) for name in names] == [None] * len(names)
    assert headers.parse("participant.p41270_a3") == (41270, 0, 3)
    assert headers.parse("Weight | Instance 3") == (21002, 3, 0)


@pytest.mark.reference
def test_the_public_dummy_table_is_read(reference):
    """rmgpanw/ukbwranglr's table, values looked up by eye."""
    path = reference / "ukb_tables" / "dummy_ukb_main.tsv"
    found = tables.read_cohort(path, required=("sex",))
    table = found.table.set_index("eid")
    assert table.loc["2", ["sex", "bmi", "ethnicity"]].tolist() == ["female", 27.4936, "Asian"]
    assert table.loc["3", "ethnicity"] == "Mixed"  # -1 at instance 2: the answer before counts
    assert table.loc["10", "bmi"] == 30.0483
    with pytest.raises(InputError, match="21003"):
        tables.read_cohort(path)


@pytest.mark.slow
def test_a_wide_table_needs_little_memory(tmp_path):
    """Peak memory is bounded by the chunk, not by the table: 60 MB of text, 600 columns."""
    path = tmp_path / "wide.csv"
    rng = np.random.default_rng(0)
    other = ",".join(["12345"] * 1500)
    with path.open("w") as file:
        file.write("eid,31-0.0,21003-2.0," + ",".join(f"9{i}-0.0" for i in range(1500)) + "\n")
        for number in range(15_000):
            file.write(f"{1_000_000 + number},{number % 2},{rng.integers(44, 82)},{other}\n")
    assert path.stat().st_size > 100e6
    tracemalloc.start()
    found = tables.read_phenotypes(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 15_000
    assert peak < 60e6


def test_withdrawals_of_several_files(tmp_path):
    (tmp_path / "w1_20200101.csv").write_bytes(b"\xef\xbb\xbf1000107\r\n\r\n2000208,\n\n")
    (tmp_path / "w1_20210101.csv").write_text('eid\n"3000309"\n1000107')
    paths = sorted(tmp_path.glob("*.csv"))
    assert read_withdrawals(paths) == {"1000107", "2000208", "3000309"}
    assert read_withdrawals([]) == set()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"name\n", b"1000107,2000208\n", b"123\n", b"1000107\nabc\n", b"PK\x03\x04\xff"],
)
def test_wrong_withdrawal_files_are_refused_without_naming_anyone(tmp_path, content):
    path = tmp_path / "w1.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"w1\.csv") as error:
        read_withdrawals(path)
    assert "1000107" not in str(error.value)


def test_absent_withdrawal_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_withdrawals(tmp_path / "w9.csv")


def test_index_of_zips(tmp_path):
    names = [
        "10/1000107_20201_2_0.zip",
        "10/1000107_20201_2_1.zip",
        "10/1000107_20201_3_0.zip",
        "20/2000208_20201_2_10.zip",
        "20/2000208_20201_2_9.zip",
        "20/2000208_20204_2_0.zip",
        "30/3000309_20201_1_0.zip",
        "30/copy of 3000309_20201_2_0.zip",
        "eg_20201_abdo.zip",
    ]
    for name in names:
        path = tmp_path / "Whole Body MRI" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    found = index_zips(tmp_path)
    assert found[["eid", "instance", "array", "superseded"]].to_numpy().tolist() == [
        ["1000107", "2", 1, 1],
        ["1000107", "3", 0, 0],
        ["2000208", "2", 10, 1],
    ]
    assert found["path"].tolist()[2].endswith("Whole Body MRI/20/2000208_20201_2_10.zip")
    assert found.attrs == {
        "other_files": 0,
        "other_instances": 1,
        "unmatched": {
            "#######_#####_#_#.zip": 1,
            "copy of #######_#####_#_#.zip": 1,
            "eg_#####_abdo.zip": 1,
        },
    }
    with pytest.raises(InputError, match="does not exist"):
        index_zips(tmp_path / "absent")
