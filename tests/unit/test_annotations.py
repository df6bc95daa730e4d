"""Manual masks in every format and orientation, and the ones that must be refused."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation

from iliopsoas import grid
from iliopsoas.masks import annotations
from iliopsoas.status import Refused, Verdict
from iliopsoas.ukb.mask_files import index_masks

SHAPE = (60, 44, 70)
AFFINE = grid.las_affine((67.0, -50.0, -300.0))


@pytest.fixture(scope="module")
def truth():
    """A label map that no flip or exchange of axes leaves as it is."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[36:44, 14:22, 20:50] = grid.LEFT
    labels[36:40, 22:26, 20:24] = grid.LEFT
    labels[14:23, 15:23, 22:52] = grid.RIGHT
    labels[14:17, 10:15, 48:52] = grid.RIGHT
    return labels


@pytest.fixture(scope="module")
def reference():
    return grid.las_image(np.zeros(SHAPE, np.int16), AFFINE)


@pytest.fixture(scope="module")
def body():
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:55, 4:40, :] = 1
    return grid.las_image(mask, AFFINE)


def reoriented(labels, codes):
    """The same mask with other index axes, as nibabel turns images."""
    turn = nib.orientations.ornt_transform(io_orientation(AFFINE), axcodes2ornt(codes))
    return nib.Nifti1Image(apply_orientation(labels, turn), AFFINE @ inv_ornt_aff(turn, SHAPE))


def to_itk(image):
    """SimpleITK image of a NIfTI image, written out from the definitions of both."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    result = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(image.dataobj).T))
    result.SetSpacing(spacing.tolist())
    result.SetOrigin(affine[:3, 3].tolist())
    result.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    return result


def write(path, image):
    if path.name.endswith((".nii", ".nii.gz")):
        nib.save(image, path)
    else:
        sitk.WriteImage(to_itk(image), str(path))
    return path


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LPS", "RPI", "ASL", "SRP", "PIR"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_any_orientation(tmp_path, truth, reference, body, codes, suffix):
    path = write(tmp_path / f"1000001_2{suffix}", reoriented(truth, codes))
    found = annotations.read(path, reference, body)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_one_file_per_side(tmp_path, truth, reference, body, suffix):
    paths = []
    for side, value, drawn in (("left", 1, 1), ("right", 2, 255)):  # any value but 0 is the muscle
        mask = np.where(truth == value, drawn, 0).astype(np.uint8)
        codes = "LAS" if side == "left" else "RPI"
        paths.append(write(tmp_path / f"1000001_2_{side}{suffix}", reoriented(mask, codes)))
    np.testing.assert_array_equal(annotations.read(paths, reference, body), truth)
    np.testing.assert_array_equal(annotations.read(paths[::-1], reference, body), truth)


def mitk_json(names):
    groups = [
        {"labels": [{"name": name, "value": value, "color": {"value": [1, 0, 0]}}]}
        for value, name in names
    ]
    return {
        "modality": "org.mitk.multilabel.segmentation",
        "org.mitk.multilabel.segmentation.version": "1",
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps(groups),
    }


def mitk_xml(layers):
    header = {"modality": "org.mitk.image.multilabel", "layers": str(len(layers))}
    for layer, labels in enumerate(layers):
        header[f"layer_{layer:03d}"] = str(len(labels) + 1)
        for number, (value, name) in enumerate([(0, "Exterior"), *labels]):
            header[f"org.mitk.label_{layer:03d}_{number:05d}"] = (
                '<?xml version="1.0"?><Label><property key="name" type="StringProperty">'
                f'<string value="{name}"/></property><property key="value" type="UIntProperty">'
                f'<unsigned value="{value}"/></property></Label>'
            )
    return header


def write_layers(path, layers, header):
    image = layers[0] if len(layers) == 1 else sitk.Compose(layers)
    for key, value in header.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    return path


def masks_of(truth, values=(1, 2), codes="LAS"):
    return [
        to_itk(reoriented(np.where(truth == side, value, 0).astype(np.uint16), codes))
        for side, value in zip((1, 2), values, strict=True)
    ]


@pytest.mark.parametrize("codes", ["LAS", "LPS", "RPI"])
def test_mitk_two_groups(tmp_path, truth, reference, body, codes):
    path = write_layers(
        tmp_path / "1000001_2.nrrd",
        masks_of(truth, (7, 3), codes),
        mitk_json([(7, "Iliopsoas left"), (3, "Iliopsoas right")]),
    )
    assert sitk.ReadImage(str(path)).GetNumberOfComponentsPerPixel() == 2
    np.testing.assert_array_equal(annotations.read(path, reference, body), truth)


def test_mitk_names_win_over_values(tmp_path, truth, reference, body):
    # drawn right first: value 1 is called right
    one = to_itk(reoriented(np.array([0, 2, 1], np.uint16)[truth], "LPS"))
    group = [{"labels": [{"name": "Right", "value": 1}, {"name": "Left", "value": 2}]}]
    header = mitk_json([]) | {
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps(group),
    }
    path = write_layers(tmp_path / "1000001_2.nrrd", [one], header)
    np.testing.assert_array_equal(annotations.read(path, reference, body), truth)


def test_mitk_without_telling_names_goes_by_value(tmp_path, truth, reference, body):
    one = to_itk(reoriented(truth.astype(np.uint16), "LPS"))
    group = [{"labels": [{"name": "Label 1", "value": 1}, {"name": "Label 2", "value": 2}]}]
    header = mitk_json([]) | {
        "org.mitk.multilabel.segmentation.labelgroups": json.dumps(group),
    }
    path = write_layers(tmp_path / "1000001_2.nrrd", [one], header)
    np.testing.assert_array_equal(annotations.read(path, reference, body), truth)


def test_older_mitk_layers_that_count_from_one(tmp_path, truth, reference, body):
    path = write_layers(
        tmp_path / "1000001_2.nrrd",
        masks_of(truth, (1, 1)),
        mitk_xml([[(1, "psoas L")], [(1, "psoas R")]]),
    )
    np.testing.assert_array_equal(annotations.read(path, reference, body), truth)


@pytest.mark.parametrize("layers", [1, 2])
def test_slicer_segmentation(tmp_path, truth, reference, body, layers):
    header, masks = {}, masks_of(truth, (1, 1), "LPS")
    for number, name in enumerate(("iliopsoas right", "iliopsoas left")):
        header[f"Segment{number}_Name"] = name
        header[f"Segment{number}_LabelValue"] = "1" if layers == 2 else str(number + 1)
        header[f"Segment{number}_Layer"] = str(number if layers == 2 else 0)
    if layers == 1:
        masks = [to_itk(reoriented(np.array([0, 2, 1], np.uint8)[truth], "LPS"))]
    path = write_layers(tmp_path / "1000001_2.seg.nrrd", masks[::-1], header)
    np.testing.assert_array_equal(annotations.read(path, reference, body), truth)


def test_finer_and_rotated_grid(tmp_path, truth, reference, body):
    """Drawn on another grid of the same space: every voxel within half a voxel of the truth."""
    angle = np.deg2rad(7)
    linear = np.array(
        [[-np.cos(angle), -np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = linear * [1.1, 1.1, 1.5]
    centre = AFFINE @ [*((np.array(SHAPE) - 1) / 2), 1]
    shape = (150, 130, 160)
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    index = np.indices(shape).reshape(3, -1)
    there = np.linalg.inv(AFFINE) @ affine
    looked_up = np.rint(there[:3, :3] @ index + there[:3, 3:]).astype(int)
    inside = ((looked_up >= 0) & (looked_up < np.array(SHAPE)[:, None])).all(axis=0)
    drawn = np.zeros(index.shape[1], np.uint8)
    drawn[inside] = truth[tuple(looked_up[:, inside])]
    path = tmp_path / "1000001_2.nii.gz"
    nib.save(nib.Nifti1Image(drawn.reshape(shape), affine), path)
    found = annotations.read(path, reference, body)
    for value in (1, 2):
        a, b = found == value, truth == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95


def test_mask_drawn_on_the_exported_water_image(tmp_path, truth, body):
    water = grid.las_image(np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE), AFFINE)
    drawn_on = nib.load(annotations.export(water, tmp_path, "1000001", "2"))
    np.testing.assert_array_equal(np.asarray(drawn_on.dataobj), np.asarray(water.dataobj))
    nib.save(nib.Nifti1Image(truth[..., None], drawn_on.affine), tmp_path / "1000001_2.nii.gz")
    (paths,) = index_masks(tmp_path)["annotation"]  # the water image is not taken for a mask
    np.testing.assert_array_equal(annotations.read(paths, water, body), truth)


def test_an_exported_mask_comes_back_as_it_was_with_its_sides_named(tmp_path, truth, body):
    water = grid.las_image(np.ones(SHAPE, np.int16), AFFINE)
    path = annotations.export_mask(truth, AFFINE, tmp_path, "1000001", "2")
    assert index_masks(tmp_path).empty  # nobody has looked at it yet
    corrected = path.rename(tmp_path / "1000001_2.seg.nrrd")
    np.testing.assert_array_equal(annotations.read(corrected, water, body), truth)
    header = corrected.read_bytes()[:2000]
    for line in (b"Segment0_Name:=left iliopsoas", b"Segment1_LabelValue:=2", b"Segment1_Color:="):
        assert line in header
    assert b"modality:=org.mitk.multilabel.segmentation" in header
    assert b"1000001" not in header
    # MITK's and ITK-SNAP's descriptions name the same values as 3D Slicer's
    image = sitk.ReadImage(str(corrected))
    (group,) = json.loads(image.GetMetaData("org.mitk.multilabel.segmentation.labelgroups"))
    named = {label["name"]: label["value"] for label in group["labels"]}
    assert named == {"left iliopsoas": 1, "right iliopsoas": 2}
    snap = annotations.export_descriptions(tmp_path).read_text().splitlines()
    for line in snap[1:]:
        value, *colour = map(int, line.split()[:4])
        name = line.split('"')[1]
        assert named[name] == value
        slicer = image.GetMetaData(f"Segment{value - 1}_Color").split()
        assert [round(255 * float(part)) for part in slicer] == colour
    assert len(snap) == 3
    assert index_masks(tmp_path)["annotation"].tolist() == [str(corrected)]


# --- what is refused ----------------------------------------------------------------------------


def refusal(paths, reference, body):
    with pytest.raises(Refused) as refused:
        annotations.read(paths, reference, body)
    assert "1000001" not in refused.value.message
    return refused.value


def saved(tmp_path, labels, affine=AFFINE, name="1000001_2.nii.gz"):
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / name)
    return tmp_path / name


def test_exchanged_sides(tmp_path, truth, reference, body):
    path = saved(tmp_path, np.array([0, 2, 1], np.uint8)[truth])
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_SIDES_EXCHANGED


def test_mirrored_mask(tmp_path, truth, reference, body):
    path = saved(tmp_path, truth[::-1])
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_SIDES_EXCHANGED


@pytest.mark.parametrize(("value", "name"), [(1, "left"), (2, "right")])
def test_empty_side(tmp_path, truth, reference, body, value, name):
    path = saved(tmp_path, np.where(truth == value, 0, truth))
    found = refusal(path, reference, body)
    assert found.verdict is Verdict.ANNOTATION_EMPTY
    assert name in found.message


def test_no_file(reference, body):
    assert refusal([], reference, body).verdict is Verdict.ANNOTATION_EMPTY


def test_only_one_side_file(tmp_path, truth, reference, body):
    path = saved(tmp_path, (truth == 1).astype(np.uint8), name="1000001_2_left.nii.gz")
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_EMPTY


def test_outside_the_body(tmp_path, truth, reference, body):
    front = np.asarray(body.dataobj).copy()
    front[:, :24] = 0
    path = saved(tmp_path, truth)
    assert (
        refusal(path, reference, grid.las_image(front, AFFINE)).verdict
        is Verdict.ANNOTATION_OUTSIDE_BODY
    )


def shifted(millimetres):
    affine = AFFINE.copy()
    affine[2, 3] += millimetres
    return affine


@pytest.mark.parametrize(
    "affine",
    [np.eye(4), shifted(2000.0), shifted(-75.0), np.diag([-2.2, 2.2, 3.0, 1.0]) * 0.01],
)
def test_another_space(tmp_path, truth, reference, body, affine):
    path = saved(tmp_path, truth, affine)
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_OTHER_SPACE


def test_nifti_without_affine(tmp_path, truth, reference, body):
    image = nib.Nifti1Image(truth, AFFINE)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "1000001_2.nii.gz")
    found = refusal(tmp_path / "1000001_2.nii.gz", reference, body)
    assert found.verdict is Verdict.ANNOTATION_OTHER_SPACE


def test_nrrd_without_space(tmp_path, truth, reference, body):
    path = tmp_path / "1000001_2.nrrd"
    header = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: {' '.join(map(str, SHAPE))}\n"
        "encoding: raw\n\n"
    )
    path.write_bytes(header.encode() + truth.tobytes(order="F"))
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_OTHER_SPACE


def test_unreadable(tmp_path, truth, reference, body):
    damaged = tmp_path / "1000001_2.nii.gz"
    damaged.write_bytes(b"not an image")
    cases = [damaged, tmp_path / "1000001_2_missing.nrrd", tmp_path / "1000001_2.png"]
    cases.append(saved(tmp_path, truth * np.float32(0.4), name="1000001_2.nii"))
    cases.append(saved(tmp_path, truth * 3, name="1000001_3.nii"))
    both = np.where(truth == 2, 1, truth)
    for case in cases:
        assert refusal(case, reference, body).verdict is Verdict.ANNOTATION_UNREADABLE, case
    # one label on both sides of the body, no right: nothing says where the right is
    path = saved(tmp_path, both, name="1000001_4.nii")
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_EMPTY


def test_truncated_file(tmp_path, truth, reference, body):
    path = write(tmp_path / "1000001_2.nrrd", reoriented(truth, "LAS"))
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_UNREADABLE


def test_damaged_mitk_labels(tmp_path, truth, reference, body):
    header = {"org.mitk.multilabel.segmentation.labelgroups": "[{"}
    one = to_itk(reoriented(truth.astype(np.uint16), "LPS"))
    path = write_layers(tmp_path / "1000001_2.nrrd", [one], header)
    assert refusal(path, reference, body).verdict is Verdict.ANNOTATION_UNREADABLE


def test_sides_that_overlap(tmp_path, truth, reference, body):
    left = saved(tmp_path, (truth > 0).astype(np.uint8), name="1000001_2_left.nii")
    right = saved(tmp_path, (truth == 2).astype(np.uint8), name="1000001_2_right.nii")
    assert refusal([left, right], reference, body).verdict is Verdict.ANNOTATION_UNREADABLE
    # a stray voxel in common goes to the nearer side
    drawn = (truth == 1).astype(np.uint8)
    drawn[20, 20, 30] = 1
    left = saved(tmp_path, drawn, name="1000001_2_left.nii")
    np.testing.assert_array_equal(annotations.read([left, right], reference, body), truth)


def test_several_files_without_sides(tmp_path, truth, reference, body):
    paths = [saved(tmp_path, truth), saved(tmp_path, truth, name="1000001_2_left.nii")]
    assert refusal(paths, reference, body).verdict is Verdict.ANNOTATION_UNREADABLE
