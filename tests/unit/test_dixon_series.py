"""Slices to stations: geometry, gaps, repeats, and what is refused."""

import dataclasses

import dixon_zip as dz
import numpy as np
import pytest

from iliopsoas.dixon.series import build_stations
from iliopsoas.status import Refused, Verdict


@pytest.fixture(scope="module")
def made():
    return dz.make_stations(noise=3.0)


@pytest.fixture
def slices(made):
    return dz.in_memory(made)


def change(slices, keep=lambda s: True, **changes):
    return [dataclasses.replace(s, **changes) if keep(s) else s for s in slices]


def of(slices, number, channel=None):
    return [
        s
        for s in slices
        if s.name.startswith(f"{number}.{channel or ''}")
        and (channel is None or s.name.split(".")[1] == channel)
    ]


def refused(slices):
    with pytest.raises(Refused) as error:
        build_stations(slices)
    return error.value


def assert_same(stations, other):
    assert [s.number for s in stations] == [s.number for s in other]
    for a, b in zip(stations, other, strict=True):
        np.testing.assert_allclose(a.origin, b.origin, atol=1e-6)
        np.testing.assert_allclose(a.spacing, b.spacing, atol=1e-9)
        for channel in ("in", "F", "W"):
            np.testing.assert_array_equal(a.channels[channel], b.channels[channel])


def test_six_stations_in_las(made, slices):
    rng = np.random.default_rng(1)
    stations = build_stations([slices[k] for k in rng.permutation(len(slices))])
    assert [s.number for s in stations] == [1, 2, 3, 4, 5, 6]
    for station in stations:
        rows, count, thick, low, _ = dz.STATIONS[station.number]
        # rows run to posterior in the files, y to anterior here
        np.testing.assert_array_equal(station.channels["W"], dz.las(made[station.number]["W"]))
        assert station.channels["W"].shape == (224, rows, count)
        last_row = -(dz.first_row_lps(rows) + (rows - 1) * dz.STEP)
        np.testing.assert_allclose(station.origin, [250.0, last_row, low])
        np.testing.assert_allclose(station.spacing, [dz.STEP, dz.STEP, thick], rtol=1e-9)


def stored_otherwise(item, how):
    """The same voxels at the same places, stored in another order."""
    x, y = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    pixels, position = item._pixels, item.position
    if how == "x":
        return dataclasses.replace(
            item,
            _pixels=pixels[:, ::-1],
            position=position + x * dz.STEP * 223,
            orientation=np.array([-1.0, 0, 0, 0, 1, 0]),
        )
    if how == "y":
        return dataclasses.replace(
            item,
            _pixels=pixels[::-1],
            position=position + y * dz.STEP * (item.rows - 1),
            orientation=np.array([1.0, 0, 0, 0, -1, 0]),
        )
    return dataclasses.replace(
        item,
        _pixels=pixels.T,
        rows=item.columns,
        columns=item.rows,
        orientation=np.array([0.0, 1, 0, 1, 0, 0]),
    )


@pytest.mark.parametrize("how", ["x", "y", "transposed"])
def test_flipped_and_rotated_storage_gives_the_same_volumes(slices, how):
    assert_same(build_stations([stored_otherwise(s, how) for s in slices]), build_stations(slices))


def test_coronal_storage_gives_the_same_volumes(made, slices):
    coronal = []
    for number, channels in made.items():
        _, _, thick, low, _ = dz.STATIONS[number]
        for channel, array in channels.items():
            first = of(slices, number, channel)[0]
            top = low + thick * (len(array) - 1)
            for row in range(array.shape[1]):
                position = [-250.0, first.position[1] + row * dz.STEP, top]
                coronal.append(
                    dataclasses.replace(
                        first,
                        _pixels=array[::-1, row],
                        rows=len(array),
                        position=np.array(position),
                        spacing=(thick, dz.STEP),
                        orientation=np.array([1.0, 0, 0, 0, 0, -1]),
                    )
                )
    assert_same(build_stations(coronal), build_stations(slices))


@pytest.mark.parametrize(("degrees", "fine"), [(0.1, True), (2.0, False), (10.0, False)])
def test_oblique(slices, degrees, fine):
    a = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turned = [
        dataclasses.replace(
            s,
            position=turn @ s.position,
            orientation=np.concatenate([turn @ s.orientation[:3], turn @ s.orientation[3:]]),
        )
        for s in slices
    ]
    if fine:
        assert len(build_stations(turned)) == 6
    else:
        assert refused(turned).verdict is Verdict.OBLIQUE


def test_43_of_44_slices(made, slices):
    gone = of(slices, 3, "W")[20]
    stations = build_stations([s for s in slices if s is not gone])
    station = next(s for s in stations if s.number == 3)
    assert station.notes["slices_interpolated"] == ["3:W:21"]
    found, truth = station.channels["W"], dz.las(made[3]["W"]).astype(float)
    assert found.shape == truth.shape
    error = np.abs(found[..., 20] - truth[..., 20]).mean()
    neighbour = np.abs(truth[..., 21] - truth[..., 20]).mean()
    assert error < neighbour
    others = np.delete(np.arange(44), 20)
    np.testing.assert_array_equal(found[..., others], truth[..., others])


def test_two_inner_slices_are_too_many(slices):
    gone = of(slices, 3, "W")[20:22]
    assert refused([s for s in slices if s not in gone]).verdict is Verdict.SLICES_MISSING


@pytest.mark.parametrize("end", [0, -1])
def test_an_outer_slice_missing_in_one_channel_shortens_the_station(slices, end):
    gone = of(slices, 3, "F")[end]
    stations = build_stations([s for s in slices if s is not gone])
    station = next(s for s in stations if s.number == 3)
    assert {a.shape[2] for a in station.channels.values()} == {43}
    assert station.notes["slices_trimmed"] == 1
    assert station.low == pytest.approx(-462.75 + (4.5 if end == 0 else 0.0))


def later(items, seconds, factor, name):
    return [
        dataclasses.replace(
            s,
            when=(s.when[0], s.when[1] + seconds, s.when[2]),
            series=(name + s.series[0], "99", s.series[2]),
            _pixels=s._pixels // factor,
        )
        for s in items
    ]


def test_of_a_station_acquired_twice_the_newest_wins(made, slices):
    again = later(of(slices, 4), 300.0, 2, "again")
    stations = build_stations(again + slices)
    station = next(s for s in stations if s.number == 4)
    np.testing.assert_array_equal(station.channels["W"], dz.las(made[4]["W"]) // 2)
    np.testing.assert_array_equal(station.channels["F"], dz.las(made[4]["F"]) // 2)
    assert station.notes["acquisitions"] == 2


def test_a_repeat_after_the_table_moved_is_the_same_station(made, slices):
    again = [
        dataclasses.replace(s, position=s.position + np.array([0, 0, 25.0]))
        for s in later(of(slices, 4), 300.0, 2, "again")
    ]
    stations = build_stations(again + slices)
    assert [s.number for s in stations] == [1, 2, 3, 4, 5, 6]
    assert stations[3].low == pytest.approx(dz.STATIONS[4][3] + 25.0)
    np.testing.assert_array_equal(stations[3].channels["W"], dz.las(made[4]["W"]) // 2)


def test_an_unfinished_repeat_does_not_lend_single_channels(made, slices):
    again = later(of(slices, 4, "F") + of(slices, 4, "in"), 300.0, 2, "again")
    station = next(s for s in build_stations(slices + again) if s.number == 4)
    for channel in ("in", "F", "W"):
        np.testing.assert_array_equal(station.channels[channel], dz.las(made[4][channel]))


@pytest.mark.parametrize("gone", [(1,), (6,), (1, 6)])
def test_stations_1_and_6_may_be_missing(made, gone):
    left = {n: c for n, c in made.items() if n not in gone}
    assert [s.number for s in build_stations(dz.in_memory(left))] == sorted(left)


@pytest.mark.parametrize("gone", [2, 3, 4, 5])
def test_other_stations_may_not(made, gone):
    left = {n: c for n, c in made.items() if n != gone}
    error = refused(dz.in_memory(left))
    assert error.verdict is Verdict.STATION_MISSING
    assert f"station {gone} " in error.message


@pytest.mark.parametrize("channel", ["F", "W"])
def test_a_channel_missing(slices, channel):
    gone = of(slices, 3, channel)
    assert refused([s for s in slices if s not in gone]).verdict is Verdict.CHANNEL_MISSING


def test_without_in_phase_it_is_made_of_fat_and_water(slices):
    gone = of(slices, 3, "in")
    station = build_stations([s for s in slices if s not in gone])[2]
    assert station.notes["in_phase_made"]
    np.testing.assert_array_equal(
        station.channels["in"], station.channels["F"] + station.channels["W"]
    )


@pytest.mark.parametrize("channel", ["in", "F", "W"])
@pytest.mark.parametrize("value", [0, 100])
def test_an_empty_or_constant_channel(slices, channel, value):
    ids = {id(s) for s in of(slices, 3, channel)}
    flat = np.full((174, 224), value, np.uint16)
    error = refused(change(slices, lambda s: id(s) in ids, _pixels=flat))
    assert error.verdict is Verdict.CHANNEL_EMPTY


def test_unequal_sizes_are_aligned_by_position(slices):
    ids = {id(s) for s in of(slices, 3, "F")}
    small = [
        dataclasses.replace(
            s,
            _pixels=s._pixels[2:-2, 3:-3],
            rows=170,
            columns=218,
            position=s.position + np.array([3 * dz.STEP, 2 * dz.STEP, 0]),
        )
        if id(s) in ids
        else s
        for s in slices
    ]
    a, b = build_stations(small)[2], build_stations(slices)[2]
    assert a.notes["channels_refitted"] == ["F"]
    inner = np.s_[3:-3, 2:-2]
    np.testing.assert_allclose(a.channels["F"][inner], b.channels["F"][inner])
    assert not a.channels["F"][:3].any()


def test_a_narrow_field_of_view_is_another_body_part(slices):
    narrow = change(slices, spacing=(1.0, 1.0))
    assert refused(narrow).verdict is Verdict.WRONG_BODY_PART


def test_a_constant_opposed_phase_series_is_not_used(slices):
    ids = {id(s) for s in of(slices, 3, "opp")}
    flat = np.full((174, 224), 7, np.uint16)
    stations = build_stations(change(slices, lambda s: id(s) in ids, _pixels=flat))
    assert [s.number for s in stations] == [1, 2, 3, 4, 5, 6]


def test_six_stations_are_a_scan_whatever_their_body_part(slices):
    assert len(build_stations(change(slices, body_part="HEART"))) == 6


def test_one_station_of_another_body_part_is_refused_as_that(slices):
    head = change(of(slices, 1), body_part="HEAD")
    error = refused(head)
    assert error.verdict is Verdict.WRONG_BODY_PART
    assert "HEAD" in error.message


@pytest.mark.parametrize("told_by", ["reconstruction", "number"])
@pytest.mark.parametrize("first", ["plain", "corrected"])
def test_channels_come_from_one_of_two_reconstructions(made, slices, told_by, first):
    """Distortion-corrected and plain series of one acquisition, UIDs in any order."""
    plain = [
        dataclasses.replace(
            s,
            series=(f"{'0' if (s.channel in 'FW') == (first == 'plain') else 'z'}.{s.series[0]}",
                    "88", s.series[2]),
            reconstruction=("DIXON", "ND") if told_by == "reconstruction" else s.reconstruction,
            _pixels=s._pixels // 2,
        )
        for s in of(slices, 6)
    ]  # fmt: skip
    corrected = [
        dataclasses.replace(
            s, reconstruction=("DIS2D", "DIXON") if told_by == "reconstruction" else
            s.reconstruction,
        )
        if s.series[1] == "6" else s
        for s in slices
    ] if told_by == "reconstruction" else slices  # fmt: skip
    station = build_stations(plain + corrected)[-1]
    factors = {
        channel: round(
            float(made[6][channel].astype(float).sum() / station.channels[channel].sum())
        )
        for channel in ("in", "F", "W")
    }
    assert len(set(factors.values())) == 1
    if told_by == "reconstruction":
        assert set(factors.values()) == {1}
