"""Resampling and blending against SimpleITK, arithmetic and planted gaps."""

import numpy as np
import pytest
import SimpleITK as sitk

from iliopsoas import grid
from iliopsoas.dixon import stitch
from iliopsoas.dixon.series import Slab
from iliopsoas.status import Refused, Verdict


def station(number, low, slices, thick, rows=174, array=None, x=250.0):
    size = (224, rows, slices) if array is None else array.shape
    array = np.zeros(size, np.float32) if array is None else array
    y = -191.96429 + (174 - size[1]) / 2 * grid.IN_PLANE_MM
    return Slab(
        number=number,
        channels={"W": array, "F": array, "in": array},
        origin=np.array([x, y, low]),
        spacing=np.array([grid.IN_PLANE_MM, grid.IN_PLANE_MM, thick]),
        rows=size[1],
        description="",
        software="",
    )


def scan(shift=0.0, gone=()):
    table = {
        1: (-123.0, 64, 3.0, 168),
        2: (-292.0, 44, 4.5, 174),
        3: (-462.75, 44, 4.5, 174),
        4: (-631.0, 44, 4.5, 174),
        5: (-833.0, 72, 3.5, 162),
        6: (-1041.0, 64, 4.0, 156),
    }
    return [
        station(n, low + shift, slices, thick, rows)
        for n, (low, slices, thick, rows) in table.items()
        if n not in gone
    ]


@pytest.mark.parametrize(("size", "step"), [(44, 4.5), (72, 3.5), (64, 4.0), (7, 2.0)])
def test_spline_matrix_is_itks_bspline(size, step):
    rng = np.random.default_rng(0)
    values = rng.random(size).astype(np.float64)
    line = sitk.GetImageFromArray(np.tile(values, (5, 5, 1)))
    line.SetSpacing((step, 1.0, 1.0))
    count = round(size * step / 3.0)
    target = sitk.Image([count, 5, 5], sitk.sitkFloat64)
    target.SetSpacing((3.0, 1.0, 1.0))
    itk = sitk.Resample(line, target, sitk.Euler3DTransform(), sitk.sitkBSpline)
    expected = sitk.GetArrayFromImage(itk)[2, 2]
    at = 3.0 * np.arange(count) / step
    mine = stitch.spline_matrix(size, at) @ values
    np.testing.assert_allclose(mine, expected, atol=2e-5)


def test_an_axis_on_the_grid_is_shifted_not_smoothed():
    rng = np.random.default_rng(0)
    array = rng.random((224, 162, 3)).astype(np.float32)
    one = station(5, -833.0, 3, 3.5, array=array)
    target = stitch.Target(grid.SHAPE, grid.ORIGIN_RAS_MM)
    placed = stitch.place_in_plane(array, one, target)
    np.testing.assert_array_equal(placed[:, 6:168], array)
    assert not placed[:, :6].any()
    assert not placed[:, 168:].any()


def test_a_shift_of_half_a_voxel_is_interpolated():
    y = np.arange(174, dtype=np.float32)
    array = np.tile((100 + y)[:, None], (224, 1, 2)).astype(np.float32)
    one = station(3, -462.75, 2, 4.5, array=array)
    one.origin = one.origin - [0, grid.IN_PLANE_MM / 2, 0]
    target = stitch.Target(grid.SHAPE, grid.ORIGIN_RAS_MM)
    placed = stitch.place_in_plane(array, one, target)
    np.testing.assert_allclose(placed[5, 20:150, 0], 100.5 + y[20:150], atol=1e-3)


@pytest.mark.parametrize("gone", [(), (1,), (6,), (1, 6)])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_published_grid_where_stations_are_where_they_belong(gone, shift):
    target = stitch.choose_target(scan(shift, gone))
    assert target.shape == (224, 174, 370)
    np.testing.assert_allclose(target.affine, grid.las_affine())
    assert target.published


@pytest.mark.parametrize("gone", [(), (1,), (6,)])
def test_a_consistent_grid_where_they_are_not(gone):
    target = stitch.choose_target(scan(-20.0, gone))
    assert target.shape == (224, 174, 370)
    np.testing.assert_allclose(target.origin, [250.0, -191.96429, -1061.0])
    assert not target.published


def test_a_longer_scan_gets_more_slices():
    stations = scan()
    for one in stations:
        if one.number == 6:
            one.origin = one.origin - [0, 0, 30]
    target = stitch.choose_target(stations)
    assert target.shape[2] == 380
    assert target.origin[2] == pytest.approx(-1071.0)


@pytest.mark.parametrize(("number", "end"), [(3, "low"), (3, "high"), (6, "low"), (1, "high")])
def test_a_lost_end_slice_does_not_move_the_grid(number, end):
    stations = scan()
    one = next(s for s in stations if s.number == number)
    one.channels = {name: array[..., 1:] for name, array in one.channels.items()}
    one.slices -= 1
    if end == "low":
        one.origin = one.origin + np.array([0, 0, one.spacing[2]])
    target = stitch.choose_target(stations)
    assert target.published
    np.testing.assert_allclose(target.affine, grid.las_affine())


def test_one_station_out_of_place_is_outvoted():
    stations = scan()
    one = next(s for s in stations if s.number == 3)
    one.origin = one.origin + np.array([0, 0, 13.0])
    assert stitch.choose_target(stations).published


def test_blend_weights_are_the_published_ones():
    weights = stitch.blend_weights(11)
    t = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(weights, 1 / (1 + np.exp(t)), rtol=1e-6)
    np.testing.assert_allclose(weights + weights[::-1], 1, rtol=1e-6)


def test_station_weights_add_to_one_and_overlaps_follow_the_published_formula():
    stations = scan()
    target = stitch.choose_target(stations)
    weights = np.array(stitch.station_weights(stations, target))
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)
    for upper, lower in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)):
        n = stations[lower].slices
        # the published resampling gives the lower station round(n thickness / 3) slices
        count = round(n * stations[lower].spacing[2] / 3)
        top = stations[lower].low + 3.0 * (count - 1)
        published = (top - stations[upper].low) / 3.0 + 1
        both = ((weights[upper] > 0) & (weights[lower] > 0)).sum()
        assert abs(both - published) <= 1.0


def test_where_a_station_is_missing_weights_are_zero():
    stations = scan(gone=(6,))
    target = stitch.choose_target(stations)
    total = np.sum(stitch.station_weights(stations, target), axis=0)
    first = round((-833.0 + 1041.0) / 3)
    assert not total[:first].any()
    np.testing.assert_allclose(total[first:], 1, atol=1e-6)


def test_a_hole_is_refused_and_named():
    stations = scan()
    for one in stations[4:]:
        one.origin = one.origin - [0, 0, 100.0]
    with pytest.raises(Refused, match="stations 5 and 4") as error:
        stitch.station_weights(stations, stitch.choose_target(stations))
    assert error.value.verdict is Verdict.STATION_GAP


def test_a_smooth_body_comes_through_stitching():
    """A signal that is smooth in z is the same after resampling and blending."""
    stations = scan()
    target = stitch.choose_target(stations)

    def signal(z):
        return 500 + 200 * np.sin(z / 60.0)

    planes = []
    for one in stations:
        z = one.low + one.spacing[2] * np.arange(one.slices)
        planes.append(np.tile(signal(z), (224, 174, 1)).astype(np.float32))
    weights = stitch.station_weights(stations, target)
    volume = stitch.stack(planes, stations, weights, target)
    # the outermost slices are extrapolated by up to half a slice
    np.testing.assert_allclose(volume[100, 80, 1:-1], signal(target.z)[1:-1], rtol=4e-3)


def test_no_negative_values_from_overshoot():
    edge = np.zeros((224, 174, 44), np.float32)
    edge[..., 20:] = 1000
    stations = scan()
    target = stitch.choose_target(stations)
    slab = stitch.resample_slices(edge, stations[2], target, 195, 255)
    assert slab.min() >= 0
    assert slab.max() > 1000
