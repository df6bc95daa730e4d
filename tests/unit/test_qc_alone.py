"""Quality flags of one participant without a cohort."""

import numpy as np
import pytest

from iliopsoas import grid
from iliopsoas.masks import volumes
from iliopsoas.qc import evidence
from iliopsoas.qc.judge import judge_one
from iliopsoas.status import InputError

AFFINE = grid.las_affine()


def spindle(shape=(120, 60, 80), left_z=(10, 70), right_z=(10, 70)):
    """One tapering muscle per side, each of a few hundred ml."""
    mask = np.zeros(shape, np.uint8)
    x, y = np.ogrid[: shape[0], : shape[1]]
    for label, centre, (low, high) in ((grid.LEFT, 90, left_z), (grid.RIGHT, 30, right_z)):
        for z in range(low, high):
            radius = 16 * np.sqrt(max(np.sin(np.pi * (z - low + 0.5) / (high - low)), 0))
            mask[:, :, z][(x - centre) ** 2 + (y - 30) ** 2 < radius**2] = label
    return mask


def judged(mask, records=None, limits=None):
    water = np.full(mask.shape, 100, np.int16)
    landmarks = {"11": (30, 30, 10), "12": (90, 30, 10)}
    found = evidence.gather(mask, AFFINE, water, np.ones_like(mask), landmarks, boxes={})
    measures = volumes.measure(mask, AFFINE, water, water // 20)
    return judge_one(measures, {"volumes": found} | (records or {}), limits)


def test_a_plausible_participant_passes():
    result = judged(spindle())
    assert result["qc_verdict"] == "pass"
    assert result["flags"] == []
    assert result["qc_flags"] == ""


def test_checks_that_need_others_are_named_and_not_raised():
    result = judged(spindle())
    assert {"volume_outlier", "asymmetry_outlier", "visits_disagree", "swap_uncertain"} <= set(
        result["not_evaluated"]
    )
    assert "asymmetry_large" not in result["not_evaluated"]


def test_a_mask_across_the_midline_is_serious():
    mask = spindle()
    mask[20:40, 26:34, 30:40] = grid.LEFT
    result = judged(mask)
    assert result["qc_verdict"] == "serious"
    names = [flag["flag"] for flag in result["flags"]]
    assert {"across_midline", "in_pieces"} <= set(names)
    assert names == result["qc_flags"].split(",")
    crossing = next(flag for flag in result["flags"] if flag["flag"] == "across_midline")
    left = mask == grid.LEFT
    expected = 100 * left[:60].sum() / left.sum()
    assert crossing["value"] == pytest.approx(expected)
    assert f"{expected:.1f} %" in crossing["reading"]


def test_a_side_without_volume_is_serious():
    mask = spindle()
    mask[mask == grid.RIGHT] = 0
    result = judged(mask)
    assert result["qc_verdict"] == "serious"
    assert "side_missing" in result["qc_flags"]


def test_the_stages_records_count():
    result = judged(spindle(), {"dixon": {"swaps_corrected": [4, "5left"], "swap_confidence": 0.4}})
    values = {flag["flag"]: flag["value"] for flag in result["flags"]}
    assert values == {"swaps_corrected": 2, "swap_uncertain": 0.4}
    assert result["qc_verdict"] == "review"
    note = judged(spindle(), {"dixon": {"swaps_corrected": [4], "swap_confidence": 3.0}})
    assert note["qc_verdict"] == "note"


def test_limits_are_the_configuration_s():
    assert judged(spindle(), limits={"max_volume_ml": 100})["qc_flags"] == "volume_high"
    with pytest.raises(InputError, match="max_volume"):
        judged(spindle(), limits={"max_volume": 100})
