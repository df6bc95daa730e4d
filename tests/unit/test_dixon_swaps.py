"""Fat-water swaps: planted in bodies that are no phantom, found, corrected, or refused."""

from itertools import product

import dixon_zip as dz
import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from iliopsoas.dixon import stitch, swaps
from iliopsoas.dixon.process import take_planes
from iliopsoas.dixon.series import Slab, build_stations
from iliopsoas.status import Refused, Verdict

UNITS = ("1", "2", "3", "4", "5left", "5right", "6left", "6right")


def planes_of(stations):
    target = stitch.choose_target(stations)
    return target, take_planes(stations, target)


@pytest.fixture(scope="module")
def body():
    stations = build_stations(dz.in_memory(dz.make_stations(noise=20.0)))
    target, planes = planes_of(stations)
    return stations, target, planes


def plant(planes, units):
    """Exchange fat and water of units; the legs' border is the middle of the image."""
    result = {}
    for number, channels in planes.items():
        fat, water = channels["F"].copy(), channels["W"].copy()
        for unit in units:
            if unit[0] != str(number):
                continue
            half = {"": np.s_[:], "left": np.s_[112:], "right": np.s_[:112]}[unit[1:]]
            fat[half], water[half] = water[half].copy(), fat[half].copy()
        result[number] = {"in": channels["in"], "F": fat, "W": water}
    return result


@pytest.mark.parametrize(
    "units",
    [
        (),
        ("3",),
        ("3left",),
        ("3right", "4left"),
        ("1", "6left"),
        ("5left",),
        ("5right", "6right"),
        ("5left", "5right"),
        UNITS,
    ],
)
def test_planted_swaps_are_found_and_corrected(body, units):
    stations, target, planes = body
    spoiled = plant(planes, units)
    found = swaps.detect(stations, spoiled, target)
    assert set(found.titles) == set(units)
    assert min(found.confidence.values()) > 0.5
    corrected = swaps.correct(spoiled, found)
    for number, channels in planes.items():
        for channel in ("F", "W"):
            wrong = channels[channel] != corrected[number][channel]
            assert wrong.mean() < 0.01  # the column between the legs may be either's


def test_shading_common_to_both_channels_changes_nothing(body):
    stations, target, planes = body
    rng = np.random.default_rng(3)
    shaded = {}
    for number, channels in planes.items():
        axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in channels["W"].shape]
        x, y, z = np.meshgrid(*axes, indexing="ij")
        a = rng.normal(0, 0.4, 3)
        field = rng.uniform(0.6, 1.6) * np.exp(a[0] * x + a[1] * y + a[2] * z)
        shaded[number] = {channel: part * field for channel, part in channels.items()}
    found = swaps.detect(stations, plant(shaded, ("2", "5left")), target)
    assert set(found.titles) == {"2", "5left"}


def test_a_body_without_evidence_is_uncertain():
    """Fat and water spread alike everywhere: nothing tells them apart."""
    rng = np.random.default_rng(0)
    stations = build_stations(dz.in_memory(dz.make_stations(noise=5.0)))
    target, planes = planes_of(stations)
    for channels in planes.values():
        share = rng.random(channels["W"].shape).astype(np.float32)
        total = channels["in"]
        channels["F"], channels["W"] = total * share, total * (1 - share)
    found = swaps.detect(stations, planes, target)
    with pytest.raises(Refused) as error:
        swaps.require_certain(found, 0.25)
    assert error.value.verdict is Verdict.SWAP_UNCERTAIN


def test_solve_is_the_best_of_all_assignments():
    rng = np.random.default_rng(5)
    units = ["1", "2", "3", "4"]
    for _ in range(20):
        own = dict(zip(units, rng.normal(size=4), strict=True))
        between = {(a, b): rng.normal() for a, b in (("1", "2"), ("2", "3"), ("3", "4"))}
        swapped, confidence = swaps.solve(units, own, between)

        def score(signs, own=own, between=between):
            s = dict(zip(units, signs, strict=True))
            return sum(own[u] * s[u] for u in units) + sum(
                v * s[a] * s[b] for (a, b), v in between.items()
            )

        every = {signs: score(signs) for signs in product((1, -1), repeat=4)}
        best = max(every, key=every.get)
        assert [swapped[u] for u in units] == [sign < 0 for sign in best]
        for k, unit in enumerate(units):
            other = max(v for signs, v in every.items() if signs[k] != best[k])
            assert confidence[unit] == pytest.approx(every[best] - other)


def test_the_line_between_the_legs_follows_legs_that_lean():
    nz = 40
    x, y, z = np.ogrid[:224, :174, :nz]
    middle = 105 + 0.3 * z
    signal = np.zeros((224, 174, nz), np.float32)
    for side in (-1, 1):
        signal += 100.0 * (np.hypot(x - middle - 38 * side, y - 87) < 33)
    line = swaps.leg_midline(signal, signal > 50)
    np.testing.assert_allclose(line, middle[0, 0], atol=2)


@pytest.mark.slow
@pytest.mark.reference
@pytest.mark.parametrize("rim", [1.6, 3.0, 8.0])
def test_real_body_shapes(reference, rim):
    """Real outlines (UK Biobank body masks), `rim` voxels of fat, swapped at random."""
    rng = np.random.default_rng(int(10 * rim))
    wrong = total = 0
    for folder in sorted((reference / "atlas").glob("0*"))[:10:2]:
        mask = np.asarray(nib.load(folder / "mask.body.nii.gz").dataobj) > 0
        depth = np.stack([ndimage.distance_transform_edt(plane) for plane in mask.T]).T
        fat_part = np.clip(rim + 0.5 - depth, 0, 1) * mask
        blobs = ndimage.gaussian_filter(rng.normal(size=mask.shape), 4)
        inside_fat = (blobs > 1.2 * blobs.std()) & (depth > rim + 2)
        fat = 0.85 * np.where(inside_fat, 0.9, fat_part)
        water = 0.55 * np.where(inside_fat, 0.1, (1 - fat_part)) * mask
        stations, flips = [], {unit: bool(rng.random() < 0.3) for unit in UNITS}
        for number, (rows, slices, thick, low, _) in dz.STATIONS.items():
            z = np.clip(np.rint((low + 1041 + thick * np.arange(slices)) / 3).astype(int), 0, 369)
            pad = (174 - rows) // 2
            noise = rng.normal(0, 8, (4, 224, rows, slices))
            f = np.hypot(400 * fat[:, pad : 174 - pad, z] + noise[0], noise[1]).astype(np.float32)
            w = np.hypot(400 * water[:, pad : 174 - pad, z] + noise[2], noise[3]).astype(np.float32)
            y = -191.96429 + pad * dz.STEP
            stations.append(
                Slab(
                    number, {"in": f + w, "F": f, "W": w}, np.array([250.0, y, low]),
                    np.array([dz.STEP, dz.STEP, thick]), rows, "", "",
                )
            )  # fmt: skip
        target, planes = planes_of(stations)
        found = swaps.detect(
            stations, plant(planes, [u for u, swapped in flips.items() if swapped]), target
        )
        wrong += sum((unit in found.titles) != flips[unit] for unit in UNITS)
        total += len(UNITS)
    assert wrong == 0, f"{wrong} of {total}"
