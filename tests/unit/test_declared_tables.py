"""Every table is declared once; what the code writes and reads is what is declared."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import files, statistics, tables
from iliopsoas.figures.paper import split
from iliopsoas.masks import volumes
from iliopsoas.phantom.phenotypes import paper_cohort
from iliopsoas.qc import evidence, flags, quality
from iliopsoas.qc.checks import CHECKS
from iliopsoas.qc.registry import Evidence
from iliopsoas.sampling import record
from iliopsoas.sampling.plan import MANIFEST_COLUMNS, SAMPLE_COLUMNS
from iliopsoas.status import InputError

ROOT = Path(__file__).resolve().parents[2]


def test_every_column_has_unit_and_definition():
    for table in tables.every():
        assert table.rows
        for name, (unit, definition) in table.columns.items():
            assert unit.strip(), f"{table.path}: {name}"
            assert len(definition) > 1, f"{table.path}: {name}"
        assert table.sometimes <= set(table.columns), table.path


def test_what_may_leave_says_what_its_numbers_rest_on():
    from iliopsoas.egress import withholding

    for table in tables.every():
        assert table.access in ("individual", "inside", "released"), table.path
        if table.access != "released":
            assert not any((table.report, table.rests_on, table.protect)), table.path
            continue
        assert not {"eid", "instance", "scan"} & set(table.columns), table.path
        assert table.rests_on or table.protect, f"{table.path}: nothing is withheld"
        if table.protect:
            assert callable(getattr(withholding, table.protect))
        for name in (*table.summed, *table.rests_on, *(of[0] for of in table.quantiles.values())):
            assert table.unit(name) == "count", f"{table.path}: {name}"


def test_names_are_read_without_anything_heavy():
    code = (
        "import sys; from iliopsoas import tables;"
        "assert 'table2' in tables.names('statistics') and 'flags' in tables.names('qc');"
        "assert 'table2' in tables.pages();"
        "sys.exit(any(name in sys.modules for name in ('pandas', 'numpy', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("volumes.tsv", list(volumes.COLUMNS)),
        ("cohort/sample.tsv", SAMPLE_COLUMNS),
        ("shards/demo-0001/manifest.tsv", MANIFEST_COLUMNS),
        ("cohort/manifests.tsv", MANIFEST_COLUMNS),
        ("cohort/draws.tsv", record.COLUMNS),
        ("cohort/seen.tsv", record.SEEN_COLUMNS),
        ("qc/flags.tsv", flags.FLAG_COLUMNS),
        ("qc/summary.tsv", flags.SUMMARY_COLUMNS),
        (
            "model/fold-1/quality.tsv",
            [*files.KEY, "side", "fault", "dice", "automatic_ml", "manual_ml", *quality.FEATURES],
        ),
    ],
)
def test_columns_are_those_that_the_code_writes(path, header):
    tables.check(path, header)


@pytest.mark.parametrize("folds", [True, False])
def test_every_statistic_is_made_and_written_as_declared(tmp_path, folds):
    measured, sample, diagnoses = split(paper_cohort(60, 5, repeats=20))
    validation = None
    if folds:
        rng = np.random.default_rng(0)
        rows = [
            {"fold": fold, "eid": f"{fold}{k}", "instance": "2", "side": side,
             "dice": rng.uniform(0.8, 0.9), "automatic_ml": 400 + rng.normal(), "manual_ml": 400.0}
            for fold in (1, 2) for k in range(4) for side in ("left", "right")
        ]  # fmt: skip
        validation = pd.DataFrame(rows)
    raised = measured[["eid", "instance"]][:3].assign(flag="a", severity="serious")
    paper = ROOT / "resources/paper.tsv"
    found = statistics.run_all(
        measured, sample, diagnoses, validation, raised if folds else None, tmp_path, paper=paper
    )
    assert list(found) == tables.names("statistics")
    assert {path.stem for path in tmp_path.glob("*.tsv")} == set(found)
    assert {path.stem for path in tmp_path.glob("*.html")} == set(tables.pages())
    for name in found:
        tables.check(f"statistics/{name}.tsv", files.read_tsv(tmp_path / f"{name}.tsv").columns)


def test_a_misspelt_column_is_not_written(tmp_path, monkeypatch):
    from iliopsoas.statistics import associations

    measured, sample, _ = split(paper_cohort(20, 5))
    right = associations.asymmetry
    monkeypatch.setattr(
        associations, "asymmetry", lambda table: right(table).assign(diference_ml=1.0)
    )
    with pytest.raises(InputError, match=r"statistics/asymmetry.tsv.*undeclared: diference_ml"):
        statistics.run_all(measured, sample, None, None, None, tmp_path)
    assert not (tmp_path / "asymmetry.tsv").exists()


def test_a_shard_s_ledger_and_the_cohort_s_table_are_told_apart():
    ledger = tables.table_of("shards/demo-0001/volumes.tsv")
    assert set(tables.LEDGER) <= set(ledger.columns)
    assert set(evidence.COLUMNS) <= set(ledger.columns)
    assert tables.table_of("shards/volumes.tsv").columns == volumes.COLUMNS
    assert tables.table_of("nowhere.tsv") is None


def test_an_undeclared_table_and_an_unknown_or_lacking_column_are_named():
    with pytest.raises(InputError, match=r"nowhere.tsv: no such table"):
        tables.check("nowhere.tsv", ["eid"])
    with pytest.raises(InputError, match="undeclared: colour; absent: fold"):
        tables.check("model/folds.tsv", ["eid", "instance", "colour"])


def test_places_in_names_stand_for_one_word():
    table = tables.table_of("statistics/cross_validation.tsv")
    assert table.undeclared(["left_dice_mean", "upper_dice_mean", "left_right_dice_mean"]) == [
        "upper_dice_mean",
        "left_right_dice_mean",
    ]


class Everything(Evidence):
    """A run that knows everything a stage may write."""

    def has(self, name):
        return super().has(name) or True  # a name that is not declared raises

    def column(self, name):
        self.has(name)
        self.asked.append(name)
        words = {"status": "ok", "sex": "female", "centre": "a"}
        return pd.Series(words.get(name, np.arange(1.0, 41.0)), index=range(40), name=name)


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
@pytest.mark.parametrize("name", CHECKS)
def test_a_check_reads_only_columns_that_a_stage_writes(name):
    everything = Everything(pd.DataFrame(index=range(40)))
    assert len(CHECKS[name].value(everything)) == 40
    assert everything.asked


def test_a_check_that_reads_a_misspelt_column_is_found():
    for name in ("dixon.snrr", "snr", "quality.predicted"):
        with pytest.raises(KeyError, match="no table"):
            Everything(pd.DataFrame()).number(name)


def test_the_page_of_columns_lists_every_table_and_its_declarations():
    page = (ROOT / "docs/columns.md").read_text()
    for name in (*tables.AREAS, "common"):
        assert f"(../workflow/iliopsoas/tables/{name}.yaml)" in page
    headings = re.findall(r"(?m)^## `(.*)`$", tables.markdown())
    assert headings == [table.path for table in tables.every()]
