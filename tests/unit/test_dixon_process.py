"""From zip to water, fat and body: grid, values, seams, record, identity, faults."""

import dixon_zip as dz
import numpy as np
import pytest

from iliopsoas import grid
from iliopsoas.dixon import process_scan
from iliopsoas.dixon.slab_ends import end_profile
from iliopsoas.phantom import acquisition, anatomy, archive, tissues
from iliopsoas.phantom.traits import Traits
from iliopsoas.qc.judge import judge_one
from iliopsoas.status import Refused, Verdict

TRAITS = Traits("male", 60, 176.0, 82.0, 370.0, 365.0, 0.05, 3)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    stations = dz.make_stations(noise=6.0)
    for channels in stations.values():
        del channels["opp"]  # not needed
    path = tmp_path_factory.mktemp("scan") / "1000000_20201_2_0.zip"
    return process_scan(dz.write_zip(path, dz.scan_items(stations)))


def test_published_grid_types_and_units(result):
    for image, dtype in ((result.water, "int16"), (result.fat, "int16"), (result.body, "uint8")):
        assert image.shape == grid.SHAPE
        np.testing.assert_allclose(image.affine, grid.las_affine(), atol=1e-5)
        assert image.get_data_dtype() == dtype
        assert image.header.get_xyzt_units()[0] == "mm"
        assert grid.is_las(image.affine)


def test_no_identity_in_headers_or_record(result):
    text = repr(result.record)
    for image in (result.water, result.fat, result.body):
        text += image.to_bytes()[:352].decode("latin1")
    for secret in ("ABCDEFGH", "1000000", "1950", "20160203", "Bio"):
        assert secret not in text


def test_tissue_comes_out_where_it_went_in(result):
    """Scanner units and place: against the densities the slices were made of."""
    x = (-250 + dz.STEP * np.arange(224))[:, None, None]
    y = (-191.96429 + dz.STEP * np.arange(174))[None, :, None]
    z = (-1041 + 3.0 * np.arange(370))[None, None, :]
    fat, water = dz.tissue(x, y, z)
    got_water = np.asarray(result.water.dataobj).astype(float)
    got_fat = np.asarray(result.fat.dataobj).astype(float)
    inner = np.zeros(grid.SHAPE, bool)
    inner[:, :, 5:-5] = True
    muscle, adipose = inner & (water == 0.6), inner & (fat == 0.9)
    assert np.median(got_water[muscle]) == pytest.approx(600, rel=0.08)
    assert np.median(got_fat[muscle]) < 60
    assert np.median(got_fat[adipose]) == pytest.approx(900, rel=0.15)
    both = (got_water + got_fat)[inner]
    truth = (water + fat)[inner]
    assert np.corrcoef(both[::7], truth[::7])[0, 1] > 0.95


def test_body_mask_is_the_body(result):
    x = (-250 + dz.STEP * np.arange(224))[:, None, None]
    y = (-191.96429 + dz.STEP * np.arange(174))[None, :, None]
    z = (-1041 + 3.0 * np.arange(370))[None, None, :]
    fat, water = dz.tissue(x, y, z)
    truth = (fat + water) > 0
    mask = np.asarray(result.body.dataobj) > 0
    # published: the outermost three slices carry no mask
    assert not mask[:, :, :3].any()
    assert not mask[:, :, -3:].any()
    part = np.s_[:, :, 3:-3]
    overlap = 2 * (mask & truth)[part].sum() / (mask[part].sum() + truth[part].sum())
    assert overlap > 0.97


def test_record_says_what_was_decided(result):
    record = result.record
    assert record["stations_found"] == [1, 2, 3, 4, 5, 6]
    assert record["stations_missing"] == []
    assert record["swaps_corrected"] == []
    assert record["swap_confidence"] > 1
    assert record["published_grid"]
    assert record["coverage"] == 1.0
    assert record["software"] == "syngo MR D13"
    assert record["seam_residual"] < 0.05
    assert 30 < record["snr"] < 300
    for value in record.values():
        assert value is None or isinstance(value, str | int | float | bool | list)


def test_slabs_without_dim_ends_are_left_alone():
    stations = dz.make_stations(numbers=(3,), noise=6.0)
    signal = dz.las(stations[3]["in"]).astype(np.float32)
    profile = end_profile(signal, signal > 200)
    np.testing.assert_allclose(profile, 1, atol=0.03)


def test_dim_ends_are_measured():
    stations = dz.make_stations(numbers=(3,), noise=6.0)
    signal = dz.las(stations[3]["in"]).astype(np.float32)
    planted = np.ones(44)
    planted[[0, 1, 2, -3, -2, -1]] = 0.45, 0.72, 0.9, 0.9, 0.72, 0.45
    signal *= planted.astype(np.float32)
    profile = end_profile(signal, signal > 100)
    np.testing.assert_allclose(profile, planted, atol=0.04)


# -- quick ones: the whole path on a spoiled scan, and zips that are refused early -----------


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """Gains, dim slab ends, a station, a leg and a ball exchanged; the ball's place."""
    stations = dz.make_stations(noise=8.0)
    rng = np.random.default_rng(2)
    gains = {}
    for number, channels in stations.items():
        del channels["opp"]
        gain = rng.uniform(0.7, 1.3)
        profile = np.full(len(channels["W"]), gain)
        profile[[0, 1, 2, -3, -2, -1]] *= 0.45, 0.72, 0.9, 0.9, 0.72, 0.45
        for name, array in channels.items():
            channels[name] = np.rint(array * profile[:, None, None]).astype(np.uint16)
        gains[number] = gain
    # rows run to the back, columns to the left
    z, y, x = np.ogrid[:44, :174, :224]
    ball = ((z - 22) * 4.5) ** 2 + ((y - 90) * dz.STEP) ** 2 + ((x - 145) * dz.STEP) ** 2
    parts = {3: ball < 22.5**2, 4: np.ones((44, 174, 224), bool), 5: np.zeros((72, 162, 224), bool)}
    parts[5][..., 112:] = True
    for number, where in parts.items():
        fat, water = stations[number]["F"], stations[number]["W"]
        stations[number]["F"], stations[number]["W"] = (
            np.where(where, water, fat),
            np.where(where, fat, water),
        )
    path = tmp_path_factory.mktemp("spoiled") / "1000000_20201_2_0.zip"
    return process_scan(dz.write_zip(path, dz.scan_items(stations), level=0))


def flags_of(scan):
    return judge_one({}, {"dixon": scan.record})["qc_flags"].split(",")


def test_swaps_of_a_station_a_leg_and_a_ball_are_undone(spoiled, result):
    assert spoiled.record["swaps_corrected"] == ["4", "5left"]
    # in station 5, what lies between the legs' border and where the exchange was planted
    (ball,) = (text for text in spoiled.record["exchanges_mended"] if text.startswith("3:"))
    assert float(ball[2:].split("ml")[0]) == pytest.approx(47.7, rel=0.15)
    assert spoiled.record["exchanges_doubtful"] == []
    assert set(flags_of(spoiled)) >= {"swaps_corrected", "exchange_mended"}
    assert not set(flags_of(result)) & {"swaps_corrected", "exchange_mended", "exchange_doubtful"}
    inside = np.asarray(result.body.dataobj)[..., 12:-12] > 0
    fractions = []
    for one in (result, spoiled):
        fat, water = (
            np.asarray(image.dataobj)[..., 12:-12][inside].astype(float)
            for image in (one.fat, one.water)
        )
        fractions.append(fat / np.maximum(fat + water, 1))
    assert (np.abs(fractions[0] - fractions[1]) > 0.3).mean() < 0.003


def test_no_step_across_a_seam(spoiled, result):
    """Against the same body scanned with one gain and no dim ends."""
    inside = np.asarray(result.body.dataobj) > 0
    ratio = np.full(grid.SHAPE[2], np.nan)
    for k in range(15, grid.SHAPE[2] - 15, 1):
        where = inside[..., k] & (np.asarray(result.water.dataobj[..., k]) > 300)
        if where.sum() > 200:
            ratio[k] = np.median(
                np.asarray(spoiled.water.dataobj[..., k])[where]
                / np.asarray(result.water.dataobj[..., k])[where]
            )
    steps = np.abs(np.diff(ratio)) / np.nanmedian(ratio)
    assert np.nanmax(steps) < 0.03


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("two_people", Verdict.SEVERAL_PEOPLE),
        ("no_dixon", Verdict.NO_DIXON_SERIES),
        ("wrong_body_part", Verdict.WRONG_BODY_PART),
        ("missing:3", Verdict.STATION_MISSING),
        ("missing_channel:3:W", Verdict.CHANNEL_MISSING),
        ("empty:4:F", Verdict.CHANNEL_EMPTY),
        ("oblique", Verdict.OBLIQUE),
        ("traversal", Verdict.HOSTILE_ARCHIVE),
        ("thousands:5000", Verdict.HOSTILE_ARCHIVE),
        ("bomb:300", Verdict.HOSTILE_ARCHIVE),
        ("truncated", Verdict.TRUNCATED_ZIP),
        ("not_a_zip", Verdict.NOT_A_ZIP),
        ("flipped_bytes", Verdict.TRUNCATED_ZIP),
    ],
)
def test_faulty_zips_are_refused_by_name(tmp_path, fault, verdict):
    rng = np.random.default_rng(0)
    coarse = []
    for number, geometry in acquisition.GEOMETRY.items():
        shape = (geometry.slices, geometry.rows, geometry.columns)
        noise = rng.integers(0, 900, (4, geometry.slices, 1, 1))
        arrays = {
            name: np.broadcast_to(level, shape).astype(np.uint16)
            for name, level in zip(dz.CHANNELS, noise, strict=True)
        }
        coarse.append(
            acquisition.Station(
                number, arrays, acquisition.positions_lps(number), geometry.thickness_mm,
                geometry.breath_hold,
            )
        )  # fmt: skip
    path = tmp_path / "1234567_20201_2_0.zip"
    archive.write_zip(path, coarse, TRAITS, rng, [fault])
    with pytest.raises(Refused) as error:
        process_scan(path)
    assert error.value.verdict is verdict
    assert "1234567" not in error.value.message


# -- the phantom's zips, with everything that goes wrong in real ones ---------------------


@pytest.fixture(scope="module")
def acquired():
    body = anatomy.build(TRAITS)
    return body, acquisition.acquire(body, np.random.default_rng(1))


def make(tmp_path, acquired, *faults, stations=None):
    path = tmp_path / "1234567_20201_2_0.zip"
    archive.write_zip(
        path, stations or acquired[1], TRAITS, np.random.default_rng(1), faults, level=1
    )
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        ("missing:3", Verdict.STATION_MISSING),
        ("missing_channel:3:W", Verdict.CHANNEL_MISSING),
        ("empty:4:F", Verdict.CHANNEL_EMPTY),
        ("gap:4:300", Verdict.STATION_GAP),
        ("oblique", Verdict.OBLIQUE),
        ("two_people", Verdict.SEVERAL_PEOPLE),
        ("no_dixon", Verdict.NO_DIXON_SERIES),
        ("wrong_body_part", Verdict.WRONG_BODY_PART),
        ("traversal", Verdict.HOSTILE_ARCHIVE),
        ("thousands", Verdict.HOSTILE_ARCHIVE),
        ("bomb", Verdict.HOSTILE_ARCHIVE),
        ("truncated", Verdict.TRUNCATED_ZIP),
        ("not_a_zip", Verdict.NOT_A_ZIP),
        ("flipped_bytes", Verdict.TRUNCATED_ZIP),
    ],
)
def test_refused(tmp_path, acquired, fault, verdict):
    with pytest.raises(Refused) as error:
        process_scan(make(tmp_path, acquired, fault))
    assert error.value.verdict is verdict
    assert "1234567" not in error.value.message


@pytest.fixture(scope="module")
def plain(tmp_path_factory, acquired):
    return process_scan(make(tmp_path_factory.mktemp("plain"), acquired))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("faults", "key", "value"),
    [
        (("flipped:xyz",), "swaps_corrected", []),
        (("rotated",), "swaps_corrected", []),
        (("coronal",), "swaps_corrected", []),
        (("shuffled_numbers", "letter_case", "newer_software"), "swaps_corrected", []),
        (("surplus",), "stations_missing", []),
        (("transfer_syntax:implicit", "rescale"), "intensity_scale", 1.0),
        (("repeated:3",), "stations_acquired_twice", [3]),
        (("missing_channel:3:opp",), "stations_missing", []),
    ],
)
def test_gives_what_the_plain_zip_gives(tmp_path, acquired, plain, faults, key, value):
    result = process_scan(make(tmp_path, acquired, *faults))
    assert result.record[key] == value
    for name in ("water", "fat", "body"):
        a = np.asarray(getattr(plain, name).dataobj).astype(int)
        b = np.asarray(getattr(result, name).dataobj).astype(int)
        assert a.shape == b.shape
        if "rescale" in faults:  # stored values are rounded to 2 units
            assert (np.abs(a - b) > 2).mean() < 0.02
        else:
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "key", "value"),
    [
        ("missing:1", "stations_missing", [1]),
        ("missing:6", "stations_missing", [6]),
        ("unequal:3", "channels_refitted", ["3:F"]),
    ],
)
def test_goes_on_and_says_so(tmp_path, acquired, plain, fault, key, value):
    result = process_scan(make(tmp_path, acquired, fault))
    assert result.record[key] == value
    assert result.water.shape == grid.SHAPE
    np.testing.assert_allclose(result.water.affine, grid.las_affine(), atol=1e-5)
    water = np.asarray(result.water.dataobj)
    if fault == "missing:6":
        assert not water[:, :, :60].any()
    if fault == "missing:1":
        assert not water[:, :, 330:].any()
    inside = np.asarray(result.body.dataobj)[:, :, 100:300] > 0
    a = np.asarray(plain.water.dataobj)[:, :, 100:300][inside].astype(float)
    assert np.corrcoef(a, water[:, :, 100:300][inside])[0, 1] > 0.98


@pytest.mark.slow
def test_one_slice_missing_is_interpolated(tmp_path, acquired, plain):
    result = process_scan(make(tmp_path, acquired, "drop_slice:3:W"))
    assert len(result.record["slices_interpolated"]) == 1
    assert result.record["slices_interpolated"][0].startswith("3:W:")


@pytest.mark.slow
def test_no_step_across_a_seam_in_muscle(acquired, plain):
    body, _ = acquired
    water = np.asarray(plain.water.dataobj).astype(float) + np.asarray(plain.fat.dataobj)
    muscle = np.isin(body.labels, [t.label for t in tissues.MUSCLES])
    muscle[:26], muscle[198:] = False, False  # the field of view's bright edge
    truth = body.water + body.fat
    level = np.full(370, np.nan)
    for k in range(370):
        where = muscle[:, :, k] & (truth[:, :, k] > 0.3)
        if where.sum() > 200:
            level[k] = np.median(water[:, :, k][where] / truth[:, :, k][where])
    for bottom, top in ((69, 85), (138, 153), (193, 204), (249, 259), (306, 315)):
        steps = np.abs(np.diff(level[bottom - 2 : top + 3])) / np.nanmedian(level)
        assert np.nanmax(steps) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["2", "4", "5:left", "6:right"])
def test_planted_swap_is_undone(tmp_path, acquired, plain, unit):
    body, _ = acquired
    swapped = acquisition.acquire(body, np.random.default_rng(1), [f"swapped:{unit}"])
    result = process_scan(make(tmp_path, acquired, stations=swapped))
    assert result.record["swaps_corrected"] == [unit.replace(":", "")]
    a = np.asarray(plain.water.dataobj)[..., 10:-10].astype(int)
    b = np.asarray(result.water.dataobj)[..., 10:-10].astype(int)
    inside = np.asarray(plain.body.dataobj)[..., 10:-10] > 0
    assert (np.abs(a - b)[inside] > 20).mean() < 0.002
