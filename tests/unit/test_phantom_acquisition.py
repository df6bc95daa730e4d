"""Dixon physics of the synthetic scans against UK Biobank's geometry and first principles."""

import numpy as np
import pytest

from iliopsoas import grid
from iliopsoas.phantom import acquisition, anatomy, tissues
from iliopsoas.phantom.traits import Traits

# UK Biobank's protocol: rows, columns, slices, thickness, breath hold, first y.
FORMAT = {
    1: (168, 224, 64, 3.0, False, -187.5),
    2: (174, 224, 44, 4.5, True, -194.196),
    3: (174, 224, 44, 4.5, True, -194.196),
    4: (174, 224, 44, 4.5, True, -194.196),
    5: (162, 224, 72, 3.5, False, -180.8),
    6: (156, 224, 64, 4.0, False, -174.1),
}


@pytest.fixture(scope="module")
def body():
    return anatomy.build(Traits("male", 60, 177.0, 84.0, 200.0, 205.0, 0.07, 21))


@pytest.fixture(scope="module")
def stations(body):
    return acquisition.acquire(body, np.random.default_rng(5))


def on_station(volume, station):
    """A stitched-grid volume at a station's slices, nearest, in the station's axis order."""
    rows = station.arrays["W"].shape[1]
    offset = (grid.SHAPE[1] - rows) // 2
    k = np.rint((station.position_lps[:, 2] - grid.ORIGIN_RAS_MM[2]) / 3.0).astype(int)
    part = volume[:, offset : offset + rows, np.clip(k, 0, grid.SHAPE[2] - 1)]
    return part.transpose(2, 1, 0)[:, ::-1]


def test_stations_have_the_published_geometry(stations):
    assert [station.number for station in stations] == [1, 2, 3, 4, 5, 6]
    for station in stations:
        rows, columns, slices, thickness, hold, first_y = FORMAT[station.number]
        for name in ("in", "opp", "F", "W"):
            assert station.arrays[name].shape == (slices, rows, columns)
            assert station.arrays[name].dtype == np.uint16
        assert station.thickness_mm == thickness
        assert station.breath_hold is hold
        position = station.position_lps
        assert np.allclose(position[:, 0], -250.0)
        assert np.allclose(position[:, 1], first_y, atol=0.05)
        assert np.allclose(np.diff(position[:, 2]), thickness)


def test_stations_stand_where_uk_biobanks_do(stations):
    first = {station.number: station.position_lps[0, 2] for station in stations}
    last = {station.number: station.position_lps[-1, 2] for station in stations}
    assert (first[6], last[6]) == (-1041.0, -789.0)
    assert (first[3], last[3]) == (-462.75, -269.25)
    assert (first[1], last[1]) == (-123.0, 66.0)
    overlaps = [last[n + 1] - first[n] for n in range(1, 6)]
    assert min(overlaps) > 15.0


def test_slice_weights_integrate_over_the_thickness():
    heights = np.array([-900.0, -895.5, -891.0])
    window, weights = acquisition.slice_weights(heights, 4.5)
    centres = grid.ORIGIN_RAS_MM[2] + 3.0 * np.arange(grid.SHAPE[2])[window]
    assert np.allclose(weights.sum(axis=1), 1)
    assert np.allclose(weights @ centres, heights, atol=0.6)
    # A slice 4.5 mm thick about a 3 mm voxel holds it whole and 0.75 mm of each neighbour.
    assert np.allclose(sorted(weights[0][weights[0] > 0]), [1 / 6, 1 / 6, 2 / 3])


def test_echoes_come_from_one_tissue_model(stations):
    for station in stations:
        water, fat, in_phase, opposed = (
            station.arrays[name].astype(float) for name in ("W", "F", "in", "opp")
        )
        bright = in_phase > 60
        total = water + fat
        assert np.median(np.abs(total - in_phase)[bright]) <= 0.03 * np.median(in_phase[bright])
        difference = np.abs(water - fat)
        assert np.median(np.abs(difference - opposed)[bright]) <= 0.04 * np.median(opposed[bright])


def test_fat_is_fat_and_muscle_is_water(body, stations):
    for station in stations[1:]:
        labels = on_station(body.labels, station)
        inner = np.s_[5:-5]
        water, fat = station.arrays["W"][inner], station.arrays["F"][inner]
        subcutaneous = labels[inner] == tissues.FAT.label
        muscle = tissues.membership(tissues.MUSCLES)[labels[inner]]
        assert np.median(fat[subcutaneous]) > 5 * np.median(water[subcutaneous])
        assert np.median(water[muscle]) > 4 * np.median(fat[muscle])


def test_noise_in_air_is_rician_and_small(body, stations):
    for station in stations:
        air = on_station(body.labels, station) == 0
        inner = air.copy()
        for axis in (1, 2):
            for shift in (-3, 3):
                inner &= np.roll(air, shift, axis)
        values = station.arrays["in"][4:-4][inner[4:-4]].astype(float)
        # Rayleigh: mean over standard deviation is sqrt(pi / (4 - pi)).
        assert values.mean() / values.std() == pytest.approx(1.913, rel=0.12)
        assert values.mean() < 0.05 * np.percentile(station.arrays["in"], 99)


def test_outermost_slices_are_dim(stations):
    for station in stations[2:]:
        signal = station.arrays["in"].astype(float).mean(axis=(1, 2))
        assert signal[0] < 0.85 * signal[4]
        assert signal[-1] < 0.85 * signal[-5]


def test_same_seed_same_scan_and_numbers_do_not_matter(body, stations):
    two = acquisition.acquire(body, np.random.default_rng(5), numbers=(4, 5))
    assert [station.number for station in two] == [4, 5]
    for alone, among in zip(two, stations[3:5], strict=True):
        for name in alone.arrays:
            assert np.array_equal(alone.arrays[name], among.arrays[name])


@pytest.mark.parametrize("number", [2, 4, 6])
def test_swapped_station_is_the_same_scan_exchanged(body, stations, number):
    (swapped,) = acquisition.acquire(
        body, np.random.default_rng(5), (f"swapped:{number}",), (number,)
    )
    right = stations[number - 1].arrays
    assert np.array_equal(swapped.arrays["W"], right["F"])
    assert np.array_equal(swapped.arrays["F"], right["W"])
    assert np.array_equal(swapped.arrays["in"], right["in"])
    assert np.array_equal(swapped.arrays["opp"], right["opp"])


@pytest.mark.parametrize("side", ["left", "right"])
def test_one_leg_swapped(body, stations, side):
    (swapped,) = acquisition.acquire(body, np.random.default_rng(5), (f"swapped:5:{side}",), (5,))
    right = stations[4].arrays
    middle = (body.landmarks["11"][0] + body.landmarks["12"][0]) / 2
    columns = np.arange(grid.SHAPE[0])  # the patient's left has the larger column
    chosen = columns > middle if side == "left" else columns < middle - 1
    assert np.array_equal(swapped.arrays["W"][..., chosen], right["F"][..., chosen])
    other = columns < middle - 1 if side == "left" else columns > middle
    assert np.array_equal(swapped.arrays["W"][..., other], right["W"][..., other])


def test_noisy_and_dim_faults_change_what_they_name(body, stations):
    noisy, dim = (
        acquisition.acquire(body, np.random.default_rng(5), (fault,), (3,))[0]
        for fault in ("noisy:3", "dim:3")
    )
    usual = stations[2].arrays["in"].astype(float)
    corner = np.s_[:, :12, 90:130]  # air in front of the body
    assert noisy.arrays["in"][corner].mean() > 3 * usual[corner].mean()
    assert np.percentile(dim.arrays["in"], 95) < 0.5 * np.percentile(usual, 95)


def test_jitter_moves_the_seams_only(body):
    heights = [
        acquisition.acquire(body, np.random.default_rng(seed), numbers=(2, 3), jitter_mm=3.0)
        for seed in (1, 2)
    ]
    assert heights[0][0].position_lps[0, 2] != heights[1][0].position_lps[0, 2]
    assert heights[0][1].position_lps[0, 2] == heights[1][1].position_lps[0, 2]


def acquired(body, fault, number):
    return acquisition.acquire(body, np.random.default_rng(5), (fault,), (number,))[0].arrays


def test_an_exchanged_ball_leaves_in_and_opposed_phase_alone(body, stations):
    """It comes from the field's phase: half a turn more, in a ball of 4.5 cm in the muscle."""
    right, found = stations[3].arrays, acquired(body, "exchanged:4:right-muscle", 4)
    assert np.array_equal(found["in"], right["in"])
    assert np.array_equal(found["opp"], right["opp"])
    changed = found["W"] != right["W"]
    assert np.array_equal(found["W"][changed], right["F"][changed])
    ml = changed.sum() * grid.IN_PLANE_MM**2 * 4.5 / 1000
    assert ml == pytest.approx(47.7, rel=0.15)  # a few voxels have as much fat as water
    muscle = on_station(body.iliopsoas, stations[3])
    assert (changed & (muscle == grid.RIGHT)).any()
    assert not (changed & (muscle == grid.LEFT)).any()


def test_masked_air_is_zero_and_tissue_is_not(body, stations):
    found = acquired(body, "masked:3", 3)
    air = on_station(body.labels, stations[2]) == 0
    assert (found["in"][5:-5][air[5:-5]] == 0).mean() > 0.9
    assert (found["in"][5:-5][~air[5:-5]] == 0).mean() < 0.1


def test_a_moved_station_shows_the_body_aside(body, stations):
    found = acquired(body, "moved:3:13", 3)["in"].astype(float).sum(axis=(0, 1))
    usual = stations[2].arrays["in"].astype(float).sum(axis=(0, 1))
    middle = np.arange(70, 155)  # the trunk without what the field of view cuts
    alike = [np.corrcoef(found[middle], usual[middle - by])[0, 1] for by in range(-10, 11)]
    assert (np.argmax(alike) - 10) * grid.IN_PLANE_MM == pytest.approx(13, abs=2)


def test_stations_do_not_show_the_body_at_quite_the_same_place(body):
    """The body moves by parts of a voxel between stations: one anatomy, two draws."""
    draws = [
        acquisition.acquire(body, np.random.default_rng(seed), numbers=(4,), noise=0.0)[0]
        for seed in (1, 2)
    ]
    places = []
    for station in draws:
        total = (station.arrays["in"] > 60).sum(axis=0).astype(float)
        places.append((total.sum(axis=0) @ np.arange(grid.SHAPE[0])) / total.sum())
    assert 0.01 < abs(places[0] - places[1]) < 1.5


def test_an_implant_is_a_void_with_an_exchanged_rim(body, stations):
    right, found = stations[3].arrays, acquired(body, "metal:4:left", 4)
    lost = (right["in"] > 120) & (found["in"] < 60)
    head = body.landmarks["12"]
    x = np.nonzero(lost)[2]
    assert lost.sum() * grid.IN_PLANE_MM**2 * 4.5 / 1000 > 15
    assert abs(np.median(x) - head[0]) < 5
    turned = (found["in"] == right["in"]) & (found["W"] == right["F"]) & (found["W"] != right["W"])
    assert turned.sum() > 1000
