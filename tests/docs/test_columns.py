"""Every column of every table has unit and definition, and the page says the same."""

from pathlib import Path

import pytest

from iliopsoas import files
from iliopsoas.masks import volumes
from iliopsoas.qc import evidence, flags, quality
from iliopsoas.reporting import columns
from iliopsoas.sampling.plan import SAMPLE_COLUMNS
from iliopsoas.stages.cohort import MANIFEST_COLUMNS
from iliopsoas.stages.shards import LEDGER_COLUMNS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_the_generated_one():
    page = (ROOT / "docs" / "columns.md").read_text()
    assert page == columns.markdown(), "run `make config-docs`"


def test_every_column_has_unit_and_definition():
    for table in columns.tables():
        assert table.rows
        for name, (unit, definition) in table.columns.items():
            assert unit.strip(), f"{table.path}: {name}"
            assert len(definition) > 1, f"{table.path}: {name}"
        assert table.sometimes <= set(table.columns), table.path


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("volumes.tsv", list(volumes.COLUMNS)),
        ("cohort/sample.tsv", SAMPLE_COLUMNS),
        ("shards/demo-0001/manifest.tsv", MANIFEST_COLUMNS),
        ("qc/flags.tsv", flags.FLAG_COLUMNS),
        ("qc/summary.tsv", flags.SUMMARY_COLUMNS),
        (
            "model/fold-1/quality.tsv",
            [*files.KEY, "side", "fault", "dice", "automatic_ml", "manual_ml", *quality.FEATURES],
        ),
    ],
)
def test_columns_are_those_that_the_code_writes(path, header):
    table = columns.table_of(path)
    assert table.undefined(header) == []
    assert table.absent(header) == []


def test_a_shard_s_ledger_and_the_cohort_s_table_are_told_apart():
    ledger = columns.table_of("shards/demo-0001/volumes.tsv")
    assert set(LEDGER_COLUMNS) <= set(ledger.columns)
    assert set(evidence.COLUMNS) <= set(ledger.columns)
    assert columns.table_of("shards/volumes.tsv").columns == volumes.COLUMNS
    assert columns.table_of("nowhere.tsv") is None


def test_an_unknown_or_lacking_column_is_found():
    table = columns.table_of("model/folds.tsv")
    assert table.undefined(["eid", "instance", "fold", "colour"]) == ["colour"]
    assert table.absent(["eid", "instance"]) == ["fold"]


def test_places_in_names_stand_for_one_word():
    table = columns.table_of("statistics/cross_validation.tsv")
    assert table.undefined(["left_dice_mean", "left_right_dice_mean"]) == ["left_right_dice_mean"]
