"""Masks, the segmenter and the pipeline, with networks that are plain functions."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.crops import CropReader, Crops, CropWriter, box
from iliopsoas.network import segmentation
from iliopsoas.network.segmentation import Segmenter, Subject, dice, post_process, segment_many
from iliopsoas.status import InputError, Refused, Verdict

LANDMARKS = {"1": (60, 80, 350), "2": (170, 80, 350), "11": (70, 80, 160), "12": (150, 80, 160)}


class Model:
    """Stands in for a network: probability = brightness; counts and may fail."""

    def __init__(self, largest=100, offset=0.0, error="OOM when allocating tensor"):
        self.largest, self.offset, self.error, self.batches = largest, offset, error, []

    def predict_on_batch(self, batch):
        self.batches.append(len(batch))
        if len(batch) > self.largest:
            raise RuntimeError(f"RESOURCE_EXHAUSTED: {self.error}")
        return np.clip(batch + self.offset, 0, 1)


def crop(value=0.9, size=20):
    """A box of `value` near the crop's middle, a loose piece, a hole in the box."""
    image = np.full((96, 96, 192), 0.1, "float32")
    image[30 : 30 + size, 40 : 40 + size, 80 : 80 + size] = value
    image[35, 45, 85] = 0.1  # a hole
    image[5:7, 5:7, 5:7] = value  # a loose piece
    return image


def subject(**options):
    crops = {"left": crop(**options), "right": crop(**options)[::-1].copy()}
    return Subject(crops, LANDMARKS)


@pytest.mark.parametrize("seed", range(4))
def test_post_processing_is_the_published_one(seed):
    rng = np.random.default_rng(seed)
    probability = ndimage.gaussian_filter(rng.random((30, 28, 40)), 1.2)
    threshold = np.quantile(probability, 0.55)
    found = post_process(probability, threshold)
    six = ndimage.generate_binary_structure(3, 1)
    filled = ndimage.binary_fill_holes(probability >= threshold, structure=six)
    labels, n = ndimage.label(filled)
    sizes = np.bincount(labels.ravel())[1:]
    np.testing.assert_array_equal(found.mask, labels == 1 + sizes.argmax())
    assert n > 1
    assert found.components_removed == n - 1
    assert found.removed_voxels == filled.sum() - sizes.max()
    assert found.filled_voxels == filled.sum() - (probability >= threshold).sum()


def test_hole_with_a_diagonal_way_out_is_filled_at_six_neighbours():
    shell = np.zeros((7, 7, 7))
    shell[1:6, 1:6, 1:6] = 1
    shell[3, 3, 3] = 0
    shell[1, 1, 1] = 0
    assert post_process(shell).mask[3, 3, 3]
    shell[3, 3, 1:4] = 0  # a straight way out
    assert not post_process(shell).mask[3, 3, 3]


def test_threshold_includes_its_own_value_and_nothing_may_be_found():
    assert post_process(np.full((3, 3, 3), 0.5)).mask.all()
    nothing = post_process(np.zeros((3, 3, 3)))
    assert not nothing.mask.any()
    assert nothing.components_removed == 0


def test_a_part_that_fat_parts_from_the_rest_is_kept_from_the_share_asked_for():
    probability = np.zeros((20, 20, 20))
    probability[2:8, 2:8, 2:8] = 1  # 216 voxels
    probability[10:14, 10:14, 10:14] = 1  # 64
    probability[17, 17, 17] = 1
    published = post_process(probability)
    assert published.mask.sum() == 216
    assert (published.components_removed, published.removed_voxels) == (2, 65)
    kept = post_process(probability, least_piece=0.2)
    assert kept.mask.sum() == 280
    assert (kept.components_removed, kept.removed_voxels) == (1, 1)
    probability[10:16, 10:16, 10:16] = 1  # as large: the published way keeps one of the two
    assert post_process(probability).mask.sum() == 216


def test_subject_gets_both_labels_where_the_muscles_are():
    result = segmentation.segment_subject(Segmenter([Model()]), subject())
    mask = result.mask
    assert mask.shape == grid.SHAPE
    assert mask.dtype == np.uint8
    # centre x = 110; y from 39; z from 160 - ((350 + 160) // 2) // 4 = 97
    left = np.argwhere(mask == grid.LEFT)
    assert left.min(axis=0).tolist() == [140, 79, 177]
    assert len(left) == 8000  # the hole filled, the loose piece gone
    right = np.argwhere(mask == grid.RIGHT)
    assert right.max(axis=0)[0] == 110 - 1 - 30
    record = result.record
    assert record["left_components_removed"] == 1
    assert record["left_removed_percent"] == pytest.approx(0.1)
    assert record["right_filled_voxels"] == 1
    assert record["left_border_voxels"] == 0
    assert record["threshold"] == 0.5
    assert record["mean_probability"] == pytest.approx(0.9, abs=1e-3)
    assert "sd_ml_left" not in record
    assert result.percent is None


def test_mask_on_the_crops_face_is_counted():
    image = crop()
    image[:, 40:60, 80:100] = 0.9
    result = segmentation.segment_subject(
        Segmenter([Model()]), Subject({"left": image, "right": crop()}, LANDMARKS)
    )
    assert result.record["left_border_voxels"] == 2 * 20 * 20


def test_ensemble_and_flip_give_a_standard_deviation():
    models = [Model(), Model(offset=-0.5)]  # the second sees nothing of 0.9
    segmenter = Segmenter(models, flip=True, threshold=0.5)
    assert segmenter.members == 4
    result = segmentation.segment_subject(segmenter, subject(), voxel_ml=0.01)
    assert result.record["mean_probability"] == pytest.approx(0.65, abs=1e-3)
    assert result.record["sd_ml_left"] == pytest.approx(np.std([80, 80, 0, 0], ddof=1))
    assert [len(model.batches) for model in models] == [2, 2]


def test_flip_mirrors_and_mirrors_back():
    class Ramp(Model):
        def predict_on_batch(self, batch):
            ramp = np.linspace(0, 1, batch.shape[1])[None, :, None, None, None]
            return batch * 0 + ramp

    found = Segmenter([Ramp()], flip=True).predict([crop()])
    np.testing.assert_allclose(found[0][0, ::-1], found[1][0])
    image = np.random.default_rng(0).random((1, 96, 96, 192)).astype("float32")
    both = Segmenter([Model()], flip=True).predict(image)
    np.testing.assert_array_equal(both[0], both[1])
    np.testing.assert_array_equal(both[0], image)


def test_coarse_networks_come_back_to_full_resolution():
    segmenter = Segmenter([Model()], factor=2)
    image = crop(size=40)
    predicted = segmenter.predict([image])
    assert predicted.shape == (1, 1, 48, 48, 96)
    fine = segmenter.finest(predicted[0, 0])
    assert fine.shape == (96, 96, 192)
    assert dice(fine >= 0.5, image >= 0.5) > 0.99
    grown = np.argwhere(post_process(fine).mask)
    np.testing.assert_array_equal(grown.min(axis=0), [30, 40, 80])
    np.testing.assert_array_equal(grown.max(axis=0), [69, 79, 119])


def test_coarse_round_shapes_keep_their_volume():
    x, y, z = np.ogrid[:96, :96, :192]
    ball = ((x - 48.3) ** 2 + (y - 47.6) ** 2 + ((z - 95.2) / 2) ** 2 < 9**2).astype("float32")
    for factor, limit in ((2, 0.01), (3, 0.02)):
        segmenter = Segmenter([Model()], factor=factor)
        fine = segmenter.finest(segmenter.predict([ball])[0, 0])
        assert np.count_nonzero(fine >= 0.5) == pytest.approx(ball.sum(), rel=limit)


def test_out_of_memory_takes_smaller_batches_then_says_so():
    model = Model(largest=1)
    segmenter = Segmenter([model], batch_size=4)
    found = segmenter.predict([crop()] * 3)
    assert found.shape == (1, 3, 96, 96, 192)
    assert segmenter.batch_size == 1
    assert model.batches == [3, 2, 1, 1, 1]
    with pytest.raises(Refused, match="does not fit the memory") as refusal:
        Segmenter([Model(largest=0)], batch_size=2).predict([crop()])
    assert refusal.value.verdict == Verdict.OUT_OF_MEMORY
    with pytest.raises(RuntimeError, match="RESOURCE"):  # whatever else is not hidden
        raise_other()


def raise_other():
    class Broken(Model):
        def predict_on_batch(self, batch):
            raise RuntimeError("a bug near RESOURCE handling")

    Segmenter([Broken()]).predict([crop()])


def test_one_empty_side_is_recorded_two_are_refused():
    dark = np.zeros((96, 96, 192), "float32")
    segmenter = Segmenter([Model()])
    one = Subject({"left": crop(), "right": dark}, LANDMARKS)
    result = segmentation.segment_subject(segmenter, one)
    assert result.record["empty_sides"] == "right"
    assert set(np.unique(result.mask)) == {0, 1}
    with pytest.raises(Refused) as refusal:
        segmentation.segment_subject(segmenter, Subject(dict.fromkeys(grid.SIDES, dark), LANDMARKS))
    assert refusal.value.verdict == Verdict.SEGMENTATION_EMPTY


def test_output_that_is_not_finite_is_refused():
    with pytest.raises(Refused, match="not finite"):
        Segmenter([Model(offset=np.nan)]).predict([crop()])


def test_probabilities_can_be_kept():
    result = segmentation.segment_subject(Segmenter([Model()]), subject(), keep=True)
    assert result.percent[150, 90, 190] == 90
    assert result.percent[0, 0, 0] == 0


def test_one_bad_participant_stops_no_other():
    def read(name):
        if name == "no crop":
            raise Refused(Verdict.CROP_EMPTY, "nothing there")
        if name == "bug":
            raise KeyError("bug")
        if name == "odd":
            return Subject({"left": crop()[:50], "right": crop()}, LANDMARKS)
        return subject()

    def write(name, result):
        if name == "no disk":
            raise OSError(28, "No space left on device")
        return int((result.mask == grid.LEFT).sum())

    names = ["a", "no crop", "b", "odd", "bug", "no disk", "c"]
    found = list(segment_many(Segmenter([Model()]), names, read, write))
    assert [name for name, _ in found] == names
    results = dict(found)
    assert results["a"] == results["b"] == results["c"] == 8000
    assert results["no crop"].verdict == Verdict.CROP_EMPTY
    assert isinstance(results["bug"], KeyError)
    assert isinstance(results["odd"], ValueError)
    assert isinstance(results["no disk"], OSError)


def test_reading_runs_ahead_but_not_away():
    read_so_far = []

    def read(name):
        read_so_far.append(name)
        return subject()

    results = segment_many(Segmenter([Model()]), range(30), read, lambda n, r: n)
    assert next(results)[0] == 0
    time.sleep(0.2)
    assert 1 < len(read_so_far) <= 4
    results.close()


def test_reading_network_and_writing_have_threads_of_their_own():
    threads = SimpleNamespace(read=set(), network=set(), write=set())

    class Watched(Model):
        def predict_on_batch(self, batch):
            threads.network.add(threading.get_ident())
            return super().predict_on_batch(batch)

    def read(name):
        threads.read.add(threading.get_ident())
        return subject()

    def write(name, result):
        threads.write.add(threading.get_ident())

    list(segment_many(Segmenter([Watched()]), range(4), read, write))
    assert threads.network == {threading.get_ident()}
    assert not threads.read & threads.write
    assert not (threads.read | threads.write) & threads.network


def test_evaluate_compares_with_the_annotation():
    label = post_process(crop()).mask
    reader = SimpleNamespace(
        read=lambda name, side, normalisation: crop(),
        read_label=lambda name, side: label.astype("uint8") if side == "left" else label * 0,
        label_voxels=lambda name, side: 8000 if side == "left" else 0,
        within=lambda name, side: np.ones(label.shape, bool),
    )
    rows = segmentation.evaluate(Segmenter([Model()]), reader, ["1000001_2"], 3, voxel_ml=0.5)
    assert list(rows.columns) == [
        "fold",
        "eid",
        "instance",
        "side",
        "dice",
        "automatic_ml",
        "manual_ml",
        "outside_crop_ml",
    ]
    assert rows["dice"].tolist() == [1.0, 0.0]
    assert rows["automatic_ml"].tolist() == [4000.0, 4000.0]
    assert rows["manual_ml"].tolist() == [4000.0, 0.0]


@pytest.mark.parametrize("hip_z", [160, 40])
def test_validation_counts_the_whole_muscle_and_not_the_crops_part(tmp_path, hip_z):
    """Dice and volumes are those of two label maps, of which the crop shows a part."""
    joints = {key: (x, y, hip_z if z == 160 else z) for key, (x, y, z) in LANDMARKS.items()}
    rng = np.random.default_rng(1)
    truth = np.zeros(grid.SHAPE, np.uint8)
    truth[95:140, 60:90, max(hip_z - 70, 0) : hip_z + 100] = grid.LEFT  # 15 voxels too far right
    truth[60:95, 60:90, hip_z : hip_z + 150] = grid.RIGHT
    water = np.where(truth > 0, 900, 100).astype(np.int16)
    water += rng.integers(0, 20, grid.SHAPE, dtype=np.int16)
    with CropWriter(tmp_path / "crops.h5") as writer:
        writer.add("1000001_2", Crops.of(water, joints, truth))
    reader = CropReader(tmp_path / "crops.h5")
    segmenter = Segmenter([Model()])
    rows = segmentation.evaluate(segmenter, reader, ["1000001_2"], 1).set_index("side")
    cut = {side: reader.read("1000001_2", side) for side in grid.SIDES}
    placed = segmentation.segment_subject(segmenter, Subject(cut, joints)).mask
    for side, label in grid.SIDES.items():
        whole, found = truth == label, placed == label
        assert rows.loc[side, "dice"] == pytest.approx(dice(found, whole))
        assert rows.loc[side, "manual_ml"] == pytest.approx(whole.sum() * grid.VOXEL_ML)
        assert rows.loc[side, "automatic_ml"] == pytest.approx(found.sum() * grid.VOXEL_ML)
    lost = (truth == grid.LEFT)[:110].sum() + (truth == grid.LEFT)[..., : cut_low(joints)].sum()
    lost -= (truth == grid.LEFT)[:110, :, : cut_low(joints)].sum()
    assert rows.loc["left", "outside_crop_ml"] == pytest.approx(lost * grid.VOXEL_ML)


def cut_low(joints):
    return max(box(joints, "left", grid.SHAPE).z, 0)


def test_no_model_is_told():
    with pytest.raises(InputError, match="no model"):
        Segmenter([])
    with pytest.raises(InputError, match="no weights file"):
        Segmenter.load([])
