"""What the starter network says of another network's masks, and what is made of it."""

import numpy as np
import pandas as pd
import pytest

from iliopsoas import grid
from iliopsoas.masks.opinion import OPINION, surface_distance
from iliopsoas.network.segmentation import post_process
from iliopsoas.network.segmentation.opinion import compare
from iliopsoas.qc import judge, opinion, quality, wrong_masks
from iliopsoas.statistics.uncertainty import weights
from iliopsoas.status import InputError

SHAPE = (96, 96, 192)


def block(x, height=60):
    mask = np.zeros(SHAPE, bool)
    mask[x : x + 20, 40:60, 50 : 50 + height] = True
    return mask


class Starter:
    """Draws what it is told to, and something else in the mirror image."""

    threshold = 0.4

    def __init__(self, drawn, mirrored):
        self.members = [drawn * 0.9, mirrored * 0.9]

    def predict(self, crops):
        return np.stack([np.stack([member] * len(crops)) for member in self.members])

    def finest(self, probability):
        return probability

    def mask(self, probability):
        return post_process(probability, self.threshold)


def test_distance_of_plates_is_the_gap_between_them():
    one, other = np.zeros((2, 30, 10, 10), bool)
    one[5], other[12] = True, True
    assert surface_distance(one, other, (2.0, 3.0, 4.0)) == pytest.approx(7 * 2.0)
    assert surface_distance(one, one) == 0
    assert np.isnan(surface_distance(one, np.zeros_like(one)))


def test_disagreement_is_told_by_side_and_a_mask_is_not_compared_with_itself():
    seen, mirror = block(30), block(32)
    crops = dict.fromkeys(grid.SIDES, np.zeros(SHAPE, np.float32))
    masks = {"left": block(35), "right": np.zeros(SHAPE, bool)}
    found = compare(Starter(seen, mirror), crops, masks)
    # both members together reach the threshold where either draws: 22 of 20 columns
    union = seen | mirror
    expected = 2 * (masks["left"] & union).sum() / (masks["left"].sum() + union.sum())
    assert found["left_second_dice"] == pytest.approx(expected)
    assert found["left_second_difference_ml"] == pytest.approx(-2 * 20 * 60 * grid.VOXEL_ML)
    assert found["left_mirror_dice"] == pytest.approx(18 / 20)
    assert found["right_second_dice"] is None  # a side without a mask has nothing to compare
    assert found["right_mirror_dice"] == found["left_mirror_dice"]
    own = compare(Starter(seen, mirror), crops, masks, own=True)
    assert own["left_second_dice"] is None
    assert own["left_mirror_dice"] == pytest.approx(18 / 20)


@pytest.mark.parametrize("kind", wrong_masks.WRONG)
def test_wrong_masks_are_wrong_in_their_way_and_repeatable(kind):
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    truth = ((x - 48) ** 2 + (y - 48) ** 2 < 15**2) & (abs(z - 96) < 60)
    crop = np.where(((x - 48) ** 2 + (y - 48) ** 2 < 30**2) & (z > 0), 0.5, 0.1).astype(np.float32)
    drawn = [wrong_masks.WRONG[kind](truth, crop, np.random.default_rng(n)) for n in (1, 2, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    for mask in drawn:
        both = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
        assert 0.03 < both < 0.999
        if kind == "near":
            assert both > 0.75
        if kind == "cut":
            assert np.ptp(np.flatnonzero(mask.any((0, 1)))) < 0.92 * 118
        if kind == "leaked":
            assert (mask & ~truth).sum() > 0


def people(number=8, seed=1):
    """A cohort with a second opinion; the masks that it disagrees with are bad."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"eid": [str(1000001 + n) for n in range(number)], "instance": "2"})
    table["status"], table["segment.network"] = "ok", "published"
    for side in grid.SIDES:
        table[f"{side}_ml"] = rng.uniform(200, 300, number)
        for name in OPINION:
            table[f"opinion.{side}_{name}"] = rng.uniform(0.5, 1, number)
    return table


def test_features_leave_out_whom_nobody_looked_at_and_manual_masks():
    table = people(4)
    table.loc[1, "segment.network"] = "manual"
    table.loc[2, [f"opinion.left_{name}" for name in OPINION]] = np.nan
    found = opinion.features(table)
    sides = list(zip(found["eid"], found["side"], strict=True))
    assert sides == [
        ("1000001", "left"),
        ("1000004", "left"),
        ("1000001", "right"),
        ("1000003", "right"),
        ("1000004", "right"),
    ]
    assert found["second_dice"][4] == table["opinion.right_second_dice"][3]
    assert opinion.features(table[["eid", "instance", "status", "left_ml", "right_ml"]]).empty


def synthetic_rows(seed=0):
    """Dice follows the second opinion's."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({name: rng.uniform(0.3, 1, 200) for name in opinion.FEATURES})
    rows["eid"] = np.repeat([f"body {n}" for n in range(10)], 20)
    rows["dice"] = rows["second_dice"]
    rows["manual_ml"], rows["automatic_ml"] = 250.0, 250.0 * rng.uniform(0.9, 1.1, 200)
    return rows


def test_what_synthetic_people_predict_is_said_and_raises_no_flag(monkeypatch):
    fitted = quality.fit(synthetic_rows(), features=opinion.FEATURES)
    monkeypatch.setattr(opinion, "model", lambda coverage: fitted)
    cohort, notes = people(), []
    cohort["opinion.left_second_dice"] = np.linspace(0.3, 0.95, len(cohort))
    sides, worst = judge._predicted(cohort, None, 0.95, notes)
    assert set(sides["learned_on"]) == {"synthetic"}
    assert any("synthetic people" in note for note in notes)
    left = sides[sides["side"] == "left"]
    assert left["predicted_dice"].corr(cohort["opinion.left_second_dice"], "spearman") > 0.9
    assert (worst["predicted_dice"] < 0.8).any()

    crops = dict.fromkeys(grid.SIDES, np.zeros(SHAPE, np.float32))
    for x, elsewhere in ((48, True), (31, False)):  # the starter draws the left muscle at 30
        starter = Starter(block(30), block(30))
        record = compare(starter, crops, {"left": block(x), "right": block(30)})
        judged = judge.judge_one({"left_ml": 250.0, "right_ml": 260.0}, {"opinion": record})
        assert (judged["quality"]["left"]["predicted_dice"] < 0.5) is elsewhere
        assert "predicted_quality" not in judged["qc_flags"]
        assert ("second_opinion" in judged["qc_flags"]) is elsewhere

    # intervals that nothing real was learned from weigh nobody
    table = cohort.assign(total_ml=cohort["left_ml"] + cohort["right_ml"], sex="female")
    assert weights(table, sides) is None
    assert weights(table, sides.assign(learned_on="annotated")) is not None


def test_the_packages_rows_are_of_its_starter_network():
    rows = opinion.kept_rows()
    opinion.check(rows)  # else: make starter-rows
    assert rows["eid"].nunique() >= quality.MIN_PEOPLE
    assert set(rows["mask"]) == {"starter", *wrong_masks.WRONG}
    assert set(opinion.FEATURES) <= set(rows.columns)
    own = rows["mask"] == "starter"
    assert rows.loc[own, "second_dice"].isna().all()


def test_rows_of_another_starter_network_are_refused():
    with pytest.raises(InputError, match="rows are of another starter network"):
        opinion.check(pd.DataFrame({"starter": ["0123456789ab"]}))
