"""Figure S1 shows the boxes where the crops are."""

import numpy as np
import pytest

from iliopsoas import crops
from iliopsoas.figures.crops import draw_crop_boxes
from iliopsoas.status import Refused, Verdict

LANDMARKS = {"1": [27, 82, 351], "2": [192, 78, 346], "11": [60, 77, 158], "12": [142, 78, 161]}
SHAPE = (224, 174, 370)


def test_boxes_lie_where_the_crops_are():
    water = np.random.default_rng(0).integers(0, 500, SHAPE, dtype=np.int16)
    drawing = draw_crop_boxes(water, LANDMARKS)
    coronal = drawing.axes[0]
    boxes = {
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in coronal.patches
    }
    expected = set()
    for side in ("left", "right"):
        x, _, z = crops.box(LANDMARKS, side, SHAPE)
        top = SHAPE[2] - 1 - (z + 192 - 1) - 0.5  # rows run from the head
        expected.add((x - 0.5, top, 96.0, 192.0))
    assert boxes == expected
    assert len(drawing.axes[1].patches) == 1
    text = [item.get_text() for panel in drawing.axes for item in panel.texts]
    assert sorted(text) == ["L", "L", "R", "R"]  # the picture names nobody


def test_no_boxes_without_hips():
    with pytest.raises(Refused) as refused:
        draw_crop_boxes(np.zeros(SHAPE, np.int16), {"1": (27, 82, 351), "2": (192, 78, 346)})
    assert refused.value.verdict is Verdict.HIPS_NOT_FOUND
