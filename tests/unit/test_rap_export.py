"""The export on UK Biobank's platform, against a stand-in for its command line."""

import json
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from iliopsoas.ukb import headers
from iliopsoas.ukb.scans import index_zips
from iliopsoas.ukb.tables import read_cohort

RAP = Path(__file__).resolve().parents[2] / "resources/rap"
NAMES = (RAP / "field_names.txt").read_text().split()
DX = """#!/usr/bin/env bash
# answers as the platform's command line does; $PROJECT is the project
echo "$*" >>"$PROJECT/asked"
case "$1 $2" in
"find data") cat "$PROJECT/found.json" ;;
"ls --brief") printf 'app1_20240101.dataset\\napp1_20260101.dataset\\n' ;;
"extract_dataset app1_20260101.dataset") cat "$PROJECT/fields.txt" ;;
"upload "*) cp "$2" "$PROJECT/$(basename "$4")" ;;
esac
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dx").write_text(DX)
    (tmp_path / "bin/dx").chmod(0o755)
    places = ["/Bulk/Whole Body MRI/Dixon technique/10", "/Bulk/Another Category/Dixon/20"]
    found = [
        {
            "project": "project-G1",
            "id": f"file-G{number}",
            "describe": {"name": name, "folder": folder, "size": 5, "modified": 1700000000000},
        }
        for number, (name, folder) in enumerate(
            zip(["1000107_20201_2_0.zip", "2000208_20201_3_0.zip"], places, strict=True)
        )
    ]
    (tmp_path / "found.json").write_text(json.dumps(found, indent=4))
    given = [name for name in NAMES if name not in ("p21000_i3", "p12143_i3")]
    lines = [f"participant.{name}\tTitle of {name}" for name in [*given, "p34"]]
    (tmp_path / "fields.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def export(project):
    return subprocess.run(
        [str(RAP / "export.sh"), "/iliopsoas"],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PATH": f"{project / 'bin'}:{os.environ['PATH']}", "PROJECT": str(project)},
    )


def test_zips_are_found_by_field_whatever_folder_they_lie_in(project):
    done = export(project)
    assert done.returncode == 0, done.stderr
    asked = (project / "asked").read_text()
    assert "find data --class file --property field_id=20201 --json" in asked
    scans = index_zips(project / "zips.json")
    assert scans["instance"].tolist() == ["2", "3"]
    assert scans["path"].tolist() == [
        "/mnt/project/Bulk/Whole Body MRI/Dixon technique/10/1000107_20201_2_0.zip",
        "/mnt/project/Bulk/Another Category/Dixon/20/2000208_20201_3_0.zip",
    ]


def test_the_export_asks_for_the_fields_that_the_project_has(project):
    done = export(project)
    asked = (project / "field_names.txt").read_text().split()
    assert set(NAMES) - set(asked) == {"p21000_i3", "p12143_i3"}
    assert asked[0] == "eid"
    for name in ("p21000_i3", "p12143_i3"):
        assert f"not in this project: {name}" in done.stderr
    (command,) = [
        line for line in (project / "asked").read_text().splitlines() if line.startswith("run ")
    ]
    for part in (
        "-idataset_or_cohort_or_dashboard=app1_20260101.dataset",
        "-ientity=participant",
        "-ifield_names_file_txt=/iliopsoas/field_names.txt",
        "-icoding_option=RAW",
        "-iheader_style=FIELD-NAME",
    ):
        assert part in command.split()


def test_a_project_without_the_field_is_told(project):
    (project / "found.json").write_text("[]")
    done = export(project)
    assert done.returncode == 1
    assert "field_id=20201" in done.stderr


def test_the_shipped_fields_are_those_that_are_read():
    """All roles but field 20201, which the platform shows as files."""
    roles = {headers.parse(name).field for name in NAMES if not headers.is_eid(name)}
    assert roles == set(headers.FIELDS) - {20201}
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("entity", ["", "participant."])
def test_a_table_with_the_shipped_fields_is_read(tmp_path, entity):
    """Of table-exporter, and of dx extract_dataset, whose headers name the entity."""
    row = dict.fromkeys(NAMES, "")
    row |= {"eid": "1000107", "p31": "1", "p21003_i2": "58", "p53_i2": "2016-03-01"}
    row |= {"p54_i2": "11025", "p21000_i0": "1001", "p1707_i0": "1", "p21001_i2": "26.5"}
    row["p41270"] = '["M179","I10"]' if entity else "M179|I10"
    table = pd.DataFrame([row]).rename(columns=lambda name: entity + name)
    table.to_csv(tmp_path / "participant.csv", index=False)
    found = read_cohort(tmp_path / "participant.csv")
    (visit,) = found.table.dropna(subset="age").to_dict("records")
    assert (visit["sex"], visit["age"], visit["bmi"]) == ("male", 58, 26.5)
    assert (visit["ethnicity"], visit["centre"]) == ("White European", "Cheadle")
    assert set(found.diagnoses["icd10"]) == {"M179", "I10"}
