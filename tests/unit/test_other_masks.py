"""Masks of other tools: any grid and orientation in, one label map out, or a named refusal."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation

from iliopsoas import config, figures, files, grid
from iliopsoas.masks import other_tools as other_masks
from iliopsoas.stages import other
from iliopsoas.status import InputError, Refused, Verdict

SHAPE = (60, 44, 70)
AFFINE = grid.las_affine((67.0, -50.0, -300.0))
BOTH = {"left": "{subject}.nii.gz", "right": "{subject}.nii.gz"}
APART = {side: f"{{subject}}/iliopsoas_{side}.nii.gz" for side in grid.SIDES}


@pytest.fixture(scope="module")
def truth():
    labels = np.zeros(SHAPE, np.uint8)
    labels[36:44, 14:22, 20:50] = grid.LEFT
    labels[36:40, 22:26, 20:24] = grid.LEFT
    labels[14:23, 15:23, 22:52] = grid.RIGHT
    return labels


@pytest.fixture(scope="module")
def reference():
    return grid.las_image(np.zeros(SHAPE, np.int16), AFFINE)


def save(path, labels, codes="LAS"):
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = nib.orientations.ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    turned = nib.Nifti1Image(apply_orientation(labels, turn), AFFINE @ inv_ornt_aff(turn, SHAPE))
    nib.save(turned, path)


def read(folder, reference, patterns=BOTH, left=(1,), right=(2,)):
    paths = other_masks.find(folder, patterns, "1000001", "2")
    return other_masks.read(paths, {"left": left, "right": right}, reference, "some_tool")


@pytest.mark.parametrize("codes", ["LAS", "RAS", "RPI", "SRP", "PIR"])
def test_a_multi_label_file_in_any_orientation(tmp_path, truth, reference, codes):
    """As VIBESegmentator writes: many labels in one file, of which some are the muscle."""
    organs = np.choose(truth, [0, 88, 89]).astype(np.uint8)
    organs[:5, :5, :5] = 1  # another organ
    save(tmp_path / "1000001_2.nii.gz", organs, codes)
    found, record = read(tmp_path, reference, left=[88], right=[89])
    np.testing.assert_array_equal(found, truth)
    assert record["resampled"] is False
    assert record["left_file_ml"] == pytest.approx((truth == 1).sum() * grid.VOXEL_ML)


def test_a_muscle_may_be_several_labels(tmp_path, truth, reference):
    parts = truth.copy()
    parts[:, :, 30:][truth[:, :, 30:] == 1] = 7
    save(tmp_path / "1000001_2.nii.gz", parts)
    np.testing.assert_array_equal(read(tmp_path, reference, left=[1, 7])[0], truth)


def test_a_file_per_side(tmp_path, truth, reference):
    """As TotalSegmentator writes: a folder per participant, a mask of ones per structure."""
    for side, label in grid.SIDES.items():
        save(tmp_path / "1000001_2" / f"iliopsoas_{side}.nii.gz", (truth == label) * np.uint8(1))
    found, _ = read(tmp_path, reference, APART, left=[1], right=[1])
    np.testing.assert_array_equal(found, truth)


def test_another_grid_keeps_volume_and_place(tmp_path, truth, reference):
    """1.5 mm isotropic, as TotalSegmentator works: the volume stays within a few percent."""
    spacing = (1.5, 1.5, 1.5)
    affine = grid.las_affine(AFFINE[:3, 3], spacing)
    shape = [int(n * s / 1.5) for n, s in zip(SHAPE, grid.SPACING_MM, strict=True)]
    index = [
        np.rint(np.arange(n) * 1.5 / s).astype(int).clip(0, m - 1)
        for n, s, m in zip(shape, grid.SPACING_MM, SHAPE, strict=True)
    ]
    nib.save(nib.Nifti1Image(truth[np.ix_(*index)], affine), tmp_path / "1000001_2.nii.gz")
    found, record = read(tmp_path, reference)
    assert record["resampled"] is True
    for label in (1, 2):
        wanted = truth == label
        shared = 2 * (wanted & (found == label)).sum() / (wanted.sum() + (found == label).sum())
        assert shared > 0.97
        assert (found == label).sum() == pytest.approx(wanted.sum(), rel=0.05)


def test_one_side_may_be_empty(tmp_path, truth, reference):
    save(tmp_path / "1000001_2.nii.gz", np.where(truth == 1, 1, 0).astype(np.uint8))
    found, record = read(tmp_path, reference)
    assert set(np.unique(found)) == {0, 1}
    assert record["right_file_ml"] is None


def test_refusals_are_named_and_name_nobody(tmp_path, truth, reference):
    path = tmp_path / "1000001_2.nii.gz"

    def refused(verdict, **options):
        with pytest.raises(Refused) as caught:
            read(tmp_path, reference, **options)
        assert caught.value.verdict == verdict
        assert "1000001" not in caught.value.message
        assert "some_tool" in caught.value.message
        return caught.value.message

    refused(Verdict.MASK_MISSING)
    path.write_bytes(b"no image")
    refused(Verdict.MASK_UNREADABLE)
    save(path, truth)
    assert "found: 1, 2" in refused(Verdict.MASK_EMPTY, left=[88], right=[89])
    refused(Verdict.MASK_SIDES_EXCHANGED, left=[2], right=[1])
    far = AFFINE.copy()
    far[2, 3] += 5000
    nib.save(nib.Nifti1Image(truth, far), path)
    refused(Verdict.MASK_OTHER_SPACE)
    bare = nib.Nifti1Image(truth, AFFINE)
    bare.set_sform(None, code=0)
    bare.set_qform(None, code=0)
    nib.save(bare, path)
    refused(Verdict.MASK_OTHER_SPACE)
    for side in grid.SIDES:
        save(tmp_path / "1000001_2" / f"iliopsoas_{side}.nii.gz", (truth > 0) * np.uint8(1))
    save(tmp_path / "1000001_2" / "iliopsoas_right.nii.gz", (truth[::1] > 0) * np.uint8(1))
    with pytest.raises(Refused):
        read(tmp_path, reference, patterns=APART, left=[1], right=[1])


def named(labels, names):
    """A NIfTI with the names of its labels in the header, as TotalSegmentator writes it."""
    rows = "".join(
        f'<Label Key="{k}" Red="1.0" Alpha="1"><![CDATA[{text}]]></Label>\n'
        for k, text in names.items()
    )
    table = f'<VolumeInformation Index="0"><LabelTable>{rows}</LabelTable></VolumeInformation>'
    text = f'<?xml version="1.0" encoding="UTF-8"?> <CaretExtension>{table}</CaretExtension>\n   '
    image = nib.Nifti1Image(labels, AFFINE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(0, text.encode()))
    return image


def test_numbers_of_another_version_are_refused_where_the_file_names_its_labels(
    tmp_path, truth, reference
):
    """Numbers that were the muscle until October 2024 are the muscles of the back today."""
    labels = np.choose(truth, [0, 48, 49]).astype(np.uint8)
    labels[36:44, 2:8, 20:50], labels[14:23, 2:8, 22:52] = 46, 47
    names = {46: "autochthon_left", 47: "autochthon_right", 5: "iliac_artery_left"}
    names |= {48: "iliopsoas_left", 49: "iliopsoas_right"}
    path = tmp_path / "1000001_2.nii.gz"
    nib.save(named(labels, names), path)
    np.testing.assert_array_equal(read(tmp_path, reference, left=[48], right=[49])[0], truth)
    with pytest.raises(Refused, match=r"autochthon_left.*iliopsoas_left") as caught:
        read(tmp_path, reference, left=[46], right=[47])
    assert caught.value.verdict == Verdict.MASK_EMPTY
    nib.save(named(labels, {46: "Segment_1", 47: "Segment_2"}), path)  # names that say nothing
    assert read(tmp_path, reference, left=[46], right=[47])[0].any()


def configured(**method):
    release = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}
    method = {"name": "tool", "folder": "masks"} | method
    return config.load({"releases": [release], "other_methods": [method]}).other_methods[0]


def test_configuration():
    assert configured().left_labels == [1]
    same = {"left_labels": [1], "right_labels": [1]}
    assert configured(left_file="{eid}/{instance}.nii.gz", **same).left_file.startswith("{eid}")
    assert configured(right_file="{subject}/right.nii.gz", **same).right_labels == [1]
    for wrong, complaint in (
        (same, "must differ"),
        ({"left_file": "mask.nii.gz"}, "left_file"),
        ({"left_file": "{person}.nii.gz"}, "left_file"),
        ({"name": "Tool one"}, "name"),
        ({"left_labels": []}, "left_labels"),
        ({"left_labels": [0]}, "left_labels"),
    ):
        with pytest.raises(InputError, match=complaint):
            configured(**wrong)


@pytest.fixture
def shard(tmp_path, truth):
    """Three participants after Dixon: with a mask, without one, and refused earlier."""
    results = tmp_path / "results"
    people = pd.DataFrame({"eid": ["1000001", "1000002", "1000003"], "instance": "2"})
    rng, states = np.random.default_rng(1), []
    for number, eid in enumerate(people["eid"]):
        folder = files.subject_folder(results, eid, "2")
        verdict = "ok" if number < 2 else "truncated_zip"
        states.append({"verdict": verdict, "message": "", "seconds": 1.0, "fingerprint": "f"})
        if number == 2:
            continue
        for name, level in (("water", 300), ("fat", 30), ("body", 1)):
            image = np.full(SHAPE, level) + (rng.integers(0, 9, SHAPE) if level > 1 else 0)
            image = grid.las_image(image.astype(np.int16), AFFINE)
            files.write_nifti(folder / f"{name}.nii.gz", image)
    files.write_tsv(tmp_path / "manifest.tsv", people)
    for stage in ("dixon", "landmarks"):
        files.write_tsv(tmp_path / f"{stage}.tsv", people.join(pd.DataFrame(states)))
    save(tmp_path / "masks" / "1000001_2.nii.gz", truth, "RPI")
    return tmp_path, people


def run(folder, **changes):
    method = configured(folder=str(folder / "masks"), **changes).model_dump()
    return other.run(
        folder / "manifest.tsv",
        folder / "dixon.tsv",
        folder / "landmarks.tsv",
        folder / "tool.tsv",
        results=folder / "results",
        method=method,
        version=1,
        processes=1,
        options=config.Run(),
    )


@pytest.mark.slow
def test_a_shard_goes_through_volumes_and_flags(shard, truth):
    from iliopsoas.qc.judge import judge

    folder, people = shard
    ledger = run(folder)
    assert list(ledger["verdict"]) == ["ok", "mask_missing", "earlier_stage"]
    ledger = files.read_tsv(folder / "tool.tsv")
    sample = people.assign(sex="male", age=60, height_cm=170.0, bmi=25.0)
    dixon = people.assign(verdict=["ok", "ok", "truncated_zip"], message="", fingerprint="f")
    table = other.table(sample, dixon, ledger)
    assert list(table["status"]) == ["ok", "mask_missing", "truncated_zip"]
    left = (truth == 1).sum() * grid.VOXEL_ML
    assert table.loc[0, "left_ml"] == pytest.approx(left)
    assert table.loc[0, "left_fat_fraction_median_percent"] == pytest.approx(10, abs=2)
    assert table.loc[1:, "left_ml"].isna().all()
    found = judge(sample, table, {"dixon": dixon, "volumes": ledger})
    flags = found.flags.set_index("eid")["flag"]
    assert "volume_low" in list(flags[["1000001"]])  # a block of a few millilitres
    assert list(flags[["1000002"]]) == ["mask_missing"]
    picture = figures.other_method(table, table, "tool")
    assert len(picture.axes) >= 1


@pytest.mark.slow
def test_a_corrected_mask_is_measured_again_and_others_are_not(shard, truth):
    folder, _ = shard
    first = run(folder)
    mask = files.subject_folder(folder / "results", "1000001", "2") / "other-tool.nii.gz"
    before = mask.stat().st_mtime_ns
    run(folder)
    assert mask.stat().st_mtime_ns == before
    smaller = truth.copy()
    smaller[:, :, 40:] = 0
    save(folder / "masks" / "1000001_2.nii.gz", smaller)
    save(folder / "masks" / "1000002_2.nii.gz", truth)
    second = run(folder)
    assert second.loc[0, "left_ml"] < first.loc[0, "left_ml"]
    assert second.loc[1, "verdict"] == "ok"


@pytest.mark.slow
def test_landmarks_found_later_are_looked_at(shard):
    """They are the evidence of what crosses the midline."""
    folder, _ = shard
    first = run(folder)
    points = {"1": (28, 20, 60), "2": (8, 20, 60), "11": (24, 20, 10), "12": (10, 20, 10)}
    here = files.subject_folder(folder / "results", "1000001", "2")
    files.write_json(here / "landmarks.json", points)
    found = files.read_tsv(folder / "landmarks.tsv").assign(fingerprint="found anew")
    files.write_tsv(folder / "landmarks.tsv", found)
    second = run(folder)
    changed = first.fillna("").loc[0] != second.fillna("").reindex(columns=first.columns).loc[0]
    assert changed["fingerprint"]
    assert any("midline" in name for name in changed[changed].index)
    assert run(folder, left_labels=[9]).loc[0, "verdict"] == "ok"  # the right side is there
