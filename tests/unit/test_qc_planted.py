"""Flags reached from faults planted in images or zips, through the code that the stages run."""

import numpy as np
import pytest
from dixon_zip import STATIONS, encode, in_memory, make_stations, scan_items, write_zip
from scipy import ndimage

from iliopsoas import grid
from iliopsoas.crops import box, cut, normalise, normaliser
from iliopsoas.dixon import process, stitch
from iliopsoas.dixon.series import build_stations
from iliopsoas.masks import volumes
from iliopsoas.network import segmentation
from iliopsoas.network.segmentation import Segmenter, Subject
from iliopsoas.qc import evidence
from iliopsoas.qc.judge import judge_one

JOINTS = {"1": (60, 80, 345), "2": (170, 80, 345), "11": (72, 80, 158), "12": (152, 80, 158)}
CENTRE = {"left": 150, "right": 74}
LEVELS = (120, 275)


class Brightness:
    """A network whose probability of muscle is the brightness of the crop."""

    def predict_on_batch(self, batch):
        return np.clip(batch, 0, 1)


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


def judged(images, joints=JOINTS, records=None):
    """Crops, network, post-processing, volumes, evidence and flags of one participant."""
    water, fat, body = (images[name] for name in ("water", "fat", "body"))
    raw = {side: cut(water, joints, side) for side in grid.SIDES}
    crops = {side: normalise(part, normaliser(part)) for side, part in raw.items()}
    found = segmentation.segment_subject(Segmenter([Brightness()]), Subject(crops, joints))
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
