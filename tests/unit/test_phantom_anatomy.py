"""The synthetic body: what it promises to every stage that is tested on it."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.phantom import anatomy, iliopsoas_muscle, tissues
from iliopsoas.phantom.traits import Traits

WOMAN = Traits("female", 61, 163.0, 68.0, 131.0, 136.0, 0.08, 11)


@pytest.fixture(scope="module")
def woman():
    return anatomy.build(WOMAN)


def test_arrays_are_on_the_stitched_grid(woman):
    for array in (woman.water, woman.fat, woman.labels, woman.iliopsoas):
        assert array.shape == grid.SHAPE
    for channel in (woman.water, woman.fat):
        assert channel.dtype == np.float32
        assert 0 <= channel.min() < channel.max() <= 1


def test_volumes_hit_their_targets(woman):
    for side, wanted in (("left", WOMAN.left_ml), ("right", WOMAN.right_ml)):
        counted = np.count_nonzero(woman.iliopsoas == grid.SIDES[side]) * 2.232142925**2 * 3 / 1000
        assert counted == pytest.approx(wanted, rel=0.01)
        assert woman.volume_ml[side] == pytest.approx(counted, rel=1e-6)


@pytest.mark.parametrize(
    ("sex", "height", "weight", "left", "right"),
    [
        ("female", 158.0, 41.0, 75.0, 82.0),  # BMI 16
        ("male", 196.0, 101.0, 330.0, 318.0),
        ("female", 160.0, 140.0, 190.0, 185.0),  # BMI 55
    ],
)
def test_volumes_hit_their_targets_in_extreme_bodies(sex, height, weight, left, right):
    body = anatomy.build(Traits(sex, 60, height, weight, left, right, 0.1, 3), step=2)
    assert body.volume_ml["left"] == pytest.approx(left, rel=0.01)
    assert body.volume_ml["right"] == pytest.approx(right, rel=0.01)


def test_left_lies_to_the_patients_left(woman):
    left, right = (np.argwhere(woman.iliopsoas == label)[:, 0] for label in (1, 2))
    assert right.max() < left.min()  # x grows to the left
    for right_key, left_key in (("1", "2"), ("11", "12"), ("21", "22")):
        assert woman.landmarks[right_key][0] < woman.landmarks[left_key][0]


def test_muscle_runs_from_upper_lumbar_spine_to_lesser_trochanter(woman):
    for label, hip in ((grid.LEFT, "12"), (grid.RIGHT, "11")):
        slices = np.flatnonzero((woman.iliopsoas == label).any(axis=(0, 1)))
        hip_z = woman.landmarks[hip][2]
        shoulder_z = woman.landmarks["1"][2]
        assert 30 < (hip_z - slices[0]) * 3 < 85
        assert 0.42 < (slices[-1] - hip_z) / (shoulder_z - hip_z) < 0.62


def test_each_muscle_is_one_piece(woman):
    for label in grid.SIDES.values():
        _, pieces = ndimage.label(woman.iliopsoas == label)
        assert pieces == 1


def test_muscle_is_inside_the_body_and_outside_bone(woman):
    muscle = woman.iliopsoas > 0
    both = [tissues.ILIOPSOAS.label, tissues.ILIACUS.label]
    assert np.array_equal(np.isin(woman.labels, both), muscle)
    # Its whole neighbourhood is body too.
    at = np.argwhere(muscle)
    for shift in ((3, 0, 0), (-3, 0, 0), (0, 3, 0), (0, -3, 0)):
        assert (woman.labels[tuple((at + shift).T)] != tissues.AIR.label).all()
    signal = woman.water[muscle] + woman.fat[muscle]
    assert np.percentile(signal, 1) > 0.2  # no cortical bone or air in it


def test_hip_landmarks_are_the_centres_of_the_femoral_heads(woman):
    head = woman.labels == tissues.FEMORAL_HEAD.label
    middle = (woman.landmarks["11"][0] + woman.landmarks["12"][0]) / 2
    at = np.argwhere(head)
    for key, side in (("11", at[:, 0] < middle), ("12", at[:, 0] > middle)):
        assert head[woman.landmarks[key]]
        centre = at[side].mean(axis=0)
        assert np.abs(centre - woman.landmarks[key]).max() < 2.0


def test_neighbouring_muscles_look_like_the_iliopsoas(woman):
    inside = np.median(woman.water[woman.labels == tissues.ILIOPSOAS.label])
    for neighbour in (tissues.PSOAS_NEIGHBOUR, tissues.GLUTEAL, tissues.THIGH, tissues.WALL):
        other = np.median(woman.water[woman.labels == neighbour.label])
        assert other == pytest.approx(inside, rel=0.07), neighbour


def test_muscle_fat_fraction_is_as_asked():
    for wanted in (0.04, 0.15):
        body = anatomy.build(dataclasses.replace(WOMAN, fat_fraction=wanted), step=2)
        muscle = ndimage.binary_erosion(body.iliopsoas > 0, iterations=2)  # not its fat planes
        fraction = body.fat[muscle] / (body.fat[muscle] + body.water[muscle])
        assert np.median(fraction) == pytest.approx(wanted, rel=0.2)


def test_lung_air_and_cortex_are_dark_in_both_channels(woman):
    for tissue, limit in ((tissues.LUNG, 0.08), (tissues.AIR, 0.01), (tissues.CORTEX, 0.25)):
        here = woman.labels == tissue.label
        assert here.any()
        assert np.median(woman.water[here] + woman.fat[here]) < limit, tissue


def test_same_traits_same_body_and_other_seed_other_body():
    first = anatomy.build(WOMAN, step=2)
    again = anatomy.build(WOMAN, step=2)
    other = anatomy.build(dataclasses.replace(WOMAN, seed=12), step=2)
    assert np.array_equal(first.water, again.water)
    assert np.array_equal(first.iliopsoas, again.iliopsoas)
    assert first.landmarks == again.landmarks
    assert not np.array_equal(first.iliopsoas, other.iliopsoas)


def test_fatter_bodies_have_more_fat_and_the_same_muscle():
    thin, fat = (
        anatomy.build(dataclasses.replace(WOMAN, weight_kg=kg), step=2) for kg in (50.0, 100.0)
    )
    assert fat.fat.sum() > 2 * thin.fat.sum()
    assert fat.volume_ml["left"] == pytest.approx(thin.volume_ml["left"], rel=0.01)


def test_impossible_volume_is_refused():
    with pytest.raises(ValueError, match=r"does not fit the body"):
        anatomy.build(dataclasses.replace(WOMAN, left_ml=4000.0), step=2)


def test_fit_volume_counts_only_free_voxels():
    field = np.linalg.norm(np.indices((20, 20, 20)).T - (9.713, 9.347, 9.571), axis=-1).astype(
        np.float32
    )
    field[1, 18, 1] = 0.5  # a speck apart, which is to be left out
    blocked = np.zeros(field.shape, bool)
    blocked[:, :10] = True
    fitted = iliopsoas_muscle.fit_volume(field, blocked, 1000 * grid.VOXEL_ML)
    assert np.count_nonzero(fitted < 0) == 1000
    assert not (fitted[:, :10] < 0).any()
    assert fitted[1, 18, 1] > 0


@pytest.mark.slow
@pytest.mark.reference
def test_proportions_are_those_of_real_bodies(reference):
    """Hip and shoulder positions of ten bodies lie within those of the real atlas."""
    import nibabel as nib

    real = {key: [] for key in (1, 2, 11, 12)}
    for path in sorted((reference / "atlas").glob("*/bone_joints.nii.gz")):
        joints = np.asarray(nib.load(path).dataobj)
        for key, found in real.items():
            found.append(np.argwhere(joints == key)[0])
    rng = np.random.default_rng(4)
    mine = {key: [] for key in real}
    for seed in range(10):
        height = rng.normal(169, 9)
        weight = rng.normal(26.5, 3) * (height / 100) ** 2
        sex = ("female", "male")[seed % 2]
        body = anatomy.build(Traits(sex, 60, height, weight, 150.0, 150.0, 0.08, seed), step=2)
        for key, found in mine.items():
            found.append(body.landmarks[str(key)])
    for key in real:
        ours, theirs = np.array(mine[key]), np.array(real[key])
        spread = theirs.std(axis=0)
        assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 1.2 * spread).all(), key
