"""Landmarks on real body masks, on made ones, and what is refused."""

import importlib.util
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from iliopsoas import files, grid, landmarks
from iliopsoas.crops import box
from iliopsoas.dixon.body import fill_slices
from iliopsoas.landmarks import atlas, coarse, heads, locating, silhouette, voids
from iliopsoas.landmarks.silhouette import Silhouette
from iliopsoas.qc.judge import judge_one
from iliopsoas.status import InputError, Refused, Verdict


@pytest.fixture(scope="module")
def fitting(request):
    """The script that fits the shipped model."""
    path = request.config.rootpath / "resources" / "landmarks" / "fit.py"
    spec = importlib.util.spec_from_file_location("fit_landmarks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def real(reference):
    """The 30 real bodies: (Silhouette, landmarks)."""
    bodies = atlas.read_folder(reference / "atlas")
    return [(Silhouette.of(body.mask()), body.landmarks) for body in bodies]


# --- real bodies --------------------------------------------------------------------------------


@pytest.mark.reference
def test_left_out_bodies_are_found(fitting, real):
    rows = fitting.left_out(real, range(len(real)))
    hips = np.abs([row["hip height"] for row in rows])
    assert len(hips) == 30
    assert hips.max() <= 10
    assert hips.mean() <= 4
    assert np.abs([row["midline x"] for row in rows]).max() <= 3.5
    assert np.abs(np.concatenate([row["one shoulder z"] for row in rows])).max() <= 10


@pytest.mark.reference
def test_six_groups_left_out(fitting, real):
    groups = (np.random.default_rng(0).permutation(len(real)) % 6).tolist()
    hips = np.abs([row["hip height"] for row in fitting.left_out(real, groups)])
    assert hips.max() <= 10
    assert hips.mean() <= 4


def resliced(body, factor):
    """A body as many times as long, and its own slice of every new one; by nearest slice."""
    centre = 166
    own = np.round((np.arange(body.shape[2]) - centre) / factor + centre).astype(int)
    inside = (own >= 0) & (own < body.shape[2])
    return np.where(inside, body[:, :, np.where(inside, own, 0)], False)


@pytest.mark.reference
def test_left_out_bodies_are_found_at_other_lengths(fitting, real):
    """A body and its longer and shorter copies are left out together."""
    factors = (0.94, 1.0, 1.06)
    errors = {factor: [] for factor in factors}
    for number, (shape, known) in enumerate(real):
        model = fitting.fit(real[:number] + real[number + 1 :])
        for factor in factors:
            longer = Silhouette.of(resliced(shape.body, factor))
            hips = (np.array([known[key][2] for key in ("11", "12")]) - 166) * factor + 166
            errors[factor].append(coarse.hip_height(longer, model) - hips)
    errors = {factor: np.array(each) for factor, each in errors.items()}
    for each in errors.values():
        assert np.abs(each).max() <= 10
        assert np.abs(each.mean()) <= 1.2
        assert np.abs(each.mean(axis=1)).mean() <= 3.2


@pytest.mark.reference
def test_hips_keep_their_place_in_the_trunk_of_a_longer_body(real):
    """Nothing but the mask is stretched: the share of the trunk stays, the height grows."""
    shape, _ = real[9]
    shares = []
    for factor in (0.9, 1.0, 1.04):
        longer = Silhouette.of(resliced(shape.body, factor))
        length = silhouette.trunk_length(longer)
        assert length == pytest.approx(factor * silhouette.trunk_length(shape), abs=2)
        height = coarse.hip_height(longer, coarse.shipped_model()) - longer.crotch
        shares.append(height / length)
    assert np.ptp(shares) * 220 <= 1.5


def test_trunk_is_measured_from_crotch_to_shoulders():
    """A trunk with legs, shoulders and a neck of known heights."""
    body = np.zeros(grid.SHAPE, bool)
    body[72:105, 60:120, :120] = body[119:152, 60:120, :120] = True  # two legs
    body[72:152, 50:130, 120:340] = True
    body[52:172, 50:130, 200:340] = True  # arms and shoulders
    body[97:127, 70:110, 340:] = True
    shape = Silhouette.of(body)
    assert abs(shape.crotch - 120) <= 3
    assert silhouette.trunk_length(shape) == pytest.approx(340 - shape.crotch, abs=1.5)
    body[:, :, 314:] = False  # without its highest station: as if of usual height
    assert silhouette.trunk_length(Silhouette.of(body)) == pytest.approx(355 - 120, abs=3)


@pytest.mark.reference
def test_the_shipped_model_is_the_one_the_script_fits(fitting, real):
    fitted = fitting.fit(real)
    shipped = coarse.shipped_model()
    assert shipped["bodies"] == len(real)
    for shape, _ in real[:3]:
        ours, theirs = (coarse.joints(shape, model) for model in (fitted, shipped))
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], atol=0.02)


def real_image(reference, name="0010"):
    return nib.load(reference / "atlas" / name / "mask.body.nii.gz")


@pytest.mark.reference
def test_real_body_passes_and_is_found_in_any_place(reference):
    image = real_image(reference)
    found, record = landmarks.locate_with_record(image)
    landmarks.assess(found, image)
    assert record["route"] == "shape"
    assert all(isinstance(v, int) for xyz in found.values() for v in xyz)
    assert found["11"][0] < found["12"][0]
    # fewer slices, its place in millimetres kept: the same voxels of the body
    cut = image.slicer[2:, 5:170, 3:360]
    moved = landmarks.locate(cut)
    for key, xyz in moved.items():
        off = 3 if key in {"1", "2"} else 2  # the neck that is cut off tells about shoulders
        np.testing.assert_allclose(np.add(xyz, (2, 5, 3)), found[key], atol=off)


@pytest.mark.reference
def test_mirrored_body_gives_mirrored_landmarks(reference):
    """Sides follow geometry: a body mirrored in x has its right hip where the left was."""
    image = real_image(reference)
    found = landmarks.locate(image)
    mirrored = grid.las_image(np.asarray(image.dataobj)[::-1], image.affine)
    turned = landmarks.locate(mirrored)
    landmarks.assess(turned, mirrored)
    for right, left in (("11", "12"), ("1", "2")):
        assert turned[right][0] < turned[left][0]
        for own, other in ((right, left), (left, right)):
            x = image.shape[0] - 1 - found[other][0]
            np.testing.assert_allclose(turned[own], (x, *found[other][1:]), atol=2)


@pytest.mark.reference
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_image_in_another_orientation_is_not_guessed(reference, axis):
    image = real_image(reference)
    affine = image.affine @ np.diag([-1 if i == axis else 1 for i in range(3)] + [1])
    with pytest.raises(ValueError, match="LAS"):
        landmarks.locate(nib.Nifti1Image(np.asarray(image.dataobj), affine))


@pytest.mark.reference
def test_upside_down_body_gets_no_crop(reference):
    image = real_image(reference)
    turned = grid.las_image(np.asarray(image.dataobj)[:, :, ::-1].copy(), image.affine)
    found = landmarks.locate(turned)
    with pytest.raises(Refused) as refused:
        landmarks.assess(found, turned)
    assert refused.value.verdict in {Verdict.HIPS_NOT_FOUND, Verdict.LANDMARKS_IMPLAUSIBLE}


@pytest.mark.reference
@pytest.mark.parametrize("name", ["0004", "0010", "0024"])
def test_body_without_its_highest_station_gets_the_usual_shoulders(reference, name):
    whole = real_image(reference, name)
    mask = np.asarray(whole.dataobj).copy()
    mask[:, :, 314:] = 0  # what station 2 does not reach
    image = grid.las_image(mask)
    found, record = landmarks.locate_with_record(image)
    landmarks.assess(found, image)
    assert record["shoulders_default"] is True
    assert "shoulders_default" in flags_of(record)
    known = {body.name: body for body in atlas.read_folder(reference / "atlas")}[name].landmarks
    for side in grid.SIDES:  # the crop lies within four slices of where it should
        assert abs(box(found, side, grid.SHAPE).z - box(known, side, grid.SHAPE).z) <= 10
        complete = landmarks.locate(whole)
        assert abs(box(found, side, grid.SHAPE).z - box(complete, side, grid.SHAPE).z) <= 4
    assert landmarks.locate_with_record(whole)[1]["shoulders_default"] is False


@pytest.mark.reference
def test_usual_shoulders_lie_above_a_volume_that_ends_below_them(reference):
    image = real_image(reference).slicer[:, :, :320]
    found, record = landmarks.locate_with_record(image)
    landmarks.assess(found, image)
    assert record["shoulders_default"]
    assert found["1"][2] > 320


@pytest.mark.reference
def test_body_without_its_lowest_station_keeps_its_hips(reference):
    whole = np.asarray(real_image(reference).dataobj)
    mask = whole.copy()
    mask[:, :, :84] = 0
    found = landmarks.locate(grid.las_image(mask))
    expected = landmarks.locate(grid.las_image(whole))
    assert "21" not in found
    assert abs(found["11"][2] - expected["11"][2]) <= 3


# --- bodies that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        None,
        (slice(0, 0), slice(0, 0), slice(0, 0)),
        (slice(80, 140), slice(50, 120), slice(0, 370)),  # a trunk without legs
        (slice(80, 140), slice(50, 120), slice(0, 100)),  # legs without a trunk
    ],
)
def test_no_body_no_hips(box):
    mask = np.zeros(grid.SHAPE, np.uint8)
    mask[box if box is not None else (slice(100, 101),) * 3] = 1
    image = grid.las_image(mask)
    found = landmarks.locate(image)
    with pytest.raises(Refused) as refused:
        landmarks.assess(found, image)
    assert refused.value.verdict is Verdict.HIPS_NOT_FOUND


def test_voxels_of_another_size_are_refused():
    image = grid.las_image(np.zeros((50, 50, 50), np.uint8), grid.las_affine(spacing=(1, 1, 1)))
    with pytest.raises(ValueError, match="mm"):
        landmarks.locate(image)


# --- plausibility -------------------------------------------------------------------------------

PLAUSIBLE = {
    "1": (27, 82, 351),
    "2": (192, 78, 346),
    "11": (60, 77, 158),
    "12": (142, 78, 161),
    "21": (69, 86, 21),
    "22": (167, 82, 25),
}  # ESS3TE4SJ3DEP5C5, published


def test_a_published_subject_is_plausible():
    landmarks.assess(PLAUSIBLE)
    landmarks.assess({key: PLAUSIBLE[key] for key in ("1", "2", "11", "12")})


@pytest.mark.reference
def test_every_real_body_is_plausible(reference):
    for body in atlas.read_folder(reference / "atlas"):
        landmarks.assess(body.landmarks)


@pytest.mark.parametrize(
    ("change", "verdict", "word"),
    [
        ({"11": None}, Verdict.HIPS_NOT_FOUND, "11"),
        ({"11": None, "12": None}, Verdict.HIPS_NOT_FOUND, "hips"),
        ({"2": None}, Verdict.SHOULDERS_NOT_FOUND, "2"),
        ({"11": (142, 78, 161), "12": (60, 77, 158)}, Verdict.LANDMARKS_IMPLAUSIBLE, "exchanged"),
        ({"1": (192, 78, 346), "2": (27, 82, 351)}, Verdict.LANDMARKS_IMPLAUSIBLE, "exchanged"),
        ({"12": (85, 78, 161)}, Verdict.LANDMARKS_IMPLAUSIBLE, "apart"),
        ({"12": (200, 78, 161)}, Verdict.LANDMARKS_IMPLAUSIBLE, "apart"),
        ({"12": (142, 78, 180)}, Verdict.LANDMARKS_IMPLAUSIBLE, "height"),
        ({"1": (27, 82, 300)}, Verdict.LANDMARKS_IMPLAUSIBLE, "height"),
        ({"11": (60, 77, 270), "12": (142, 78, 270)}, Verdict.LANDMARKS_IMPLAUSIBLE, "above"),
        ({"11": (60, 77, 60), "12": (142, 78, 60)}, Verdict.LANDMARKS_IMPLAUSIBLE, "above"),
        ({"11": (0, 77, 158), "12": (82, 78, 158)}, Verdict.LANDMARKS_IMPLAUSIBLE, "side"),
    ],
)
def test_implausible(change, verdict, word):
    changed = {k: v for k, v in (PLAUSIBLE | change).items() if v is not None}
    with pytest.raises(Refused, match=word) as refused:
        landmarks.assess(changed)
    assert refused.value.verdict is verdict


def test_hips_outside_the_body_are_implausible():
    mask = np.ones(grid.SHAPE, np.uint8)
    landmarks.assess(PLAUSIBLE, grid.las_image(mask))
    mask[54:67, 60:, 140:180] = 0
    landmarks.assess(PLAUSIBLE, grid.las_image(mask))  # a void that opens to the skin
    mask[20:100, :, 140:180] = 0
    with pytest.raises(Refused, match="outside the body"):
        landmarks.assess(PLAUSIBLE, grid.las_image(mask))
    with pytest.raises(Refused, match="outside the volume"):
        landmarks.assess(PLAUSIBLE, grid.las_image(mask[:, :, :150]))


# --- femoral heads ------------------------------------------------------------------------------


def femur_images(centres, radius_mm=22.0, noise=0.05, swapped=False, seed=0):
    """Fat all over, muscle slabs, and per side a ball of marrow in a dark and a watery rim."""
    rng = np.random.default_rng(seed)
    shape = (224, 174, 120)
    index = np.indices(shape, dtype=np.float32)
    water = np.full(shape, 0.05, np.float32)
    fat = np.full(shape, 0.9, np.float32)
    muscle = np.sin(index[0] / 7) + np.sin(index[1] / 9 + 1) + np.sin(index[2] / 8 + 2) > 0.9
    water[muscle], fat[muscle] = 0.7, 0.05
    for centre in centres:
        offset = (index.T - centre) * grid.SPACING_MM
        distance = np.linalg.norm(offset, axis=-1).T
        neck = (np.abs(index[1] - centre[1]) < 5) & (index[2] < centre[2] - 2)
        for outer, w, f in ((6, 0.6, 0.1), (2, 0.02, 0.02), (0, 0.05, 0.75)):
            shell = distance < radius_mm + outer
            if outer:
                shell &= ~(neck & (distance > radius_mm - 2))
            water[shell], fat[shell] = w, f
    water += rng.normal(0, noise, shape)
    fat += rng.normal(0, noise, shape)
    images = [np.clip(500 * image, 0, None).astype(np.int16) for image in (water, fat)]
    return images[::-1] if swapped else images


TRUE = ((72, 78, 60), (152, 77, 62))


LEAST = locating.LEAST_CONFIDENCE


@pytest.mark.parametrize("radius", [18.0, 22.0, 26.0])
@pytest.mark.parametrize("offset", [(0, 0, 0), (5, -5, 8), (-5, 5, -8)])
def test_heads_are_found_near_coarse_positions(radius, offset):
    water, fat = femur_images(TRUE, radius)
    for centre in TRUE:
        found = heads.detect(water, fat, np.add(centre, offset))
        np.testing.assert_allclose(found.index, centre, atol=3)
        assert found.confidence > LEAST - 0.05  # the largest head, from afar, lies just below


@pytest.mark.parametrize("centres", [(), TRUE[:1]])
def test_no_head_is_seen_where_there_is_none(centres):
    water, fat = femur_images(centres)
    found = heads.detect(water, fat, TRUE[1])
    assert found is None or found.confidence < LEAST


def test_swapped_fat_and_water_show_no_head():
    water, fat = femur_images(TRUE, swapped=True)
    for centre in TRUE:
        found = heads.detect(water, fat, centre)
        assert found is None or found.confidence < LEAST


def test_empty_images_show_no_head():
    empty = np.zeros((224, 174, 120), np.int16)
    assert heads.detect(empty, empty, TRUE[0]) is None


def test_the_mirror_image_keeps_height_and_depth():
    assert heads.mirrored((70, 80, 161), right=(72, 78, 160), left=(150, 78, 160)) == (152, 80, 161)


def flags_of(record):
    return set(judge_one({}, {"landmarks": record})["qc_flags"].split(","))


def body_with_heads(reference, implants=()):
    """A real outline with fatty balls in its own hips; metal takes the signal."""
    image = real_image(reference)
    known = {body.name: body for body in atlas.read_folder(reference / "atlas")}["0010"].landmarks
    rng = np.random.default_rng(0)
    water, fat = (np.zeros(grid.SHAPE, np.int16) for _ in range(2))
    levels = slice(int(known["11"][2]) - 40, int(known["11"][2]) + 41)
    inside = np.asarray(image.dataobj)[..., levels] > 0
    water[..., levels], fat[..., levels] = 600 * inside, 50 * inside
    for key in ("11", "12"):
        corner = np.array(known[key], int) - 24
        window = tuple(slice(start, start + 49) for start in corner)
        offset = (np.indices((49, 49, 49)).T + corner - known[key]) * grid.SPACING_MM
        distance = np.linalg.norm(offset, axis=-1).T
        ball, metal = distance < 22, (distance < 45) & (key in implants)
        for volume, signal in ((water, 50), (fat, 750)):
            volume[window][ball] = signal
            volume[window] += rng.integers(0, 40, ball.shape, dtype=np.int16)
            volume[window][metal] = 0
    return image, *(grid.las_image(part, image.affine) for part in (water, fat)), known


@pytest.mark.reference
def test_an_unclear_head_takes_the_clear_ones_mirror_image(reference):
    image, water, fat, known = body_with_heads(reference, implants=("11",))
    found, record = landmarks.locate_with_record(image, water, fat)
    assert (record["hips_seen"], record["hips_mirrored"]) == ("12", "11")
    np.testing.assert_allclose(found["12"], known["12"], atol=3)
    np.testing.assert_allclose(found["11"], known["11"], atol=6)
    assert record["hip_confidence_right"] < LEAST <= record["hip_confidence_left"]
    assert record["hip_confidence"] == record["hip_confidence_left"]
    assert flags_of(record) == {"hip_mirrored", "metal_at_hip"}
    ball = 4 / 3 * np.pi * 45**3 / 1000
    assert record["void_ml_right"] == pytest.approx(ball, rel=0.1)
    assert record["void_ml_left"] == 0


@pytest.mark.reference
def test_two_implants_leave_the_coarse_hips(reference):
    image, water, fat, _ = body_with_heads(reference, implants=("11", "12"))
    found, record = landmarks.locate_with_record(image, water, fat)
    assert found == landmarks.locate(image)
    assert (record["hips_seen"], record["hips_mirrored"]) == ("", "")
    assert record["hip_confidence"] < LEAST
    assert flags_of(record) == {"hips_doubtful", "metal_at_hip"}


@pytest.mark.reference
def test_images_without_signal_leave_the_coarse_position(reference):
    image = real_image(reference)
    dark = grid.las_image(np.zeros(image.shape, np.int16), image.affine)
    found, record = landmarks.locate_with_record(image, dark, dark)
    assert found == landmarks.locate(image)
    assert record["hips_seen"] == ""
    assert record["hip_confidence"] == 0
    with pytest.raises(ValueError, match="water"):
        landmarks.locate(image, dark.slicer[:, :, :300], dark)


# --- implants -----------------------------------------------------------------------------------


JOINTS_OF_A_BLOCK = {"right": (55, 55, 60), "left": (135, 55, 60)}


def with_hole(offset_mm, radius_mm):
    """Water, fat and mask of an even body with a hole, beside the left hip by an offset."""
    body = np.zeros((190, 110, 120), bool)
    body[5:-5, 8:-8] = True
    axes = np.ogrid[tuple(slice(n) for n in body.shape)]
    centre = np.add(JOINTS_OF_A_BLOCK["left"], np.divide(offset_mm, grid.SPACING_MM))
    parts = zip(axes, centre, grid.SPACING_MM, strict=True)
    hole = sum(((axis - at) * mm) ** 2 for axis, at, mm in parts) < radius_mm**2
    water, fat = (np.where(body & ~hole, level, 4).astype(np.int16) for level in (420, 60))
    return water, fat, body


@pytest.mark.parametrize(
    ("offset_mm", "radius_mm"),
    [
        ((0, 0, 0), 22.5),
        ((13, -14, 27), 22.5),  # as far off as coarse hips were at most
        ((0, 0, -40), 45.0),  # along the stem
    ],
)
def test_a_void_at_a_joint_is_measured_on_its_side(offset_mm, radius_mm):
    images = with_hole(offset_mm, radius_mm)
    ml, place = voids.at_hip(*images, JOINTS_OF_A_BLOCK["left"])
    assert ml == pytest.approx(4 / 3 * np.pi * radius_mm**3 / 1000, rel=0.1)
    found_mm = np.subtract(place, JOINTS_OF_A_BLOCK["left"]) * grid.SPACING_MM
    np.testing.assert_allclose(found_mm, offset_mm, atol=3)
    assert voids.at_hip(*images, JOINTS_OF_A_BLOCK["right"]) == (0.0, None)


@pytest.mark.parametrize(
    ("offset_mm", "radius_mm"),
    [
        ((-80, 0, 0), 25.0),  # bladder or rectum: in the middle
        ((0, 0, 0), 6.0),  # cortical bone: thin
        ((0, 30, 55), 25.0),  # gas in the caecum: higher
        ((0, -10, 110), 25.0),  # and higher still
    ],
)
def test_other_voids_are_no_implant(offset_mm, radius_mm):
    images = with_hole(offset_mm, radius_mm)
    assert voids.at_hip(*images, JOINTS_OF_A_BLOCK["left"]) == (0.0, None)


def test_a_void_that_opens_to_the_skin_counts_as_a_whole():
    water, fat, body = with_hole((0, 50, 0), 55.0)  # the skin is 55 mm before the joint
    joint = np.add(JOINTS_OF_A_BLOCK["left"], (0, 50 / grid.IN_PLANE_MM, 0))
    hole = body & (water < 400)
    opened = fill_slices(body & ~hole)
    assert np.count_nonzero(hole & ~opened) > 0.4 * np.count_nonzero(hole)
    ml, _ = voids.at_hip(water, fat, opened, joint)
    assert ml == pytest.approx(np.count_nonzero(hole) * grid.VOXEL_ML, rel=0.1)


def test_no_void_is_told_without_images_or_body(reference):
    dark = np.zeros(grid.SHAPE, np.int16)
    assert voids.at_hip(dark, dark, dark, (150, 88, 165)) == (0.0, None)
    record = landmarks.locate_with_record(real_image(reference))[1]
    assert record["void_ml"] is None


# --- the published route ------------------------------------------------------------------------


@pytest.mark.reference
@pytest.mark.slow
def test_atlas_route(reference, tmp_path):
    """A body left out of an atlas of four, one of them in this workflow's own layout."""
    source = reference / "atlas"
    for name in ("0004", "0014", "0018"):
        shutil.copytree(source / name, tmp_path / name)
    own = {body.name: body for body in atlas.read_folder(source)}["0013"]
    (tmp_path / "own").mkdir()
    shutil.copy(own.path, tmp_path / "own" / "body.nii.gz")
    (tmp_path / "own" / "landmarks.json").write_text(json.dumps(own.landmarks))
    known = {body.name: body for body in atlas.read_folder(source)}["0010"].landmarks
    found, record = landmarks.locate_with_record(real_image(reference, "0010"), atlas=tmp_path)
    assert record["route"] == "atlas"
    assert record["hip_spread"] < 10
    landmarks.assess(found)
    assert abs(found["11"][2] - known["11"][2]) <= 10
    assert abs(found["12"][0] - known["12"][0]) <= 8
    assert abs(found["1"][2] - known["1"][2]) <= 10


def standing(width):
    """A trunk on two legs, with a neck."""
    x, y, z = np.ogrid[: grid.SHAPE[0], : grid.SHAPE[1], : grid.SHAPE[2]]

    def column(centre, across, deep):
        return ((x - centre) / (across * width)) ** 2 + ((y - 85) / deep) ** 2 < 1

    trunk, neck = column(112, 70, 45), column(112, 30, 28)
    legs = column(112 - 36 * width, 32, 32) | column(112 + 36 * width, 32, 32)
    return np.select([z < 130, z < 345], [legs, trunk], neck).astype(np.uint8)


@pytest.mark.parametrize(("marked_higher", "flagged"), [((0, 0, 0), False), ((-12, 0, 12), True)])
def test_atlas_bodies_whose_hips_are_marked_elsewhere_are_flagged(tmp_path, marked_higher, flagged):
    for number, higher in enumerate(marked_higher):
        width = (0.95, 1.0, 1.05)[number]
        joints = np.zeros(grid.SHAPE, np.uint8)
        for key, aside, level in ((1, -60, 335), (2, 60, 335), (11, -37, 160), (12, 37, 160)):
            at = level + (higher if key > 2 else 0)
            joints[round(112 + aside * width), 85, at] = key
        images = {"mask.body": standing(width), "bone_joints": joints}
        for name, array in images.items():
            files.write_nifti(tmp_path / str(number) / f"{name}.nii.gz", grid.las_image(array))
    image = grid.las_image(standing(1.02))
    found, record = landmarks.locate_with_record(image, atlas=tmp_path)
    landmarks.assess(found, image)
    assert record["route"] == "atlas"
    assert ("landmarks_spread" in flags_of(record)) is flagged


def test_atlas_folder_must_hold_bodies(tmp_path):
    with pytest.raises(InputError, match=r"mask\.body"):
        atlas.read_folder(tmp_path)
    body = tmp_path / "one"
    body.mkdir()
    nib.save(grid.las_image(np.zeros((4, 4, 4), np.uint8)), body / "body.nii.gz")
    (body / "landmarks.json").write_text(json.dumps({"1": [0, 0, 3], "2": [3, 0, 3]}))
    with pytest.raises(InputError, match="11, 12"):
        atlas.read_folder(tmp_path)


def test_midline_ignores_thin_arms():
    thickness = np.zeros((224, 370))
    thickness[70:151] = 60  # trunk about x = 110
    thickness[200:215] = 15  # an arm on one side only
    assert silhouette.midline(thickness, range(100, 150)) == pytest.approx(110, abs=1.5)
