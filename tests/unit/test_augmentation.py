"""Augmentation against SciPy's interpolation and the paper's ranges."""

import numpy as np
import pytest
from scipy import ndimage

from iliopsoas.network import augmentation
from iliopsoas.network.augmentation import Transform, apply, draw

SHAPE = (12, 14, 20)


def crop(seed=0):
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(rng.random(SHAPE), 1).astype("float32")
    return image, (image > np.median(image)).astype("uint8")


def one(transform, image, label):
    images, labels = apply(image[None], label[None], [transform])
    return np.asarray(images)[0, ..., 0], np.asarray(labels)[0, ..., 0]


def test_identity_and_mirror_are_exact():
    image, label = crop()
    same, same_label = one(Transform(), image, label)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(same_label, label)
    mirrored, mirrored_label = one(Transform(mirrored=True), image, label)
    np.testing.assert_array_equal(mirrored, image[::-1])
    np.testing.assert_array_equal(mirrored_label, label[::-1])


@pytest.mark.parametrize("mirrored", [False, True])
def test_agrees_with_scipy(mirrored):
    image, label = crop()
    shift, scale = np.array([1.3, -2.25, 3.5]), np.array([1.2, 1.2, 0.6])
    found, _ = one(Transform(mirrored, tuple(shift), tuple(scale)), image, label)
    centre = (np.array(SHAPE) - 1) / 2
    expected = ndimage.affine_transform(
        (image[::-1] if mirrored else image).astype(float),
        1 / scale,
        offset=centre - (centre + shift) / scale,
        order=1,
        mode="grid-constant",
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_content_moves_and_grows_as_named():
    image = np.zeros(SHAPE, "float32")
    image[6, 7, 10] = 1
    moved, _ = one(Transform(shift=(2.0, -3.0, 4.0)), image, image)
    assert np.argwhere(moved == 1).tolist() == [[8, 4, 14]]
    block = np.zeros((12, 12, 20), "float32")
    block[4:8, 4:8, 8:12] = 1
    _, grown = one(Transform(scale=(1.0, 1.0, 2.0)), block, block)
    assert grown.sum() == pytest.approx(2 * block.sum(), rel=0.1)


def test_labels_stay_binary_and_shares_stay_shares():
    image, label = crop()
    transform = Transform(shift=(0.4, 0.3, 0.2), scale=(1.1, 1.1, 0.9))
    _, binary = one(transform, image, label)
    assert set(np.unique(binary)) <= {0.0, 1.0}
    _, shares = one(transform, image, label * 0.25)
    assert len(np.unique(shares)) > 10
    assert shares.max() <= 0.25


def test_the_papers_sixteen_samples():
    samples = [draw(3, sample, seed=1) for sample in range(16)]
    assert [s.mirrored for s in samples] == [False] * 8 + [True] * 8
    assert samples[0] == Transform()
    assert samples[8] == Transform(mirrored=True)
    assert len(set(samples)) == 16


def test_ranges_are_the_papers():
    drawn = [draw(m, s, seed=5) for m in range(60) for s in range(16) if s % 8]
    shift = np.abs([t.shift for t in drawn]).max(axis=0)
    scale = np.array([t.scale for t in drawn])
    assert (shift <= [6, 6, 24]).all()
    assert (shift >= [5.8, 5.8, 23]).all()
    np.testing.assert_array_equal(scale[:, 0], scale[:, 1])
    assert (scale.min(axis=0) >= [0.75, 0.75, 0.5]).all()
    assert (scale.min(axis=0) <= [0.76, 0.76, 0.52]).all()
    assert (scale.max(axis=0) <= [1.25, 1.25, 1.5]).all()
    assert (scale.max(axis=0) >= [1.24, 1.24, 1.48]).all()
    coarse = np.abs([draw(m, 1, seed=5, coarsen=2).shift for m in range(300)]).max(axis=0)
    assert (coarse <= [3, 3, 12]).all()
    weak = [draw(m, 1, seed=5, strength=0.5) for m in range(300)]
    assert (np.abs([t.shift for t in weak]).max(axis=0) <= [3, 3, 12]).all()
    assert (
        np.abs(np.subtract([t.scale for t in weak], 1)).max(axis=0) <= [0.125, 0.125, 0.25]
    ).all()


def test_draws_depend_on_their_names_alone():
    assert draw(2, 5, seed=7) == draw(2, 5, seed=7)
    others = [draw(3, 5, 7), draw(2, 6, 7), draw(2, 5, 8), draw(2, 5, 7, round_=1)]
    assert draw(2, 5, seed=7) not in others


def test_on_the_fly_every_epoch_differs_and_mirrors():
    drawn = [draw(0, 0, seed=1, round_=epoch, samples=1) for epoch in range(1, 40)]
    assert len(set(drawn)) == len(drawn)
    assert {t.mirrored for t in drawn} == {False, True}


def test_a_batch_has_a_transform_each():
    (a, la), (b, lb) = crop(1), crop(2)
    transforms = [Transform(mirrored=True), Transform(shift=(1.0, 0.0, 0.0))]
    images, labels = apply(np.stack([a, b]), np.stack([la, lb]), transforms)
    assert images.shape == (2, *SHAPE, 1)
    np.testing.assert_array_equal(np.asarray(images)[0, ..., 0], a[::-1])
    np.testing.assert_array_equal(np.asarray(labels)[1, 1:, ..., 0], lb[:-1])
    assert augmentation.SAMPLES_PER_MUSCLE * 2 * 90 == 2880
