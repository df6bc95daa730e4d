"""The command line: arguments, exit codes, messages, and one scan from zip to volumes."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from iliopsoas import cli, files, grid, starter
from iliopsoas.status import Refused, Verdict


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    code = cli.main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def label_map(shape=grid.SHAPE):
    """One box per side, left where x is larger."""
    mask = np.zeros(shape, np.uint8)
    mask[130:150, 80:100, 170:220] = grid.LEFT
    mask[70:90, 80:100, 170:215] = grid.RIGHT
    return mask


@pytest.fixture
def mask_file(tmp_path):
    path = tmp_path / "mask.nii.gz"
    files.write_nifti(path, grid.las_image(label_map()))
    return path


def test_help_imports_no_heavy_library():
    script = (
        "import sys; from iliopsoas.cli.arguments import parser; import iliopsoas.cli;"
        "parser().format_help();"
        "print(sorted({'numpy', 'keras', 'pandas', 'nibabel', 'matplotlib'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.parametrize("command", ["measure", "check", "phantom", "example", "show"])
def test_help_has_examples_and_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"  iliopsoas {command}" in text
    assert "an input was refused" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["weigh"],
        ["measure", "scan.zip"],
        ["phantom", "-o", "x", "-n", "0"],
        ["check", "-q", "-v"],
        ["measure", "scan.zip", "-o", "out", "--threshold", "1.5"],
    ],
)
def test_wrong_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == cli.USAGE
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(Verdict.NOT_A_ZIP, "found a text"), cli.REFUSED),
        (PermissionError(13, "Permission denied"), cli.SYSTEM),
        (MemoryError(), cli.SYSTEM),
        (KeyboardInterrupt(), cli.INTERRUPTED),
        (ZeroDivisionError("of a bug"), cli.UNEXPECTED),
    ],
)
def test_exit_codes_of_errors(error, code, capsys, monkeypatch):
    from iliopsoas.cli import check_command

    def fails(options):
        raise error

    monkeypatch.setattr(check_command, "run", fails)
    found, out, err = run(capsys, "check", "--json")
    assert found == code
    assert "Traceback" not in err
    assert json.loads(out)["status"]
    assert "Traceback" in run(capsys, "check", "-v")[2]


def test_logging_is_left_as_it_was(capsys):
    before = list(cli.log.handlers)
    run(capsys, "check", "nowhere.zip")
    assert cli.log.handlers == before


# -- measure ---------------------------------------------------------------------------


def test_measure_without_weights_uses_the_starter(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("ILIOPSOAS_WEIGHTS", raising=False)
    used = []

    def measure(options, weights, output, record, *_):
        used.append(weights)
        return {}, ""

    monkeypatch.setattr("iliopsoas.cli.measure_command._measure", measure)
    for number, more in enumerate([[], ["--weights", "starter"], ["--annotation", "mask.nrrd"]]):
        code, _, err = run(capsys, "measure", "a.zip", "-o", tmp_path / str(number), *more)
        assert code == cli.OK, err
    assert used == [starter.WEIGHTS, starter.WEIGHTS, None]  # a manual mask is measured itself


def test_a_reference_needs_to_know_whom_it_scores(tmp_path, capsys, mask_file):
    arguments = ["-o", tmp_path / "out", "--annotation", mask_file, "--reference", mask_file]
    code, _, err = run(capsys, "measure", tmp_path / "a.zip", *arguments, "--age", 60)
    assert code == cli.REFUSED
    assert "--sex" in err
    assert "--height" in err
    assert "--age" not in err.split("needs")[1]


def test_one_scan_gets_the_scores_that_the_cohort_gives(tmp_path):
    from types import SimpleNamespace

    from iliopsoas.cli import measure_command
    from iliopsoas.statistics import centiles

    rng = np.random.default_rng(2)
    n = 800
    table = pd.DataFrame(
        {
            "sex": np.resize(["female", "male"], n),
            "age": rng.uniform(45, 80, n),
            "height_cm": rng.normal(170, 8, n),
            "weight_kg": rng.normal(75, 10, n),
            "total_ml": rng.normal(700, 90, n),
        }
    )
    files.write_tsv(tmp_path / "reference.tsv", centiles.coefficients(centiles.reference(table)))
    person = table.iloc[3]
    options = SimpleNamespace(
        reference=tmp_path / "reference.tsv",
        sex=person["sex"],
        age=person["age"],
        height=person["height_cm"],
        weight=None,
    )
    reference = measure_command._reference(options)
    found = measure_command._scores(reference, options, {"total_ml": person["total_ml"]})
    expected = centiles.scores(centiles.reference(table), table).iloc[3]
    assert found["total_ml_z"] == pytest.approx(expected["total_ml_z"], abs=1e-6)
    assert found["total_ml_invariant_z"] is None  # no weight was given
    assert found["lean_ml_z"] is None


def test_a_refused_scan_leaves_its_verdict_and_nothing_else(tmp_path, capsys, mask_file):
    scan, out = tmp_path / "1234567_20201_2_0.zip", tmp_path / "out"
    scan.write_text("not a zip")
    for _ in range(2):  # a refused scan's record is no result to be kept
        code, text, err = run(
            capsys, "measure", scan, "-o", out, "--annotation", mask_file, "--json"
        )
        assert code == cli.REFUSED
        assert json.loads(text)["status"] == "not_a_zip"
        assert "Traceback" not in err
    assert [path.name for path in out.iterdir()] == ["run.json"]
    record = (out / "run.json").read_text()
    assert json.loads(record)["status"] == "not_a_zip"
    assert "1234567" not in record


def test_earlier_results_are_kept_unless_told(tmp_path, capsys, mask_file):
    out = tmp_path / "out"
    out.mkdir()
    (out / "volumes.json").write_text("{}")
    arguments = ["measure", tmp_path / "no.zip", "-o", out, "--annotation", mask_file]
    code, _, err = run(capsys, *arguments)
    assert code == cli.REFUSED
    assert "--overwrite" in err
    assert (out / "volumes.json").exists()
    assert run(capsys, *arguments, "--overwrite")[0] == cli.REFUSED
    # another scan's volumes do not stay beside this refusal
    assert not (out / "volumes.json").exists()


def test_fat_without_water_nifti_is_refused(tmp_path, capsys, mask_file):
    scan = tmp_path / "scan.zip"
    scan.write_bytes(b"PK")
    arguments = ["measure", scan, "-o", tmp_path / "out", "--fat", mask_file]
    code, _, err = run(capsys, *arguments, "--annotation", mask_file)
    assert code == cli.REFUSED
    assert "fat image" in err


# -- check -----------------------------------------------------------------------------


def test_check_annotation(mask_file, capsys):
    code, out, _ = run(capsys, "check", mask_file, "--json")
    (result,) = json.loads(out)
    assert code == cli.OK
    assert result["kind"] == "annotation"
    voxels = 20 * 20 * 50
    assert result["details"]["left"] == pytest.approx(voxels * grid.VOXEL_ML)


def test_check_says_each_file_s_fault(tmp_path, capsys, mask_file):
    exchanged = np.choose(label_map(), [0, 2, 1]).astype(np.uint8)
    files.write_nifti(tmp_path / "exchanged.nii.gz", grid.las_image(exchanged))
    (tmp_path / "empty.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "pointer.h5").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "table.tsv").write_text("eid\n1\n")
    (tmp_path / "text.md").write_text("words")
    names = ("exchanged.nii.gz", "empty.zip", "pointer.h5", "table.tsv", "text.md", "absent.zip")
    code, out, _ = run(capsys, "check", *(tmp_path / name for name in names), mask_file, "--json")
    found = [result["status"] for result in json.loads(out)]
    assert code == cli.REFUSED
    assert found == [
        "annotation_sides_exchanged",
        "truncated_zip",
        "input_error",
        "input_error",
        "input_error",
        "input_error",
        "ok",
    ]
    assert "Git LFS pointer" in out


def test_check_table(tmp_path, capsys):
    table = tmp_path / "table.tsv"
    table.write_text("eid\t31-0.0\t21003-2.0\n1000011\t0\t61\n1000022\t1\t58\n")
    code, out, _ = run(capsys, "check", table)
    assert code == cli.OK
    assert "2 participants" in out
    assert "1000011" not in out


def test_check_installation_finds_a_missing_package(capsys, monkeypatch):
    from iliopsoas.cli import check_command

    monkeypatch.setattr(check_command, "_network", lambda: check_command._item("n", "ok", ""))
    assert run(capsys, "check")[0] == cli.OK
    monkeypatch.setattr(check_command.metadata, "requires", lambda name: ["no-such-package>=3"])
    code, out, _ = run(capsys, "check")
    assert code == cli.REFUSED
    assert "no-such-package>=3" in out


# -- images and show -------------------------------------------------------------------


def test_images_are_turned_and_scaled(tmp_path):
    from iliopsoas.cli import images

    shape = (224, 174, 60)
    x, y, _ = np.ogrid[:224, :174, :60]
    disc = ((x - 112) ** 2 / 70**2 + (y - 87) ** 2 / 50**2 < 1) * np.linspace(0.2, 0.9, 224)[
        :, None, None
    ]
    las = grid.las_image(np.broadcast_to(disc, shape).astype(np.float32))
    turn = nib.orientations.axcodes2ornt(("R", "A", "S"))
    turned = las.as_reoriented(
        nib.orientations.ornt_transform(nib.io_orientation(las.affine), turn)
    )
    path = tmp_path / "water.nii.gz"
    nib.save(turned, path)
    water, fat, body, record = images.read(path)
    assert fat is None
    assert water.get_data_dtype() == np.int16
    np.testing.assert_allclose(water.affine, las.affine)
    scale = record["intensity_scale"]
    assert np.log2(scale) == round(np.log2(scale))
    np.testing.assert_allclose(
        np.asarray(water.dataobj) / scale, np.asarray(las.dataobj), atol=0.51 / scale
    )
    assert np.asarray(body.dataobj)[112, 87, 30] == 1
    assert np.asarray(body.dataobj)[2, 2, 30] == 0


@pytest.mark.parametrize("broken", ["spacing", "rotated", "no affine", "not finite"])
def test_images_that_cannot_be_used(tmp_path, capsys, broken, mask_file):
    array = np.zeros((224, 174, 60), np.float32)
    array[40:180, 40:130] = 300
    affine = grid.las_affine()
    if broken == "spacing":
        affine = grid.las_affine(spacing=(1.5, 1.5, 3))
        array = np.pad(array, ((0, 0), (0, 0), (0, 60)), mode="edge")
    if broken == "rotated":
        affine[0, 1] = 0.2
    if broken == "not finite":
        array[100, 100, 30] = np.nan
    image = nib.Nifti1Image(array, affine)
    if broken == "no affine":
        image.set_sform(None, code=0)
        image.set_qform(None, code=0)
    path = tmp_path / "water.nii.gz"
    nib.save(image, path)
    code, _, err = run(capsys, "measure", path, "-o", tmp_path / "out", "--annotation", mask_file)
    assert code == cli.REFUSED
    assert "Traceback" not in err


def test_show(tmp_path, capsys, mask_file):
    picture = tmp_path / "mask.png"
    assert run(capsys, "show", mask_file, "-o", picture)[0] == cli.OK
    assert picture.read_bytes().startswith(b"\x89PNG")
    water = tmp_path / "water.nii.gz"
    files.write_nifti(water, grid.las_image(np.full((20, 20, 20), 50, np.int16)))
    code, _, err = run(capsys, "show", water, "--mask", mask_file, "-o", picture)
    assert code == cli.REFUSED
    assert "grid" in err
    assert run(capsys, "show", water, "-o", tmp_path / "a.jpg")[0] == cli.REFUSED


# -- whole path ------------------------------------------------------------------------


@pytest.mark.slow
def test_from_phantom_to_volumes(tmp_path, capsys):
    """The command line gives what the workflow's functions give, and twice the same."""
    from iliopsoas.dixon import process_scan
    from iliopsoas.network import weights
    from iliopsoas.network.architecture import build_network

    cohort = tmp_path / "phantom"
    code, out, _ = run(capsys, "phantom", "-o", cohort, "--seed", 3, "--json")
    assert code == cli.OK
    (truth,) = json.loads(out)
    name = f"{truth['eid']}_{truth['instance']}"
    (scan,) = (cohort / "zips").iterdir()
    mask = cohort / "annotations" / f"{name}.nii.gz"

    by_hand, out = tmp_path / "by_hand", tmp_path / "network"
    arguments = ["--annotation", mask, "--keep-images", "--height", 170, "--json"]
    code, text, err = run(capsys, "measure", scan, "-o", by_hand, *arguments)
    assert code == cli.OK, err
    found = json.loads(text)
    for side in grid.SIDES:
        assert found[f"{side}_ml"] == pytest.approx(truth[f"{side}_ml"])
    assert found["imi_ml_m2"] == pytest.approx(found["total_ml"] / 1.7**2)
    assert json.loads((by_hand / "volumes.json").read_text()) == found
    row = pd.read_csv(by_hand / "volumes.tsv", sep="\t").iloc[0]
    assert row["left_ml"] == pytest.approx(found["left_ml"])
    assert found["status"] == "ok", found["flags"]
    assert json.loads((by_hand / "run.json").read_text())["qc"]["flags"] == found["flags"]
    workflow = process_scan(scan)
    np.testing.assert_array_equal(
        np.asarray(nib.load(by_hand / "water.nii.gz").dataobj), np.asarray(workflow.water.dataobj)
    )

    shape = (48, 48, 96, 1)
    model = tmp_path / "model.h5"
    weights.save_weights(
        model,
        build_network(shape, base_filters=1, seed=1),
        {"input_shape": shape, "base_filters": 1, "variant": "published", "coarsen": 2},
    )
    images = [by_hand / "water.nii.gz", "--fat", by_hand / "fat.nii.gz"]
    code, text, err = run(
        capsys, "measure", *images, "-o", out, "--weights", model, "--annotation", mask,
        "--threshold", 0.01, "--json",
    )  # fmt: skip
    assert code == cli.OK, err
    found = json.loads(text)
    segmented = nib.load(out / "iliopsoas.nii.gz")
    assert segmented.shape == grid.SHAPE
    labels = np.asarray(segmented.dataobj)
    manual = np.asarray(nib.load(mask).dataobj)
    for side, label in grid.SIDES.items():
        a, b = labels == label, manual == label
        assert found[f"{side}_ml"] == pytest.approx(a.sum() * grid.VOXEL_ML)
        dice = 2 * (a & b).sum() / (a.sum() + b.sum())
        assert found["annotation"][f"dice_{side}"] == pytest.approx(dice)
    # an untrained network's mask is no muscle
    assert found["status"] == "flagged"
    assert found["qc_verdict"] == "serious"
    assert found["qc_flags"].split(",") == [flag["flag"] for flag in found["flags"]]
    record = json.loads((out / "run.json").read_text())
    assert record["inputs"]["weights_sha256"] == files.sha256(model)
    for path in (*by_hand.iterdir(), *out.iterdir()):
        assert truth["eid"].encode() not in path.read_bytes()
    assert (out / "preview.png").read_bytes().startswith(b"\x89PNG")

    assert run(capsys, "check", scan, model, mask)[0] == cli.OK
    os.truncate(scan, scan.stat().st_size // 2)
    assert run(capsys, "check", scan)[0] == cli.REFUSED
