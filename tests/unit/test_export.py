"""Exports in other programs' formats: what each reads as missing, names, and who stays unnamed."""

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import config, egress, export, files, grid, privacy
from iliopsoas.export.phenotypes import rank_inverse_normal
from iliopsoas.sampling import pseudonyms
from iliopsoas.stages import analysis
from iliopsoas.stages.cohort import forget
from iliopsoas.status import InputError

R = Path(__file__).resolve().parents[1] / "r"
REFERENCE = pd.read_csv(R / "bridge.tsv", sep="\t")
EIDS = [f"{2000000 + 7919 * k}" for k in range(12)]
BIDS_NAME = re.compile(
    r"sub-(?P<sub>[a-zA-Z0-9]+)_ses-(?P<ses>[a-zA-Z0-9]+)(_seg-[a-zA-Z0-9]+)?(_desc-[a-zA-Z0-9]+)?"
    r"_(dseg|T1w)\.(nii\.gz|json)"
)


@pytest.fixture
def results(tmp_path):
    """Twelve participants: the third was refused, the fourth rejected, the fifth has no left.

    The sixth has no age, the seventh no centre.
    """
    results = tmp_path / "results"
    sample = pd.DataFrame(
        {"eid": EIDS, "instance": "2", "sex": ["female", "male"] * 6, "sampled": True}
    )
    sample["age"] = [55.0, 75, 60, 61, 62, np.nan, 70, 48, 50, 52, 64, 68]
    sample["centre"] = ["Cheadle"] * 6 + [None] + ["Reading"] * 3 + ["St. Mary's", "Cheadle"]
    repeat = sample[:1].assign(instance="3")
    unsampled = sample[:1].assign(eid="2999999", sampled=False)
    files.write_tsv(results / "cohort/sample.tsv", pd.concat([sample, repeat, unsampled]))
    rng = np.random.default_rng(0)
    volumes = pd.concat([sample, repeat, unsampled])[files.KEY].reset_index(drop=True)
    volumes["status"] = "ok"
    for name in config.load({"releases": [RELEASE]}).export.measures:
        volumes[name] = rng.normal(300, 40, len(volumes)).round(2)
    volumes["difference_ml"] = [-9.0, *np.linspace(-20, 20, len(volumes) - 1)]
    volumes[["network", "weights_sha256", "qc_verdict"]] = ["own", "0" * 64, "pass"]
    volumes.loc[2, "status"] = "truncated_zip"
    numbers = volumes.select_dtypes("number").columns
    volumes.loc[2, numbers] = np.nan
    volumes.loc[4, ["left_ml", "total_ml", "difference_ml"]] = np.nan
    files.write_tsv(results / "volumes.tsv", volumes)
    files.write_tsv(results / "qc/excluded.tsv", volumes.loc[[3], files.KEY].assign(reason="redo"))
    mask = np.zeros((8, 6, 9), np.uint8)
    mask[1:3], mask[5:7] = grid.RIGHT, grid.LEFT
    image = grid.las_image(mask, grid.las_affine((0.0, 0.0, 0.0)))
    for row in volumes[volumes["status"] == "ok"].itertuples():
        folder = files.subject_folder(results, row.eid, row.instance)
        files.write_nifti(folder / "iliopsoas.nii.gz", image)
        for name in ("water.nii.gz", "fat.nii.gz"):
            files.write_nifti(folder / name, image)
    return results


RELEASE = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}
COVARIATES = ["age", "age2", "sex", "age_sex", "age2_sex", "centre"]


def given(results):
    """What scripts/export.py hands over."""
    sample = analysis.sampled(files.read_tsv(results / "cohort/sample.tsv"))
    volumes = files.read_tsv(results / "volumes.tsv")
    return analysis.accepted(volumes, files.read_tsv(results / "qc/excluded.tsv")), sample


def phenotypes(results, **options):
    measures = config.load({"releases": [RELEASE]}).export.measures
    options = {"measures": measures, "covariates": COVARIATES, "instance": 2} | options
    export.write_phenotypes(results, *given(results), **options)
    return export.folder(results, "phenotypes")


def bids(results, **options):
    export.write_bids(results, *given(results), **options)
    return export.folder(results, "bids")


@pytest.mark.parametrize("case", sorted(set(REFERENCE.loc[REFERENCE["kind"] == "blom", "case"])))
def test_rank_inverse_normal_agrees_with_r(case):
    name, column = case.split("-")
    expected = REFERENCE[REFERENCE["case"] == case].set_index("quantity")["value"]
    found = rank_inverse_normal(pd.read_csv(R / "data" / f"{name}.tsv", sep="\t")[column])
    assert np.nanstd(found, ddof=1) == pytest.approx(expected.pop("sd"), rel=1e-12)
    for at, value in expected.items():
        position = int(at.removeprefix("at_")) - 1
        assert found[position] == pytest.approx(value, rel=1e-10, nan_ok=True)


@pytest.mark.r
@pytest.mark.skipif(not shutil.which("Rscript"), reason="R is absent")
def test_r_still_gives_these_values(tmp_path):
    (tmp_path / "data").symlink_to(R / "data")
    subprocess.run(["Rscript", str(R / "bridge.R"), str(tmp_path)], check=True)
    again = pd.read_csv(tmp_path / "bridge.tsv", sep="\t")
    pd.testing.assert_frame_equal(again, REFERENCE, rtol=1e-9)


def read_as_regenie(path):
    """Header FID IID and names, blanks between; NA alone is missing, all else a number."""
    lines = path.read_text().splitlines()
    header = lines[0].split()
    assert header[:2] == ["FID", "IID"]
    rows = {}
    for line in lines[1:]:
        cells = line.split()
        assert len(cells) == len(header)
        assert cells[0] == cells[1]
        rows[cells[1]] = [np.nan if cell == "NA" else float(cell) for cell in cells[2:]]
    return pd.DataFrame(rows, index=header[2:]).T


def read_as_plink(path):
    """PLINK 2: #FID IID; NA, nan and -9 are missing."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    assert rows[0][:2] == ["#FID", "IID"]
    values = [
        [np.nan if c.lower() in {"na", "nan"} or float(c) == -9 else float(c) for c in row[2:]]
        for row in rows[1:]
    ]
    return pd.DataFrame(values, [row[1] for row in rows[1:]], rows[0][2:])


def test_each_tool_reads_the_same_numbers_and_the_same_gaps(results):
    folder = phenotypes(results)
    expected = files.read_tsv(results / "volumes.tsv").query("instance == '2'").set_index("eid")
    expected = expected.loc[EIDS]
    expected.loc[EIDS[3], expected.select_dtypes("number").columns] = np.nan  # rejected in review
    regenie = read_as_regenie(folder / "regenie.txt")
    plink = read_as_plink(folder / "plink2.txt")
    saige = pd.read_csv(folder / "saige.txt", sep="\t", dtype={"IID": str}).set_index("IID")
    assert (folder / "saige.txt").read_text().startswith("IID\ttotal_ml\ttotal_ml_rint\t")
    for found in (regenie, plink, saige):
        assert list(found.index) == sorted(EIDS)
        for name in config.load({"releases": [RELEASE]}).export.measures:
            np.testing.assert_allclose(found[name], expected.loc[found.index, name], atol=2e-6)
            ranked = found[name + "_rint"]
            assert ranked.isna().equals(found[name].isna())
            assert (ranked.rank() == found[name].rank())[ranked.notna()].all()
            assert abs(ranked.mean()) < 1e-9
    assert plink.loc[EIDS[0], "difference_ml"] == pytest.approx(-9, abs=1e-5)


def test_r_reads_the_file_of_saige_as_numbers(results):
    if not shutil.which("Rscript"):
        pytest.skip("R is absent")
    path = phenotypes(results) / "saige.txt"
    code = f'd <- read.delim("{path}"); cat(sapply(d, class)[-1], sum(is.na(d$left_ml)))'
    printed = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
    *classes, missing = printed.stdout.split()
    assert set(classes) == {"numeric"}
    assert missing == "3"


def test_covariates_are_numbers_that_each_tool_reads(results):
    folder = phenotypes(results)
    people = files.read_tsv(results / "cohort/sample.tsv").query("instance == '2' and sampled")
    people = people.set_index("eid").loc[sorted(EIDS)]
    from_mean = people["age"] - people["age"].mean()
    male = (people["sex"] == "male").astype(float)
    expected = pd.DataFrame({"age": people["age"], "age2": from_mean**2, "sex": male})
    expected = expected.assign(age_sex=from_mean * male, age2_sex=from_mean**2 * male)
    for centre, column in (("Reading", "centre_Reading"), ("St. Mary's", "centre_St_Mary_s")):
        here = (people["centre"] == centre).astype(float)
        expected[column] = here.mask(people["centre"].isna())
    (folder / "of_plink.txt").write_text("#" + (folder / "covariates.txt").read_text())
    saige = pd.read_csv(folder / "saige.txt", sep="\t", dtype={"IID": str}).set_index("IID")
    for found in (
        read_as_regenie(folder / "covariates.txt"),
        read_as_plink(folder / "of_plink.txt"),
        saige[list(expected)],
    ):
        pd.testing.assert_frame_equal(found, expected, check_names=False, atol=2e-6)


def test_a_covariate_that_nobody_has_is_left_out_and_said(results, caplog):
    sample = files.read_tsv(results / "cohort/sample.tsv").assign(centre=None)
    files.write_tsv(results / "cohort/sample.tsv", sample)
    folder = phenotypes(results, covariates=["sex", "centre"])
    assert (folder / "covariates.txt").read_text().splitlines()[0] == "FID\tIID\tsex"
    assert "centre" in caplog.text


def test_covariates_are_of_a_list():
    with pytest.raises(InputError, match="age2"):
        config.load({"releases": [RELEASE], "export": {"covariates": ["age3"]}})


def test_a_measure_that_is_none_is_refused(results):
    with pytest.raises(InputError, match="qc_verdict"):
        phenotypes(results, measures=["total_ml", "qc_verdict"])
    with pytest.raises(InputError, match="visit 3"):
        export.write_phenotypes(
            results,
            given(results)[0],
            given(results)[1][:2],
            measures=["left_ml"],
            covariates=["age"],
            instance=3,
        )


def test_names_and_sidecars_are_those_of_bids(results):
    folder = bids(results, images=True)
    about = json.loads((folder / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    assert about["Name"]
    assert about["BIDSVersion"]
    assert all(made["Name"] for made in about["GeneratedBy"])
    lookup = pd.read_csv(folder / "dseg.tsv", sep="\t").set_index("index")["name"]
    assert lookup.to_dict() == {1: "left iliopsoas", 2: "right iliopsoas"}
    people = pd.read_csv(folder / "participants.tsv", sep="\t")["participant_id"].tolist()
    assert people == sorted(path.name for path in folder.glob("sub-*"))
    images = list(folder.rglob("*.nii.gz"))
    assert len(images) == 3 * 11, "ten participants, one of them twice"
    for path in images:
        match = BIDS_NAME.fullmatch(path.name)
        assert match, path.name
        place = path.relative_to(folder).parent.as_posix()
        assert place == f"sub-{match['sub']}/ses-{match['ses']}/anat"
        sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        if path.name.endswith("_dseg.nii.gz"):  # inherits, by the standard
            sidecar |= json.loads((folder / "dseg.json").read_text())
        assert sidecar["SpatialReference"] == "orig"
        if path.name.endswith("_T1w.nii.gz"):
            assert sidecar["SkullStripped"] is False
        for source in sidecar.get("Sources", []):
            assert (folder / source.removeprefix("bids::")).is_file()
    mask = nib.load(next(folder.glob("sub-*/ses-2/anat/*_dseg.nii.gz")))
    assert set(np.unique(mask.dataobj)) == {0, *lookup.index}
    without_left = json.loads(
        next(
            folder.glob(f"sub-{pseudonyms.read(results)[EIDS[4]]}/ses-2/anat/*dseg.json")
        ).read_text()
    )
    assert without_left["LeftVolumeMl"] is None


def validator() -> str | None:
    return shutil.which("bids-validator-deno") or shutil.which("bids-validator")


def issues(folder) -> list[dict]:
    """What the validator says, offline: its schema comes with it."""
    done = subprocess.run(
        [validator(), str(folder), "--format", "json"], capture_output=True, text=True
    )
    return json.loads(done.stdout)["issues"]["issues"]


@pytest.mark.skipif(not validator(), reason="the BIDS validator is absent")
def test_the_bids_validator_finds_no_fault(results):
    folder = bids(results, images=True)
    found = {(issue["severity"], issue["code"]) for issue in issues(folder)}
    # who the authors of a cohort's dataset are, nobody told us
    assert found <= {("warning", "TOO_FEW_AUTHORS")}
    image = next(folder.rglob("*_seg-iliopsoas_dseg.nii.gz"))
    image.rename(image.with_name(image.name.replace("_seg-", "_muscle-")))
    assert "error" in {issue["severity"] for issue in issues(folder)}, "it does look"


def test_a_manual_mask_is_called_so(results):
    volumes = files.read_tsv(results / "volumes.tsv")
    volumes.loc[0, ["network", "weights_sha256"]] = ["manual", None]
    files.write_tsv(results / "volumes.tsv", volumes)
    folder = bids(results)
    manual = {}
    for path in folder.glob("sub-*/ses-2/anat/*_dseg.json"):
        manual[path.parts[-4]] = json.loads(path.read_text())["Manual"]
    assert [name for name, is_so in manual.items() if is_so] == [
        f"sub-{pseudonyms.read(results)[EIDS[0]]}"
    ]


def test_no_eid_is_in_the_dataset_and_numbers_stay(results):
    folder = bids(results)
    found = privacy.scan_folder(folder, privacy.Cohort(frozenset(EIDS)))
    assert privacy.findings.COHORT_ID not in {finding.kind for finding in found}
    first = sorted(path.name for path in folder.glob("sub-*"))
    assert not {name.removeprefix("sub-") for name in first} & set(EIDS)
    assert sorted(path.name for path in bids(results).glob("sub-*")) == first
    key = files.read_tsv(results / pseudonyms.KEY, dtype={"pseudonym": str})
    assert set(key["eid"]) == set(EIDS) - {EIDS[2], EIDS[3]}
    assert key["pseudonym"].str.fullmatch(r"\d{8}").all()


def test_eids_are_the_names_where_they_are_asked_for(results):
    folder = bids(results, ids="eids")
    assert (
        folder / f"sub-{EIDS[0]}/ses-3/anat/sub-{EIDS[0]}_ses-3_seg-iliopsoas_dseg.json"
    ).exists()
    assert not (results / pseudonyms.KEY).exists()


def test_masks_of_other_tools_go_along_where_there_is_one(results):
    source = files.subject_folder(results, EIDS[0], "2")
    shutil.copy(source / "iliopsoas.nii.gz", source / "other-total_mr.nii.gz")
    folder = bids(results, methods=["total_mr"])
    (found,) = folder.rglob("*_seg-totalmr_dseg.nii.gz")
    assert "LeftVolumeMl" not in json.loads(
        found.with_name(found.name.replace(".nii.gz", ".json")).read_text()
    )


def test_somebody_elses_file_is_left_alone(results):
    folder = bids(results)
    (folder / "notes.md").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.md"):
        bids(results)
    assert (folder / "notes.md").read_text() == "mine"


def test_exports_never_leave(results, tmp_path):
    bids(results)
    cohort = privacy.Cohort(frozenset(EIDS))
    for pattern in ("individual_level/bids/dataset_description.json", "*/bids/*/*/*/*.nii.gz"):
        with pytest.raises(InputError, match="individual_level"):
            egress.collect(results, tmp_path / "egress", cohort, {}, {}, also=[pattern])
    assert not (tmp_path / "egress").exists()


def test_who_withdraws_leaves_exports_under_any_name(results):
    folder, texts = bids(results, images=True), phenotypes(results)
    number = pseudonyms.read(results)[EIDS[0]]
    others = {path for path in folder.glob("sub-*") if path.name != f"sub-{number}"}
    forget(results, {EIDS[0]})
    traces = [
        path
        for path in results.rglob("*")
        if number in path.name
        or (
            path.suffix in {".txt", ".tsv", ".json"}
            and re.search(f"{number}|{EIDS[0]}", path.read_text())
        )
    ]
    assert traces == []
    assert not list(texts.iterdir())
    assert set(folder.glob("sub-*")) == others
    sample = files.read_tsv(results / "cohort/sample.tsv")
    assert EIDS[0] not in set(sample["eid"])
    again = bids(results)
    assert set(again.glob("sub-*")) == others, "numbers of the others stay"
    assert number not in pseudonyms.read(results).values()
