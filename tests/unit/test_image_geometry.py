"""Stitched images and masks from elsewhere: what is wrong with their geometry is said."""

import nibabel as nib
import numpy as np
import pytest

from iliopsoas import cli, files, grid
from iliopsoas.cli import images
from iliopsoas.landmarks import posture
from iliopsoas.masks import annotations, label_images, other_tools
from iliopsoas.status import Refused, Verdict

STEP = 4  # coarse voxels: the checks work in shares and millimetres


def body(shape=(56, 44, 370)):
    """A lying body, LAS: legs apart, trunk, arms beside it on the table, a thin neck."""
    mask = np.zeros(shape, bool)
    x, y = np.ogrid[: shape[0], : shape[1]]

    def ellipse(cx, cy, rx, ry, low, high):
        mask[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1, low:high] = True

    for side in (-1, 1):
        ellipse(28 + 8 * side, 18, 6, 7, 3, 120)
        ellipse(28 + 22 * side, 11, 4, 4, 100, 290)
    ellipse(28, 18, 17, 12, 110, 330)
    ellipse(28, 20, 7, 8, 330, 367)
    return mask


def affine(spacing=(grid.IN_PLANE_MM * STEP, grid.IN_PLANE_MM * STEP, 3.0)):
    return grid.las_affine(grid.ORIGIN_RAS_MM, spacing)


def refusal(mask, matrix=None):
    with pytest.raises(Refused) as caught:
        posture.require_upright(grid.las_image(mask.astype(np.uint8), matrix), "water image")
    return caught.value


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (np.s_[:, ::-1, :], "front and back are exchanged"),
        (np.s_[:, :, ::-1], "head and feet are exchanged"),
        (np.s_[:, ::-1, ::-1], "head and feet, and front and back are exchanged"),
    ],
)
def test_a_body_that_is_turned_is_said(turn, said):
    found = refusal(body()[turn], affine())
    assert found.verdict == Verdict.IMAGE_TURNED
    assert said in found.message


def test_a_body_in_its_place_passes_whole_or_cut():
    posture.require_upright(grid.las_image(body().astype(np.uint8), affine()))
    for low, high in ((0, 200), (120, 370), (100, 260)):
        matrix = affine()
        matrix[2, 3] += 3.0 * low
        posture.require_upright(grid.las_image(body()[:, :, low:high].astype(np.uint8), matrix))


@pytest.mark.parametrize("shift", [(0, 0, 200), (0, 0, 1041), (150, 0, 0), (-250, 192, 0)])
def test_another_origin_is_said_with_both(shift):
    matrix = affine()
    matrix[:3, 3] += shift
    found = refusal(body(), matrix)
    assert found.verdict == Verdict.IMAGE_OTHER_SPACE
    assert "lie outside the stitched grid" in found.message
    assert "250.0, -192.0, -1041.0" in found.message
    assert f"{matrix[2, 3]:.1f}" in found.message


@pytest.mark.reference
def test_public_bodies_are_in_their_place_and_turned_ones_are_noticed(reference):
    paths = sorted((reference / "atlas").glob("*/mask.body.nii.gz"))[:6]
    for path in paths:
        image = nib.load(path)
        mask = np.asarray(image.dataobj)
        posture.require_upright(grid.las_image(mask, image.affine))
        assert "front and back" in refusal(mask[:, ::-1], image.affine).message
        assert "head and feet" in refusal(mask[:, :, ::-1], image.affine).message


# -- values ----------------------------------------------------------------------------


def noise(high=300):
    return np.random.default_rng(0).integers(0, high, (20, 20, 20)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a - 1024, "values from -1024 to"),
        (lambda a: np.where(a > 250, np.nan, a), "not finite"),
        (lambda a: (a > 150) * 1.0, "expected an image, no mask"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 5, 1e6, a), "highest values"),
    ],
)
def test_values_that_are_no_image_are_said(change, said):
    with pytest.raises(Refused) as caught:
        images._scale({"fat image": change(noise()).astype(np.float32)})
    assert caught.value.verdict == Verdict.IMAGE_VALUES
    assert "fat image" in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize("factor", [1, 1e-6, 1e6])
def test_any_scale_of_an_image_is_taken(factor):
    scale = images._scale({"water image": noise() * np.float32(factor)})
    assert 100 <= 300 * factor * scale <= 32_000
    images._scale({"water image": noise() - 5})  # as spline interpolation undershoots


def test_complex_values_are_said(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.complex64), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(Refused, match="one real number a voxel, found complex64"):
        images.load(tmp_path / "a.nii", "water image")


# -- masks -----------------------------------------------------------------------------

SHAPE = (112, 87, 123)
SPACING = (grid.IN_PLANE_MM * 2, grid.IN_PLANE_MM * 2, 9.0)
AFFINE = grid.las_affine(grid.ORIGIN_RAS_MM, SPACING)


def muscles():
    """From the spine outward and forward, then back to the thigh: 1 = left, 2 = right."""
    labels = np.zeros(SHAPE, np.uint8)
    for number, z in enumerate(range(40, 74)):
        share = number / 33  # of the height, from the thigh
        out = round(20 - 14 * share)
        front = round(38 + 8 * min(1, 4 * share) - 14 * max(0, share - 0.25))
        for label, side in ((grid.LEFT, 1), (grid.RIGHT, -1)):
            centre = 56 + side * out
            labels[centre - 3 : centre + 4, front - 3 : front + 4, z] = label
    return labels


def save(path, labels, matrix=AFFINE):
    files.write_nifti(path, grid.las_image(labels, matrix))
    return path


def reference_image():
    return grid.las_image(np.zeros(SHAPE, np.int16), AFFINE)


TURNED = [
    (np.s_[:, ::-1, :], ["front and back exchanged"]),
    (np.s_[:, :, ::-1], ["head and feet exchanged"]),
    (np.s_[:, ::-1, ::-1], ["head and feet exchanged", "front and back exchanged"]),
]


@pytest.mark.parametrize(("turn", "said"), TURNED)
def test_a_manual_mask_that_is_turned_is_said(turn, said, tmp_path):
    path = save(tmp_path / "mask.nii.gz", muscles()[turn])
    with pytest.raises(Refused) as caught:
        annotations.read(path, reference_image(), np.ones(SHAPE, bool))
    assert caught.value.verdict == Verdict.ANNOTATION_OTHER_SPACE
    assert all(words in caught.value.message for words in said)


@pytest.mark.parametrize(("turn", "said"), TURNED)
def test_another_tool_s_mask_that_is_turned_is_said(turn, said, tmp_path):
    path = save(tmp_path / "mask.nii.gz", muscles()[turn])
    with pytest.raises(Refused) as caught:
        other_tools.read(
            {"left": path, "right": path}, {"left": [1], "right": [2]}, reference_image(), "tool"
        )
    assert caught.value.verdict == Verdict.MASK_OTHER_SPACE
    assert all(words in caught.value.message for words in said)


def test_a_mask_in_its_place_passes_whole_or_in_part(tmp_path):
    whole = muscles()
    for low, high in ((0, 123), (40, 56), (56, 74), (46, 66)):
        part = np.zeros_like(whole)
        part[:, :, low:high] = whole[:, :, low:high]
        sides = {side: part == label for side, label in grid.SIDES.items()}
        assert label_images.turned(sides, SPACING) is None, (low, high)
    path = save(tmp_path / "mask.nii.gz", whole)
    np.testing.assert_array_equal(
        annotations.read(path, reference_image(), np.ones(SHAPE, bool)), whole
    )


def test_a_mask_outside_the_grid_is_said_with_its_place(tmp_path):
    matrix = AFFINE.copy()
    matrix[2, 3] += 1041
    path = save(tmp_path / "mask.nii.gz", muscles(), matrix)
    with pytest.raises(Refused, match=r"z, to the head: 3\d\d to 6\d\d mm, volume -1046 to 62 mm"):
        annotations.read(path, reference_image(), np.ones(SHAPE, bool))


def test_a_side_s_own_file_with_other_labels_only_is_refused(tmp_path):
    """Per-side masks hold label 1: with label 2 asked, the right muscle would just be missing."""
    whole = muscles()
    paths = {
        side: save(tmp_path / f"{side}.nii.gz", (whole == label).astype(np.uint8))
        for side, label in grid.SIDES.items()
    }
    with pytest.raises(Refused, match=r"\(right\): expected label \[2\], found \[1\]") as caught:
        other_tools.read(paths, {"left": [1], "right": [2]}, reference_image(), "tool")
    assert caught.value.verdict == Verdict.MASK_EMPTY
    labels, _ = other_tools.read(paths, {"left": [1], "right": [1]}, reference_image(), "tool")
    np.testing.assert_array_equal(labels, whole)


# -- the command line ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "said"),
    [("1.75", "centimetres from 100 to 250, found 1.75"), ("17", "100 to 250"), ("x", "x")],
)
def test_a_height_that_is_no_height_in_centimetres_is_refused(height, said, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["measure", "scan.zip", "-o", "out", "--height", height])
    assert stop.value.code == cli.USAGE
    assert said in capsys.readouterr().err
