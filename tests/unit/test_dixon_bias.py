"""Our separable N4 against ITK's, and against fields that were planted."""

import numpy as np
import pytest
import SimpleITK as sitk

from iliopsoas.dixon import bias


@pytest.fixture(scope="module")
def body():
    rng = np.random.default_rng(0)
    axes = [np.linspace(-1, 1, n) for n in (46, 36, 24)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.hypot(x / 0.8, y / 0.7)
    mask = radius < 1
    tissue = np.where(radius < 0.8, 300.0, 600.0)
    tissue = np.where(np.hypot(x - 0.2, y) < 0.25, 450.0, tissue)
    field = np.exp(0.25 * x + 0.2 * y**2 - 0.3 * z * x)
    image = np.abs(tissue * field * mask + rng.normal(0, 8, tissue.shape))
    return image, mask, field, tissue


def test_agrees_with_itk(body):
    image, mask, _, _ = body
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetBiasFieldFullWidthAtHalfMaximum(0.15)
    corrector.SetMaximumNumberOfIterations([10] * 4)
    source = sitk.GetImageFromArray(image.T.astype(np.float32))
    corrector.Execute(source, sitk.GetImageFromArray(mask.T.astype(np.uint8)))
    expected = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(source)).T
    mine = np.log(bias.estimate(image, mask, (1, 1, 1)).evaluate())
    assert np.ptp(expected[mask]) > 0.3  # there is a field to agree about
    np.testing.assert_allclose(mine, expected, atol=1e-3)


def test_sharpening_agrees_with_a_direct_sum():
    """E[u | v] of two narrow tissues blurred by the field's Gaussian: pulled to the tissues."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(5, 0.06, 40_000), rng.normal(6, 0.06, 40_000)])
    sharp = bias.sharpen(values)
    assert np.std(sharp[:40_000]) < 0.5 * np.std(values[:40_000])
    assert np.mean(sharp[:40_000]) == pytest.approx(5, abs=0.02)
    assert np.mean(sharp[40_000:]) == pytest.approx(6, abs=0.02)


def test_a_planted_field_is_removed(body):
    image, mask, field, tissue = body
    found = bias.estimate(image, mask, (1, 1, 1)).evaluate()
    inner = mask & (tissue == 300)
    before = np.std(np.log(field[inner]))
    after = np.std(np.log(field[inner] / found[inner]))
    assert after < 0.35 * before


def test_samples_give_nearly_the_field_of_all_voxels(body):
    image, mask, _, _ = body
    big = np.kron(image, np.ones((2, 2, 2)))
    inside = np.kron(mask, np.ones((2, 2, 2))) > 0
    rng = np.random.default_rng(2)
    big = np.abs(big + rng.normal(0, 8, big.shape))
    full = bias.estimate(big, inside, (1, 1, 1)).evaluate()
    sampled = bias.estimate(big, inside, (2, 2, 2)).evaluate()
    assert np.median(np.abs(sampled / full - 1)[inside]) < 0.01


def test_slices_can_be_evaluated_on_their_own(body):
    image, mask, _, _ = body
    field = bias.estimate(image, mask, (2, 2, 2))
    np.testing.assert_allclose(field.evaluate(7, 12), field.evaluate()[..., 7:12], rtol=1e-6)


def test_nothing_to_correct_leaves_a_flat_field():
    empty = bias.estimate(np.zeros((20, 20, 8)), np.zeros((20, 20, 8), bool), (1, 1, 1))
    np.testing.assert_array_equal(empty.evaluate(), 1)
    flat = bias.estimate(np.full((20, 20, 8), 7.0), np.ones((20, 20, 8), bool), (1, 1, 1))
    np.testing.assert_allclose(flat.evaluate(), 1, atol=1e-6)
