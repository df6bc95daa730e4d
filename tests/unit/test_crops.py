"""Crops against a voxel-by-voxel reference of the published arithmetic."""

import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest

from iliopsoas import crops
from iliopsoas.crops import CROP_SHAPE, CropReader, Crops, CropWriter
from iliopsoas.grid import SIDES
from iliopsoas.status import InputError, Refused, Verdict

TYPICAL = {"1": (27, 82, 351), "2": (192, 78, 346), "11": (60, 77, 158), "12": (142, 78, 161)}

# landmarks and volume shapes that put the boxes over, at and beyond every border
CASES = {
    "typical": (TYPICAL, (224, 174, 370)),
    "odd sums": (
        {"1": (27, 82, 344), "2": (192, 78, 341), "11": (61, 77, 158), "12": (144, 78, 161)},
        (224, 174, 370),
    ),
    "right border": (
        {"1": (1, 82, 351), "2": (90, 78, 346), "11": (2, 77, 158), "12": (85, 78, 161)},
        (224, 174, 370),
    ),
    "left border": (
        {"1": (120, 82, 351), "2": (223, 78, 346), "11": (140, 77, 158), "12": (223, 78, 161)},
        (224, 174, 370),
    ),
    "below the volume": (
        {"1": (27, 82, 340), "2": (192, 78, 346), "11": (60, 77, 30), "12": (142, 78, 31)},
        (224, 174, 370),
    ),
    "above the volume": (
        {"1": (27, 82, 300), "2": (192, 78, 301), "11": (60, 77, 258), "12": (142, 78, 261)},
        (224, 174, 300),
    ),
    "small grid": (
        {"1": (5, 82, 80), "2": (45, 78, 79), "11": (12, 77, 38), "12": (33, 78, 37)},
        (50, 63, 90),
    ),
    "odd shallow grid": (
        {"1": (5, 82, 80), "2": (45, 78, 79), "11": (12, 77, 38), "12": (33, 78, 38)},
        (50, 95, 90),
    ),
    "large grid": (
        {"1": (90, 82, 480), "2": (250, 78, 480), "11": (130, 77, 300), "12": (211, 78, 301)},
        (330, 201, 520),
    ),
}


def first_voxel(landmarks, side, shape):
    """Section 2 of the published method, with integer arithmetic only."""
    x = (landmarks["11"][0] + landmarks["12"][0]) // 2
    hip = (landmarks["11"][2] + landmarks["12"][2]) // 2
    shoulder = (landmarks["1"][2] + landmarks["2"][2]) // 2
    z = hip - ((shoulder + hip) // 2) // 4
    y = (shape[1] - 96) // 2
    return (x if side == "left" else x - 96), y, z


def reference_crop(volume, landmarks, side, above):
    """Every voxel of the crop looked up for itself; pure Python indices."""
    x0, y0, z0 = first_voxel(landmarks, side, volume.shape)
    crop = np.zeros((96, 96, 192))
    nx, ny, nz = volume.shape
    for i in range(96):
        for j in range(96):
            x, y = x0 + i, y0 + j
            if not (0 <= x < nx and 0 <= y < ny):
                continue
            column = volume[x, y].tolist()
            crop[i, j] = [column[z0 + k] if 0 <= z0 + k < nz else 0 for k in range(192)]
    ordered = np.sort(crop.ravel())
    place = 0.99 * (ordered.size - 1)
    low = int(np.floor(place))
    divisor = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    crop = crop / divisor
    return np.where(crop > 1, above, crop)


def volume_of(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 900, shape, dtype=np.int16)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_every_voxel_is_the_published_one(case, side):
    landmarks, shape = CASES[case]
    volume = volume_of(shape)
    found = crops.crop(volume, landmarks, side)
    assert found.dtype == np.float32
    assert found.shape == CROP_SHAPE
    expected = reference_crop(volume, landmarks, side, 0.975)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=0)


def test_published_example_starts_where_the_published_code_does():
    # ESS3TE4SJ3DEP5C5: hips at 159, shoulders at 348, so z starts at 159 - 253 // 4
    assert crops.box(TYPICAL, "left", (224, 174, 370)) == (101, 39, 96)
    assert crops.box(TYPICAL, "right", (224, 174, 370)) == (5, 39, 96)


def test_negative_z_start_keeps_its_offset():
    landmarks, shape = CASES["below the volume"]
    assert crops.box(landmarks, "left", shape).z == 30 - ((343 + 30) // 2) // 4 == -16
    raw = crops.cut(np.ones(shape, np.int16), landmarks, "left")
    assert not raw[:, :, :16].any()
    assert raw[:, :, 16:].all()


def test_normalisations_differ_only_above_one():
    volume = volume_of((224, 174, 370))
    published = crops.crop(volume, TYPICAL, "left", "published")
    paper = crops.crop(volume, TYPICAL, "left", "paper")
    differ = published != paper
    assert 0.005 < differ.mean() < 0.011
    assert (published[differ] == np.float32(0.975)).all()
    assert (paper[differ] == 1).all()
    assert published.max() <= 1
    with pytest.raises(ValueError, match="normalisation"):
        crops.crop(volume, TYPICAL, "left", "other")


def test_value_equal_to_the_percentile_stays_one():
    volume = np.full((224, 174, 370), 7, np.int16)
    assert (crops.crop(volume, TYPICAL, "left") == 1).all()


def test_sides_are_neighbours_and_not_mirrored():
    volume = np.zeros((224, 174, 370), np.int16)
    volume[:] = np.arange(224)[:, None, None]
    left, right = (crops.cut(volume, TYPICAL, side) for side in ("left", "right"))
    assert left[0, 0, 0] == 101
    assert right[-1, 0, 0] == 100
    assert (np.diff(right[:, 0, 0].astype(int)) == 1).all()


@pytest.mark.parametrize("content", [0, 1])
def test_crop_without_signal_is_refused(content):
    volume = np.zeros((224, 174, 370), np.int16)
    volume[101 : 101 + 3, 80:90, 100:120] = content  # far below one percent of the crop
    with pytest.raises(Refused) as refused:
        crops.crop(volume, TYPICAL, "left")
    assert refused.value.verdict is Verdict.CROP_EMPTY


def test_crop_of_not_a_number_is_refused():
    with pytest.raises(Refused) as refused:
        crops.crop(np.full((224, 174, 370), np.nan, np.float32), TYPICAL, "left")
    assert refused.value.verdict is Verdict.CROP_EMPTY


@pytest.mark.parametrize(
    ("key", "verdict"),
    [("11", Verdict.HIPS_NOT_FOUND), ("2", Verdict.SHOULDERS_NOT_FOUND)],
)
def test_missing_landmark_is_refused(key, verdict):
    landmarks = {name: value for name, value in TYPICAL.items() if name != key}
    with pytest.raises(Refused) as refused:
        crops.crop(volume_of((224, 174, 370)), landmarks, "left")
    assert refused.value.verdict is verdict
    assert key in refused.value.message


def test_side_must_be_named():
    with pytest.raises(ValueError, match="side"):
        crops.box(TYPICAL, "Left", (224, 174, 370))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_place_is_the_inverse_of_cut(case, side):
    landmarks, shape = CASES[case]
    volume = volume_of(shape) + 1
    placed = crops.place(crops.cut(volume, landmarks, side), landmarks, side, shape)
    assert placed.shape == shape
    assert placed.dtype == volume.dtype
    x0, y0, z0 = first_voxel(landmarks, side, shape)
    inside = np.zeros(shape, bool)
    inside[max(x0, 0) : max(x0 + 96, 0), max(y0, 0) : y0 + 96, max(z0, 0) : z0 + 192] = True
    np.testing.assert_array_equal(placed, np.where(inside, volume, 0))


def test_place_refuses_another_shape():
    with pytest.raises(ValueError, match="prediction"):
        crops.place(np.zeros((48, 48, 96)), TYPICAL, "left", (224, 174, 370))


# coarser crops


def test_coarsen_is_the_mean_of_blocks():
    crop = np.random.default_rng(1).random((8, 4, 6)).astype(np.float32)
    coarse = crops.coarsen(crop, 2)
    assert coarse.shape == (4, 2, 3)
    for i, j, k in np.ndindex(4, 2, 3):
        block = crop[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
        assert coarse[i, j, k] == pytest.approx(block.mean(), rel=1e-6)
    assert crops.coarsen(crop, 1) is crop
    with pytest.raises(ValueError, match="blocks"):
        crops.coarsen(crop, 3)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_refine_keeps_a_ramp_where_it_was(factor):
    # coarsening keeps the centre of mass of a linear ramp, so refining must return the ramp
    x, y, z = np.meshgrid(*(np.arange(n) for n in (24, 12, 36)), indexing="ij")
    ramp = (2.0 * x + 3.0 * y - z).astype(np.float32)
    fine = crops.refine(crops.coarsen(ramp, factor), factor)
    assert fine.shape == ramp.shape
    inner = (slice(factor, -factor),) * 3
    np.testing.assert_allclose(fine[inner], ramp[inner], atol=1e-4)
    constant = crops.refine(np.full((3, 2, 4), 0.25, np.float32), factor)
    np.testing.assert_allclose(constant, 0.25, rtol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_back_projection_adds_the_interpolated_differences(factor):
    coarse = np.random.default_rng(1).random((8, 6, 12)).astype(np.float32)
    expected = crops.refine(coarse, factor)
    for _ in range(2):  # as Irani and Peleg write it
        expected = expected + crops.refine(coarse - crops.coarsen(expected, factor), factor)
    found = crops.refine(coarse, factor, projections=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_refine_of_one_is_identity():
    crop = np.zeros((2, 2, 2), np.float32)
    assert crops.refine(crop, 1) is crop


# the store


def subject_crops(seed, annotated=False):
    volume = volume_of((224, 174, 370), seed)
    annotation = None
    if annotated:
        annotation = np.zeros(volume.shape, np.uint8)
        annotation[110:130, 70:90, 150:200] = 1
        annotation[70:90, 70:90, 150:200] = 2
    return volume, annotation, Crops.of(volume, TYPICAL, annotation)


def test_store_gives_back_what_crop_gives(tmp_path):
    path = tmp_path / "shard.h5"
    volume, annotation, annotated = subject_crops(1, annotated=True)
    other_volume, _, other = subject_crops(2)
    with CropWriter(path) as writer:
        writer.add("1000001_2", annotated)
        assert not path.exists()  # nothing to be believed before the end
        writer.add("1000002_2", other)
    assert [file.name for file in tmp_path.iterdir()] == ["shard.h5"]

    with CropReader(path) as reader:
        assert reader.subjects == ["1000001_2", "1000002_2"]
        assert len(reader) == 2
        for side in ("left", "right"):
            for normalisation in ("published", "paper"):
                np.testing.assert_array_equal(
                    reader.read("1000002_2", side, normalisation),
                    crops.crop(other_volume, TYPICAL, side, normalisation),
                )
            np.testing.assert_array_equal(
                reader.read("1000001_2", side), crops.crop(volume, TYPICAL, side)
            )
            assert reader.origin("1000001_2", side) == crops.box(TYPICAL, side, volume.shape)
        assert reader.has_label("1000001_2")
        assert not reader.has_label("1000002_2")
        placed = sum(
            value * crops.place(reader.read_label("1000001_2", side), TYPICAL, side, volume.shape)
            for side, value in (("left", 1), ("right", 2))
        )
        np.testing.assert_array_equal(placed, annotation)
        with pytest.raises(KeyError, match="no annotation"):
            reader.read_label("1000002_2", "left")
        with pytest.raises(KeyError, match="no left crop"):
            reader.read("1000003_2", "left")


def test_readers_of_several_files_and_processes(tmp_path):
    paths = []
    for number in (1, 2):
        paths.append(tmp_path / f"{number}.h5")
        with CropWriter(paths[-1]) as writer:
            writer.add(f"100000{number}_2", subject_crops(number)[2])
    reader = CropReader(paths)
    assert reader.subjects == ["1000001_2", "1000002_2"]
    expected = reader.read("1000002_2", "left")
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.read("1000002_2", "left"), expected)
    with pytest.raises(InputError, match="another"):
        CropReader([paths[0], paths[0]])


def test_an_error_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "shard.h5"
    one = subject_crops(1)[2]
    with CropWriter(path) as writer:
        writer.add("1000001_2", one)
    before = path.read_bytes()

    def add_twice():
        with CropWriter(path) as writer:
            writer.add("1000002_2", one)
            writer.add("1000002_2", one)

    with pytest.raises(ValueError, match="twice"):
        add_twice()
    assert path.read_bytes() == before


def _write_and_die(path):
    with CropWriter(path) as writer:
        writer.add("1000001_2", subject_crops(1)[2])
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_nothing_to_believe(tmp_path):
    path = tmp_path / "shard.h5"
    process = multiprocessing.get_context("fork").Process(target=_write_and_die, args=(path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not path.exists()
    for left_over in tmp_path.iterdir():  # even under its true name it would be refused
        with pytest.raises(InputError):
            CropReader(left_over)


def test_not_a_crop_file(tmp_path):
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(InputError, match=r"text\.h5"):
        CropReader(tmp_path / "text.h5")
    with pytest.raises(InputError, match=r"none\.h5"):
        CropReader(tmp_path / "none.h5")


def test_store_takes_int16_volumes_only():
    with pytest.raises(ValueError, match="int16"):
        Crops.of(np.zeros((224, 174, 370), np.float32), TYPICAL)


def test_size_and_chunks_scale_to_five_thousand(tmp_path):
    # worst case for compression: noise over the whole 10-bit range of a magnitude image
    path = tmp_path / "shard.h5"
    with CropWriter(path) as writer:
        writer.add("1000001_2", subject_crops(1)[2])
    assert path.stat().st_size * 5000 < 60e9


def _cut(seed, annotated=False):
    rng = np.random.default_rng(seed)
    raw = {side: rng.integers(0, 900, CROP_SHAPE).astype(np.int16) for side in SIDES}
    label = {side: (raw[side] > 800).astype(np.uint8) for side in raw} if annotated else None
    return Crops(raw, dict.fromkeys(raw, 700.0 + seed), dict.fromkeys(raw, (seed, 2, 3)), label)


def _assert_same(path, expected: dict):
    with CropReader(path) as reader:
        assert sorted(reader.subjects) == sorted(expected)
        for name, crops in expected.items():
            found = reader.crops(name)
            assert found.divisor == crops.divisor
            assert found.origin == crops.origin
            assert (found.label is None) == (crops.label is None)
            for side in SIDES:
                np.testing.assert_array_equal(found.raw[side], crops.raw[side])
                if crops.label is not None:
                    np.testing.assert_array_equal(found.label[side], crops.label[side])


def test_crops_cut_before_are_copied_and_those_of_who_left_are_not(tmp_path):
    path, cut = tmp_path / "shard.h5", {f"{i}_2": _cut(i, annotated=i == 2) for i in range(4)}
    with CropWriter(path) as writer:
        for name in ("0_2", "1_2", "2_2"):
            writer.add(name, cut[name])
    with CropWriter(path) as writer:
        assert writer.holds("1_2")
        assert not writer.holds("3_2")
        writer.keep({"0_2", "2_2"})
        writer.add("3_2", cut["3_2"])
    _assert_same(path, {name: cut[name] for name in ("0_2", "2_2", "3_2")})
    assert [file.name for file in tmp_path.iterdir()] == ["shard.h5"]


@pytest.mark.parametrize("left", ["0_2", "1_2"])
def test_a_stopped_writer_is_gone_on_from(tmp_path, left):
    path, cut = tmp_path / "shard.h5", {f"{i}_2": _cut(i, annotated=i == 1) for i in range(3)}

    def stopped():
        with CropWriter(path) as writer:
            writer.add("0_2", cut["0_2"])
            writer.add("1_2", cut["1_2"])
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        stopped()
    assert not path.exists()
    with CropWriter(path) as writer:
        assert writer.holds("0_2")
        assert writer.holds("1_2")
        writer.keep({left})
        writer.add("2_2", cut["2_2"])
    _assert_same(path, {name: cut[name] for name in (left, "2_2")})


def test_an_unfinished_file_that_a_kill_damaged_is_made_anew(tmp_path):
    (tmp_path / "shard.unfinished.h5").write_bytes(b"\x89HDF\r\n\x1a\n half")
    with CropWriter(tmp_path / "shard.h5") as writer:
        assert not writer.holds("0_2")
        writer.add("0_2", _cut(0))
    _assert_same(tmp_path / "shard.h5", {"0_2": _cut(0)})
