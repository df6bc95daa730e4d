"""Table S1: ICD-10 chapters and blocks, and small cells that stay withheld."""

import math

import pandas as pd
import pytest

from iliopsoas.statistics import diagnoses, disclosure


@pytest.mark.parametrize(
    ("code", "block", "chapter"),
    [
        ("M171", "M00-M25", "M00-M99"),
        ("M17.1", "M00-M25", "M00-M99"),
        ("C509", "C50-C50", "C00-D48"),
        ("D48", "D37-D48", "C00-D48"),
        ("D509", "D50-D53", "D50-D89"),
        ("H599", "H55-H59", "H00-H59"),
        ("H600", "H60-H62", "H60-H95"),
        ("T983", "T90-T98", "S00-T98"),
        ("w19", "W00-X59", "V01-Y98"),
        ("X600", "X60-X84", "V01-Y98"),
        ("X85", "X85-Y09", "V01-Y98"),
        ("Y099", "X85-Y09", "V01-Y98"),
        ("E66", "E65-E68", "E00-E90"),
        ("A16", "A15-A19", "A00-B99"),
        ("D90", "", ""),
        ("17", "", ""),
        ("Block M00", "", ""),
        ("", "", ""),
    ],
)
def test_icd10_chapters_and_blocks(code, block, chapter):
    found = diagnoses.classify([code]).iloc[0]
    assert (found["block"], found["chapter"]) == (block, chapter)


def test_blocks_partition_their_chapters():
    table = diagnoses.blocks()
    order = diagnoses._order
    previous, last = -1, -1
    for row in table.itertuples():
        first, end = order(row.code[:3]), order(row.code[-3:])
        assert 0 <= first <= end, row.code
        if row.level == "chapter":
            low, high, previous = first, end, -1
        else:
            assert low <= first, row.code
            assert end <= high, row.code
            assert first > previous, row.code
            previous = end
        last = end
    assert last > 0
    assert (table["level"] == "chapter").sum() == 22


def test_table_s1_counts_people_once_and_sorts(main_table, diagnosed):
    table = main_table(n=200)
    codes = diagnosed(
        {"M170": (30, 20), "M160": (30, 20), "I10": (40, 45), "M545": (10, 8)}, table["eid"]
    )
    codes = pd.concat([codes, codes, pd.DataFrame([("0", "I10")], columns=codes.columns)])
    exact = diagnoses.table_s1(table, codes)
    assert list(exact["block"]) == ["", "I10-I15", "", "M00-M25", "M40-M54"]
    arthropathies = exact.set_index("block").loc["M00-M25"]
    assert (arthropathies["female_n"], arthropathies["male_n"], arthropathies["all_n"]) == (
        30,
        20,
        50,
    )
    assert arthropathies["female_percent"] == 30
    assert arthropathies["all_percent"] == 25


def test_small_cells_are_withheld_wherever_they_could_be_recovered(main_table, diagnosed):
    table = main_table(n=200)
    codes = diagnosed(
        {"C509": (30, 2), "N40": (0, 44), "N393": (20, 3), "I10": (4, 4)}, table["eid"]
    )
    # the men with N393 are others than those with N40: 44 + 3 = 47 is the chapter's count
    men = list(table["eid"][1::2][-3:])
    codes = codes[~((codes["icd10"] == "N393") & codes["eid"].isin(table["eid"][1::2]))]
    codes = pd.concat([codes, pd.DataFrame({"eid": men, "icd10": "N393"})])
    exact = diagnoses.table_s1(table, codes).set_index(["level", "chapter", "block"])
    numbers = exact[["female_n", "male_n", "all_n"]]
    assert not (numbers < 5).any().any()
    breast = exact.loc[("block", "C00-D48", "C50-C50")]
    assert breast["female_n"] == 30
    assert math.isnan(breast["male_n"])
    assert math.isnan(breast["all_n"])  # 32 - 30 would tell
    assert exact.loc[("chapter", "N00-N99", ""), "male_n"] == 47
    # 47 - 44 would tell that 3 have N30-N39
    assert math.isnan(exact.loc[("block", "N00-N99", "N40-N51"), "male_n"])
    assert exact.loc[("block", "I00-I99", "I10-I15"), ["female_n", "male_n", "all_n"]].isna().all()
    assert exact[numbers.isna().any(axis=1)]["note"].str.contains("withheld").all()
    everything = diagnoses.table_s1(table, codes, min_cell=1)
    assert everything[["female_n", "male_n", "all_n"]].notna().all().all()
    text = diagnoses.table_s1_formatted(diagnoses.table_s1(table, codes))
    assert "withheld" in set(text["Male"])


def test_a_single_small_group_of_known_sum_is_not_withheld_alone():
    shown = disclosure.suppress_partition(pd.Series({"a": 90, "b": 7, "c": 3}), 5)
    assert shown.isna().to_dict() == {"a": False, "b": True, "c": True}
    assert disclosure.suppress_partition(pd.Series({"a": 90, "b": 7}), 5).notna().all()
    assert list(disclosure.suppress_partition(pd.Series({"a": 3}), 1)) == [3]
