"""Noise with and without air, the edge of the field of view."""

import numpy as np
import pytest

from iliopsoas.dixon import quality


def disc(shape=(112, 96, 24), radius=40, level=600.0, noise=12.0, seed=0):
    rng = np.random.default_rng(seed)
    x, y, _ = np.ogrid[: shape[0], : shape[1], :1]
    mask = np.broadcast_to((y - 48) ** 2 + (x - 56) ** 2 < radius**2, shape).copy()
    drawn = rng.normal(0, noise, (2, *shape))
    return np.hypot(level * mask + drawn[0], drawn[1]).astype(np.float32), mask


@pytest.mark.parametrize("noise", [6.0, 12.0, 40.0])
def test_noise_is_read_from_air(noise):
    signal, mask = disc(noise=noise)
    ratio, source = quality.signal_to_noise(signal, mask)
    assert source == "air"
    assert ratio == pytest.approx(600 / noise, rel=0.1)


@pytest.mark.parametrize("noise", [6.0, 12.0, 40.0])
def test_where_air_is_set_to_zero_noise_is_read_from_tissue(noise):
    signal, mask = disc(noise=noise)
    ratio, source = quality.signal_to_noise(np.where(mask, signal, 0), mask)
    assert source == "tissue"
    assert ratio == pytest.approx(600 / noise, rel=0.15)


def test_a_few_voxels_of_noise_in_masked_air_do_not_make_a_clean_scan():
    signal, mask = disc(noise=40.0)
    keep = np.random.default_rng(1).random(mask.shape) < 0.002
    ratio, source = quality.signal_to_noise(np.where(mask | keep, signal, 0), mask)
    assert source == "tissue"
    assert ratio < 20


def test_structure_in_tissue_does_not_pass_for_noise():
    signal, mask = disc(noise=12.0)
    x = np.arange(mask.shape[0])
    streaks = 300.0 * ((x % 32) < 2)[:, None, None]
    ratio, _ = quality.signal_to_noise(np.where(mask, signal + streaks, 0), mask)
    assert ratio > 25


def test_a_body_inside_the_field_of_view_is_not_cut():
    _, mask = disc()
    assert set(quality.outline_cut(mask).values()) == {0.0}


def test_the_side_that_is_cut_is_named_with_its_share():
    _, mask = disc()
    cut = quality.outline_cut(mask[40:])
    assert cut["right"] > 15
    assert cut["left"] == cut["front"] == cut["back"] == 0
