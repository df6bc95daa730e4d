"""Exchanges inside a station: planted in bodies that are no phantom, found, mended, or named."""

import dixon_zip as dz
import numpy as np
import pytest

from iliopsoas.dixon import exchanges, stitch, swaps
from iliopsoas.dixon.series import Slab
from iliopsoas.dixon.voxels import exchange


@pytest.fixture(scope="module")
def seen():
    """Stations, their planes, and what is known of them before regions are looked for."""
    made = dz.make_stations(numbers=(3, 4), noise=12.0)
    stations, planes = [], {}
    for number, arrays in made.items():
        planes[number] = {
            name: dz.las(arrays[name]).astype(np.float32) for name in ("in", "F", "W")
        }
        step = np.array([dz.STEP, dz.STEP, 4.5])
        origin = np.array([250.0, -191.96, dz.STATIONS[number][3]])
        stations.append(Slab(number, planes[number], origin, step, 174, "", ""))
    target = stitch.Target((224, 174, 370), (250.0, -191.96, -1041.0))
    return stations, planes, target


def ball(shape, centre, radius_mm):
    x, y, z = np.ogrid[tuple(slice(0, n) for n in shape)]
    return (
        ((x - centre[0]) * dz.STEP) ** 2 + ((y - centre[1]) * dz.STEP) ** 2
        + ((z - centre[2]) * 4.5) ** 2
    ) < radius_mm**2  # fmt: skip


def look(seen, channels, number=4, **more):
    stations, _, target = seen
    station = next(s for s in stations if s.number == number)
    mask = swaps.foreground(channels["in"])
    return exchanges.find(channels, mask, np.zeros(mask.shape, np.float32), station, target, **more)


def test_a_clean_station_has_none(seen):
    for number in (3, 4):
        assert look(seen, seen[1][number], number) == []


@pytest.mark.parametrize(("centre", "radius"), [((150, 80, 20), 17), ((75, 90, 22), 22.5)])
def test_a_ball_is_found_and_mended(seen, centre, radius):
    channels = seen[1][4]
    where = ball(channels["W"].shape, centre, radius)
    spoiled = exchange(channels, where)
    regions = look(seen, spoiled)
    assert [region.mended for region in regions] == [True]
    assert regions[0].ml == pytest.approx(where.sum() * dz.STEP**2 * 4.5 / 1000, rel=0.1)
    x, y, z = regions[0].centre_mm
    assert x == pytest.approx(250 - centre[0] * dz.STEP, abs=5)
    assert y == pytest.approx(-191.96 + centre[1] * dz.STEP, abs=5)
    assert z == pytest.approx(-633.75 + 4.5 * centre[2], abs=5)
    wrong = exchanges.mend(spoiled, regions)["W"] != channels["W"]
    assert wrong[where].mean() < 0.05
    assert wrong[~where].mean() < 0.0005


def test_a_wedge_to_the_skin_is_mended(seen):
    channels = seen[1][4]
    x, y, z = np.indices(channels["W"].shape)
    where = (x > 140) & (y > 70) & (z > 15)
    spoiled = exchange(channels, where)
    mended = exchanges.mend(spoiled, look(seen, spoiled))
    tissue = swaps.foreground(channels["in"]) & where
    assert (mended["W"] != channels["W"])[tissue].mean() < 0.1


def test_water_as_bright_as_the_fat_around_it_is_no_exchange(seen):
    """Bowel contents: their border alone cannot tell them from exchanged fat."""
    channels = {name: part.copy() for name, part in seen[1][4].items()}
    fat = ball(channels["W"].shape, (112, 85, 22), 60)
    water = ball(channels["W"].shape, (112, 85, 22), 25)
    rng = np.random.default_rng(0)
    for where, f, w in ((fat, 850.0, 40.0), (water, 40.0, 850.0)):
        channels["F"][where] = f + rng.normal(0, 12, where.sum())
        channels["W"][where] = w + rng.normal(0, 12, where.sum())
        channels["in"][where] = f + w + rng.normal(0, 12, where.sum())
    assert look(seen, channels) == []


def test_what_is_too_small_to_matter_to_a_muscle_is_left_alone(seen):
    channels = seen[1][4]
    for radius, found in ((11.5, 0), (15, 1)):  # 6 and 14 ml
        spoiled = exchange(channels, ball(channels["W"].shape, (150, 80, 20), radius))
        assert len(look(seen, spoiled)) == found
        # left over of a station of which one side was put right
        assert len(look(seen, spoiled, in_part=True)) == 1


def test_fat_at_the_lung_that_air_makes_as_dim_as_the_liver_is_no_exchange(seen):
    """A layer of two voxels around an organ in a cavity: dim, its border smooth, opposite."""
    channels = {name: part.copy() for name, part in seen[1][4].items()}
    shape = channels["W"].shape
    cavity, layer, organ = (ball(shape, (112, 85, 22), r) for r in (70, 55, 50))
    rng = np.random.default_rng(0)
    for where, f, w in ((cavity, 0.0, 0.0), (layer, 420.0, 20.0), (organ, 20.0, 420.0)):
        channels["F"][where] = np.abs(f + rng.normal(0, 12, where.sum()))
        channels["W"][where] = np.abs(w + rng.normal(0, 12, where.sum()))
        channels["in"][where] = np.abs(f + w + rng.normal(0, 12, where.sum()))
    assert look(seen, channels) == []


def test_the_record_holds_volume_and_place(seen):
    region = exchanges.Region(4, np.zeros(1, bool), 47.2, (80.1, -20.0, -500.4), 300, 0.95, True)
    record = exchanges.record([region])
    assert record["exchanges_mended"] == ["4:47ml@80/-20/-500"]
    assert record["exchanges_mended_ml"] == 47.2
    assert record["exchanges_doubtful"] == []
    assert record["exchanges_doubtful_ml"] == 0
