"""Evidence on a crop and on a mask's place in it: exact where arithmetic says what to expect."""

import numpy as np
import pytest
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.qc import evidence

SHAPE = (48, 40, 80)


@pytest.fixture(scope="module")
def crop():
    """A body with soft structures and a little noise."""
    rng = np.random.default_rng(3)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, SHAPE), 3)
    x, y, _ = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    body = ((x - 24) / 22) ** 2 + ((y - 20) / 18) ** 2 < 1
    water = body * (300 + 60 * texture / texture.std()) + rng.normal(0, 4, SHAPE)
    return np.abs(water).astype(np.float32)


def test_a_crops_evidence_does_not_depend_on_its_scale(crop):
    found = evidence.crop_evidence(crop)
    assert set(found) == set(evidence.CROP_EVIDENCE)
    assert found == pytest.approx(evidence.crop_evidence(crop * 0.0013), rel=1e-4)
    assert found["crop_empty_percent"] == 0


def test_each_fault_moves_its_own_number(crop):
    sound = evidence.crop_evidence(crop)
    lost = crop.copy()
    lost[..., 20:44] = 0
    lost = evidence.crop_evidence(lost)
    assert lost["crop_empty_percent"] == pytest.approx(100 * 24 / 80)
    assert lost["crop_step_percent"] > 80
    rng = np.random.default_rng(4)
    noisy = np.abs(crop + rng.normal(0, 60, SHAPE))
    assert evidence.crop_evidence(noisy)["crop_noise_percent"] > 3 * sound["crop_noise_percent"]
    blurred = ndimage.gaussian_filter(crop, (2, 2, 0))
    assert evidence.crop_evidence(blurred)["crop_sharpness"] < 0.7 * sound["crop_sharpness"]
    brighter = crop.copy()
    brighter[..., 40:] *= 2
    step = evidence.crop_evidence(brighter)["crop_step_percent"]
    assert step > 5 * sound["crop_step_percent"]


def test_a_crop_without_signal_has_no_evidence():
    found = evidence.crop_evidence(np.zeros(SHAPE))
    assert set(found.values()) == {None}


@pytest.mark.parametrize("side", ["left", "right"])
def test_place_is_counted_from_the_crops_own_corner(side, crop):
    """The same muscle in a crop of its own and in a volume: the same numbers, also mirrored."""
    mask = np.zeros(SHAPE, np.uint8)
    part = slice(5, 11) if side == "left" else slice(SHAPE[0] - 11, SHAPE[0] - 5)
    mask[part, 10:20, 12:50] = grid.SIDES[side]
    mask[part, 8:20, 40] = grid.SIDES[side]
    box = {side: ((0, 0, 0), SHAPE)}
    alone = evidence.gather(mask, grid.las_affine(), water=crop, boxes=box)
    assert alone[f"{side}_lowest_level"] == 12
    assert alone[f"{side}_highest_level"] == 49
    assert alone[f"{side}_from_midline_voxels"] == pytest.approx(7.5)
    assert alone[f"{side}_widest_share"] == pytest.approx(28 / 37)

    volume = np.zeros((90, 60, 100), np.uint8)
    water = np.zeros(volume.shape, np.float32)
    low = (-5, 7, 13)  # the crop reaches beyond the volume
    inside = tuple(slice(max(a, 0), a + n) for a, n in zip(low, SHAPE, strict=True))
    volume[inside], water[inside] = mask[5:], crop[5:]
    high = tuple(a + n for a, n in zip(low, SHAPE, strict=True))
    placed = evidence.gather(volume, grid.las_affine(), water=water, boxes={side: (low, high)})
    for name in ("lowest_level", "highest_level", "from_midline_voxels", "from_back_voxels"):
        assert placed[f"{side}_{name}"] == pytest.approx(alone[f"{side}_{name}"])
    cut = np.where(np.arange(SHAPE[0])[:, None, None] < 5, 0, crop)
    expected = evidence.crop_evidence(cut)
    for name in evidence.CROP_EVIDENCE:
        assert placed[f"{side}_{name}"] == pytest.approx(expected[name], rel=1e-4)
