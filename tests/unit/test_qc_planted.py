"""Flags reached from faults planted in images or zips, through the code that the stages run."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dixon_zip import STATIONS, STEP, encode, in_memory, make_stations, scan_items, write_zip
from scipy import ndimage

from iliopsoas import grid, landmarks
from iliopsoas.crops import box, cut, normalise, normaliser
from iliopsoas.dixon import exchanges, process, stitch
from iliopsoas.dixon.series import build_stations
from iliopsoas.masks import volumes
from iliopsoas.network import segmentation
from iliopsoas.network.segmentation import Segmenter, Subject
from iliopsoas.phantom import anatomy
from iliopsoas.phantom.traits import Traits
from iliopsoas.qc import evidence
from iliopsoas.qc.checks import CHECKS
from iliopsoas.qc.judge import judge, judge_one

JOINTS = {"1": (60, 80, 345), "2": (170, 80, 345), "11": (72, 80, 158), "12": (152, 80, 158)}
CENTRE = {"left": 150, "right": 74}
LEVELS = (120, 275)


class Brightness:
    """A network whose probability of muscle is the brightness of the crop."""

    def __init__(self, gain=1.0):
        self.gain = gain

    def predict_on_batch(self, batch):
        return np.clip(self.gain * batch, 0, 1)


def a_body():
    """Water, fat and body mask: two tapering bright muscles in a dimmer body."""
    water = np.zeros(grid.SHAPE, np.int16)
    body = np.zeros(grid.SHAPE, bool)
    body[20:205, 30:150] = True
    water[body] = 150
    x, y = np.ogrid[: grid.SHAPE[0], : grid.SHAPE[1]]
    for level in range(*LEVELS):
        radius = 11 * np.sqrt(np.sin(np.pi * (level - LEVELS[0] + 0.5) / (LEVELS[1] - LEVELS[0])))
        for centre in CENTRE.values():
            water[..., level][(x - centre) ** 2 + (y - 85) ** 2 < radius**2] = 700
    fat = np.where(body & (water < 200), 500, 30).astype(np.int16)
    return {"water": water, "fat": fat, "body": body}


@pytest.fixture(scope="module")
def sound():
    return a_body()


def judged(images, joints=JOINTS, records=None, networks=None):
    """Crops, network, post-processing, volumes, evidence and flags of one participant."""
    water, fat, body = (images[name] for name in ("water", "fat", "body"))
    raw = {side: cut(water, joints, side) for side in grid.SIDES}
    crops = {side: normalise(part, normaliser(part)) for side, part in raw.items()}
    found = segmentation.segment_subject(
        Segmenter(networks or [Brightness()]), Subject(crops, joints)
    )
    affine = grid.las_affine()
    measures = volumes.measure(found.mask, affine, water, fat)
    seen = evidence.gather(found.mask, affine, water, body, joints)
    records = {"segment": found.record, "volumes": seen} | (records or {})
    return set(filter(None, judge_one(measures, records)["qc_flags"].split(",")))


def muscle(side, levels=LEVELS):
    return (
        slice(CENTRE[side] - 20, CENTRE[side] + 21),
        slice(60, 111),
        slice(*levels),
    )


def seen_elsewhere(images, joints=JOINTS):
    """The crop's own edge through the muscle: the joints lie too far to one side."""
    moved = {key: (point[0] + 35, *point[1:]) for key, point in joints.items()}
    return images, moved


def cut_off(images):
    images["water"][..., 200:] = np.where(images["body"][..., 200:], 150, 0)


def loose_piece(images):
    images["water"][muscle("left", (160, 180))] = 700
    images["water"][CENTRE["left"] - 20 : CENTRE["left"] + 21, 60:111, 178:182] = 150


def holes(images):
    images["water"][CENTRE["right"] - 5 : CENTRE["right"] + 6, 80:91, 180:210] = 150


def off_the_body(images):
    images["body"][:, :95] = False


def exchanged(images):
    """Fat and water exchanged on levels where the network still sees a muscle."""
    images["fat"][muscle("left")] = images["water"][muscle("left")]


def dim_station(images):
    images["water"][..., 200:] //= 2
    images["water"][..., 200:] += 15 * images["body"][..., 200:].astype(np.int16)


def large_and_uneven(images):
    images["water"][CENTRE["left"] - 32 : CENTRE["left"] + 33, 50:120, 130:265] = 700


@pytest.mark.parametrize(
    ("fault", "flag"),
    [
        (cut_off, "ends_flat"),
        (loose_piece, "in_pieces"),
        (holes, "holes_filled"),
        (off_the_body, "outside_body"),
        (exchanged, "unlike_muscle_fat"),
        (dim_station, "seam_in_muscle"),
        (large_and_uneven, "volume_high"),
        (large_and_uneven, "asymmetry_large"),
        (large_and_uneven, "area_jumps"),
    ],
)
def test_a_fault_planted_in_the_images_reaches_its_flag(sound, fault, flag):
    images = {name: image.copy() for name, image in sound.items()}
    fault(images)
    assert flag in judged(images)


def test_a_sound_body_has_none_of_these_flags(sound):
    assert judged(sound) == set()


def test_an_unsure_network_and_networks_that_disagree_are_flagged(sound):
    assert "network_unsure" in judged(sound, networks=[Brightness(0.7)])
    flags = judged(sound, networks=[Brightness(), Brightness(0.45)])
    assert "models_disagree" in flags


def tapering(scale=1.0, sides=("left", "right"), rise=0):
    """A mask of the two muscles of `a_body`, thinner by a factor, some levels higher."""
    mask = np.zeros(grid.SHAPE, np.uint8)
    x, y = np.ogrid[: grid.SHAPE[0], : grid.SHAPE[1]]
    for level in range(*LEVELS):
        along = np.sin(np.pi * (level - LEVELS[0] + 0.5) / (LEVELS[1] - LEVELS[0]))
        for side in sides if level + rise < grid.SHAPE[2] else ():
            inside = (x - CENTRE[side]) ** 2 + (y - 85) ** 2 < (11 * scale) ** 2 * along
            mask[..., level + rise][inside] = grid.SIDES[side]
    return mask


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"sides": ["left"]}, "side_missing"),
        ({"scale": 0.35}, "volume_low"),
        ({"rise": 120}, "touches_image"),
        ({}, None),
    ],
)
def test_a_mask_that_misses_the_muscle_is_flagged(sound, changes, flag):
    mask = tapering(**changes)
    measures = volumes.measure(mask, grid.las_affine(), sound["water"], sound["fat"])
    seen = evidence.gather(mask, grid.las_affine(), sound["water"], sound["body"], JOINTS, {})
    flags = judge_one(measures, {"volumes": seen})["qc_flags"].split(",")
    assert flag in flags if flag else not {"side_missing", "volume_low", "touches_image"} & {*flags}


def test_a_muscle_on_the_crops_face_is_flagged(sound):
    images, joints = seen_elsewhere(sound)
    assert box(joints, "left", grid.SHAPE).x > box(JOINTS, "left", grid.SHAPE).x
    assert "touches_crop" in judged(images, joints)


def test_another_tools_mask_across_the_midline_is_flagged_and_ours_is_not_asked(sound):
    mask = np.zeros(grid.SHAPE, np.uint8)
    mask[100:130, 70:100, 160:200] = grid.LEFT  # the midline is at 112
    affine = grid.las_affine()
    measures = volumes.measure(mask, affine, sound["water"], sound["fat"])
    for boxes, found in (({}, True), (None, False)):
        seen = evidence.gather(mask, affine, sound["water"], sound["body"], JOINTS, boxes)
        result = judge_one(measures, {"volumes": seen})
        assert ("across_midline" in result["qc_flags"]) is found
        assert ("across_midline" in result["not_evaluated"]) is not found


# --- among others --------------------------------------------------------------------------------


def small_images(height, girth=1.0, left=1.0, length=1.0, bright=1.0):
    """Mask, water and body of one person on a small grid; factors on the muscles."""
    x, y, z = np.indices((60, 40, 90))
    half = 23 * height / 170 * length
    shape = np.cos(np.pi / 2 * np.clip((z - 45) / half, -1, 1))
    mask = np.zeros(x.shape, np.uint8)
    for label, centre, factor in ((grid.RIGHT, 16, 1.0), (grid.LEFT, 44, left)):
        radius = 7 * girth * factor * shape
        mask[((x - centre) ** 2 + (y - 20) ** 2 < radius**2) & (radius > 0.5)] = label
    body = (x > 2) & (x < 57) & (y > 2) & (y < 37)
    water = np.where(mask > 0, 80.0 * bright, np.where(body, 100.0, 0.0)).astype(np.float32)
    return mask, water, body


@pytest.fixture(scope="module")
def cohort_flags():
    """Flags by participant of 60 people measured on images; the first five are odd ones."""
    rng = np.random.default_rng(4)
    odd = [{"length": 1.5}, {"bright": 0.5}, {"left": 1.25}, {"girth": 1.5}, {}]
    affine, rows, people = grid.las_affine(spacing=(3.5, 3.5, 4.0)), [], []
    visits = [(number, "2") for number in range(60)] + [(4, "3"), (5, "3")]
    heights, own = rng.normal(170, 7, 60), {}
    for number, instance in visits:
        person = own.setdefault(number, dict(zip(
            ("girth", "left", "length", "bright"), 1 + rng.normal(0, (0.04, 0.02, 0.02, 0.03)),
            strict=True,
        )))  # fmt: skip
        changes = odd[number] if number < len(odd) else {}
        given = person | changes
        if (number, instance) == (4, "3"):
            given["girth"] *= 0.8
        mask, water, body = small_images(heights[number], **given)
        points = {"11": (20, 20, 20), "12": (40, 20, 20)}
        key = {"eid": f"{1000001 + number}", "instance": instance}
        seen = evidence.gather(mask, affine, water, body, points, {})
        measures = volumes.measure(mask, affine, water, 0.1 * water)
        rows.append(key | {"verdict": "ok", "message": "", "fingerprint": "f"} | measures | seen)
        people.append(
            key
            | {"sex": "female" if number % 2 else "male", "height_cm": heights[number]}
            | {"age": 60 + number % 7, "bmi": 25 + number % 5, "centre": "one"}
        )
    sample, ledgers = pd.DataFrame(people), {"volumes": pd.DataFrame(rows)}
    found = judge(sample, volumes.table(sample, ledgers), ledgers).flags
    return {eid: set(part["flag"]) for eid, part in found.groupby("eid")}


@pytest.mark.parametrize(
    ("person", "flags"),
    [
        (0, {"length_outlier"}),
        (1, {"unlike_muscle_signal"}),
        (2, {"asymmetry_outlier", "asymmetry_large"}),
        (3, {"volume_outlier", "index_outlier"}),
        (4, {"visits_disagree"}),
    ],
)
def test_who_is_unlike_the_others_is_flagged_from_images(cohort_flags, person, flags):
    assert flags <= cohort_flags[f"{1000001 + person}"]
    others = [cohort_flags.get(f"{1000001 + number}", set()) for number in range(5, 60)]
    assert sum(bool(flags & other) for other in others) <= 2


# --- stations ------------------------------------------------------------------------------------


def seams(stations):
    """What the Dixon stage records of the seams between stations, in memory."""
    built = build_stations(in_memory(stations))
    target = stitch.choose_target(built)
    weights = stitch.station_weights(built, target)
    _, record = process._match_gains(built, process.take_planes(built, target), weights, target)
    return record


def reached(record, low_mm=-700.0, high_mm=-280.0):
    """The flags of a muscle between two heights."""
    levels = {f"{side}_lowest_mm": low_mm for side in grid.SIDES}
    levels |= {f"{side}_highest_mm": high_mm for side in grid.SIDES}
    return judge_one({"left_ml": 300.0, "right_ml": 300.0}, {"dixon": record, "volumes": levels})[
        "qc_flags"
    ]


@pytest.fixture(scope="module")
def acquired():
    return make_stations(numbers=(2, 3, 4, 5))


@pytest.mark.parametrize("moved_mm", [0, 13])
def test_a_station_that_moved_sideways_is_flagged(acquired, moved_mm):
    stations = {number: dict(channels) for number, channels in acquired.items()}
    voxels = round(moved_mm / 2.232)
    stations[3] = {name: np.roll(array, voxels, axis=2) for name, array in stations[3].items()}
    record = seams(stations)
    assert ("stations_differ" in reached(record)) is bool(moved_mm)
    for seam in ("4_3", "3_2"):
        assert STATIONS[3][3] - 10 < record[f"seam_mm_{seam}"] < STATIONS[2][3] + 40
    # a muscle that does not reach the station has no part in it
    assert "stations_differ" not in reached(record, -720.0, -640.0)


def test_another_persons_station_is_flagged(acquired):
    stations = {number: dict(channels) for number, channels in acquired.items()}
    other = make_stations(numbers=(3,), rim=26.0, seed=5)[3]
    stations[3] = {  # narrower, fatter, other organs
        name: ndimage.zoom(array[:, ::-1], (1, 1, 1), order=0)[..., ::-1]
        for name, array in other.items()
    }
    assert "stations_differ" in reached(seams(stations))


# --- what a zip holds ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_scan(tmp_path_factory):
    """Function that takes a fault in a scan's items to the notes of that scan."""
    from iliopsoas.ukb.archive import open_scan

    folder = tmp_path_factory.mktemp("zips")

    def notes(name, items, extra=()):
        scan = open_scan(write_zip(folder / f"{name}.zip", items, extra))
        stations = build_stations(scan.slices)
        return process._record(scan, stations, stitch.choose_target(stations))

    return notes


def without(items, number, channel, indices):
    return [i for i in items if not (i[0] == number and i[1] == channel and i[2] in indices)]


def test_stations_that_come_twice_with_odd_channels_elsewhere_are_noted(of_scan):
    stations = make_stations()
    stations[3]["F"] = stations[3]["F"][:, 4:-4, 4:-4]
    del stations[2]["in"]
    items = scan_items(stations)
    again = scan_items({4: stations[4]})
    for item in again:
        item[-1].SeriesTime = item[-1].AcquisitionTime = "120000.000"
        item[-1].SeriesNumber += 40
    for item in items + again:
        item[-1].ImagePositionPatient[2] += 37.0
    record = of_scan("odd", items + again)
    found = judge_one({}, {"dixon": record})
    assert set(found["qc_flags"].split(",")) == {
        "stations_acquired_twice",
        "channels_refitted",
        "in_phase_made",
        "off_published_grid",
    }


def test_what_reading_had_to_decide_is_noted(of_scan):
    items = scan_items(make_stations())
    whole = encode(items[0][-1])
    items = [item for item in items if item[0] != 6]
    items = without(without(items, 3, "W", [20]), 2, "W", [0])
    record = of_scan("faulty", items, [("short.dcm", whole[: len(whole) // 2])])
    found = judge_one({}, {"dixon": record})
    assert set(found["qc_flags"].split(",")) == {
        "stations_missing",
        "slices_interpolated",
        "slices_trimmed",
        "unreadable_files",
    }
    assert found["qc_verdict"] == "note"


# --- the whole of the Dixon stage, and the joints -------------------------------------------------


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Flags of a scan that was read, decided, corrected and stitched, with several faults."""
    stations = make_stations(noise=6.0)
    x = -250 + STEP * np.arange(224)[None, None, :]
    for number, channels in stations.items():
        rows, slices, thick, low, _ = STATIONS[number]
        y = ((rows - 1) / 2 * STEP + 1.116 - STEP * np.arange(rows))[None, :, None]
        z = (low + thick * np.arange(slices))[:, None, None]
        # an implant at the left hip; some values that 16 bits cannot hold
        void = (x - 80) ** 2 + (y - 15) ** 2 + (z + 600) ** 2 < 24**2
        for name, array in channels.items():
            array[void] = 0
            if number == 3 and name != "opp":
                array[20, 80:83, 110:113] = 65_000
        del channels["opp"]
    stations[2]["F"], stations[2]["W"] = stations[2]["W"], stations[2]["F"]
    path = tmp_path_factory.mktemp("damaged") / "1234567_20201_2_0.zip"
    result = process.process_scan(write_zip(path, scan_items(stations), level=0), bias_shrink=6)
    _, joints = landmarks.locate_with_record(result.body, result.water, result.fat)
    assert joints["void_ml_right"] == 0
    records = {"dixon": result.record, "landmarks": joints}
    return set(judge_one({}, records)["qc_flags"].split(","))


@pytest.mark.parametrize("flag", ["metal_at_hip", "intensities_clipped", "swaps_corrected"])
def test_a_fault_in_the_zip_reaches_its_flag(damaged, flag):
    assert flag in damaged
    assert not damaged & {"stations_missing", "off_published_grid", "low_signal_to_noise"}


def decided(stations):
    """The record of what the Dixon stage decides before it corrects stations."""
    built = build_stations(in_memory(stations))
    target = stitch.choose_target(built)
    planes = process.take_planes(built, target)
    _, found, _, regions = process.undo_exchanges(built, planes, target)
    record = process._swap_record(found) | exchanges.record(regions)
    return record | process._outline_record(found.masks, built, target)


def flags_of(record):
    return set(judge_one({}, {"dixon": record})["qc_flags"].split(","))


@pytest.fixture(scope="module")
def undisturbed(acquired):
    return decided(acquired)


def exchanged_ball(stations, enclosed=False):
    """A ball in a muscle; where enclosed, in a dark shell with an opening to the front."""
    z, y, x = np.ogrid[:44, :174, :224]
    before = (90 - y) * STEP
    distance = np.sqrt(((z - 22) * 4.5) ** 2 + before**2 + ((x - 145) * STEP) ** 2)
    ball = distance < (20 if enclosed else 22.5)
    if enclosed:
        shell = ~ball & (distance < 25) & (before < 0.85 * distance)
        stations[3] = {name: np.where(shell, 5, part) for name, part in stations[3].items()}
    fat, water = stations[3]["F"], stations[3]["W"]
    stations[3]["F"], stations[3]["W"] = np.where(ball, water, fat), np.where(ball, fat, water)


def hidden_ball(stations):
    """Most of its border tells nothing: too little for putting it right."""
    exchanged_ball(stations, enclosed=True)


def beside_the_table(stations):
    """Moved by 13 cm, so that one side lies outside the field of view."""
    for channels in stations.values():
        for name, array in channels.items():
            channels[name] = np.pad(array[..., 60:], ((0, 0), (0, 0), (0, 60)))


def leaking(stations):
    """A separation that nearly failed: fat and water differ by a twelfth of what they do."""
    for channels in stations.values():
        fat, water = channels["F"].astype(float), channels["W"].astype(float)
        mean = (fat + water) / 2
        for name, part in (("F", fat), ("W", water)):
            channels[name] = np.rint(mean + 0.08 * (part - mean)).astype(np.uint16)


@pytest.mark.parametrize(
    ("fault", "flags"),
    [
        (None, set()),
        (exchanged_ball, {"exchange_mended"}),
        (hidden_ball, {"exchange_doubtful"}),
        (beside_the_table, {"outline_cut"}),
        (leaking, {"swap_uncertain"}),
    ],
)
def test_what_decides_about_fat_and_water_reaches_its_flag(acquired, undisturbed, fault, flags):
    stations = {number: dict(channels) for number, channels in acquired.items()}
    asked = {"exchange_mended", "exchange_doubtful", "outline_cut", "swap_uncertain"}
    if fault is None:
        assert not flags_of(undisturbed) & asked
        return
    fault(stations)
    record = decided(stations)
    assert flags_of(record) & asked == flags
    if fault is beside_the_table:  # what is cut off tells nothing, and the record says so
        names = sorted(name for name in record if name.startswith("swap_patches_"))
        units = ["2", "3left", "3right", "4left", "4right", "5left", "5right"]
        assert names == [f"swap_patches_{unit}" for unit in units]
        now, before = (sum(found[name] for name in names) for found in (record, undisturbed))
        assert now < 0.85 * before


def test_noise_is_flagged():
    built = build_stations(in_memory(make_stations(numbers=(2, 3, 4, 5), noise=220.0)))
    planes = process.take_planes(built, stitch.choose_target(built))
    _, record = process._correct_stations(built, planes, 8)
    assert "low_signal_to_noise" in flags_of(record)


# --- implants and joints --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def man():
    return anatomy.build(Traits("male", 60, 176.0, 82.0, 300.0, 310.0, 0.08, 5), step=2)


def of_hips(body, implants=(), top=grid.SHAPE[2]):
    """Flags of a body's joints, with implants at some hips and cut at the top."""
    water, fat = (1000 * part for part in (body.water, body.fat))
    for key in implants:
        axes = np.ogrid[tuple(slice(n) for n in grid.SHAPE)]
        parts = zip(axes, body.landmarks[key], grid.SPACING_MM, strict=True)
        distance = np.sqrt(sum(((axis - at) * mm) ** 2 for axis, at, mm in parts))
        rim, void = distance < 30, distance < 22.5
        water, fat = np.where(rim, fat, water), np.where(rim, water, fat)
        water[void] = fat[void] = 0
    inside = (body.labels > 0) & (np.arange(grid.SHAPE[2]) < top)
    mask = grid.las_image(inside.astype(np.uint8))
    images = (grid.las_image(part.astype(np.int16)) for part in (water, fat))
    points, record = landmarks.locate_with_record(mask, *images)
    landmarks.assess(points, mask)
    flags = judge_one({}, {"landmarks": record})["qc_flags"]
    return set(filter(None, flags.split(",")))


@pytest.mark.parametrize(
    ("fault", "flags"),
    [
        ({}, set()),
        ({"implants": ["11"]}, {"metal_at_hip", "hip_mirrored"}),
        ({"implants": ["11", "12"]}, {"metal_at_hip", "hips_doubtful"}),
        ({"top": 314}, {"shoulders_default"}),  # what station 2 does not reach
    ],
)
def test_implants_and_missing_shoulders_reach_their_flags(man, fault, flags):
    assert of_hips(man, **fault) == flags


@pytest.mark.slow
@pytest.mark.reference
def test_an_implant_in_a_real_outline_is_flagged_from_its_zip(
    reference, tmp_path, monkeypatch, request
):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    bodies, implants = (importlib.import_module(name) for name in ("bodies", "implants"))
    rng = np.random.default_rng(0)
    body = bodies.paint(reference / "atlas" / "0010", 0, reference=reference)
    changed, planted = implants.variant(body, "right implant", 0, rng)
    path = tmp_path / "1000000_20201_2_0.zip"
    implants.write_zip(path, bodies.scan(changed, 0), rng)
    found = implants.measured(path, body.hips, bias_shrink=6)
    assert not found["refused"]
    assert {"metal_at_hip", "hip_mirrored"} <= found["flags"]
    assert found["found"]["left"] == 0  # the sound side
    # a small void's border is lost to blur and slices of 4.5 mm
    assert 0.5 * planted["right"] < found["found"]["right"] < 1.1 * planted["right"]
    assert found["off"] <= 10


def test_every_flag_is_planted():
    """In this file, or in the files of what the flag is about."""
    others = ("landmarks", "qc_quality", "second_opinion", "methods")
    files = [Path(__file__), *(Path(__file__).with_name(f"test_{name}.py") for name in others)]
    text = "".join(path.read_text() for path in files)
    assert [name for name in CHECKS if f'"{name}"' not in text] == []
