"""Reference centiles, invariant score, exponent of height, repeatability: R and planted truth."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas import files, statistics
from iliopsoas.figures.paper import split
from iliopsoas.phantom.phenotypes import paper_cohort
from iliopsoas.statistics import centiles, change
from iliopsoas.status import InputError

FOLDER = Path(__file__).resolve().parents[1] / "r"
REFERENCE = pd.read_csv(FOLDER / "measures.tsv", sep="\t", dtype={"case": str})


def reference(kind, case):
    rows = REFERENCE[(REFERENCE["kind"] == kind) & (REFERENCE["case"] == case)]
    return dict(zip(rows["quantity"].str.split(".").str[0], rows["value"], strict=True))


def data(name):
    return pd.read_csv(FOLDER / "data" / f"{name}.tsv", sep="\t")


def of_r(case):
    if case == "men":
        men = data("cohort").query("sex == 'male'")
        return men["age"], men["height"], men["total"]
    quakes = data("quakes")
    return quakes["depth"] / 10, quakes["stations"] + 100, quakes["mag"]


@pytest.mark.parametrize("case", ["men", "quakes"])
def test_location_scale_and_quantiles_agree_with_r(case):
    age, height, y = (np.asarray(values, float) for values in of_r(case))
    expected = reference("centiles", case)
    model = centiles.fit(age, height, y)
    assert model["location"][-1] == pytest.approx(expected["exponent"], rel=1e-6)
    assert model["scale"] == pytest.approx(
        [expected["scale"], expected["scale_per_decade"]], rel=1e-5, abs=1e-7
    )
    quantiles = dict(zip(np.round(model["shares"], 3), model["quantiles"], strict=True))
    for share, name in ((0.03, "q03"), (0.5, "q50"), (0.97, "q97")):
        assert quantiles[share] == pytest.approx(expected[name], rel=1e-5)
    location, _ = centiles._place(model, age, height)
    for row in (1, 7, 100, 500):
        assert location[row - 1] == pytest.approx(expected[f"location_{row}"], rel=1e-7)
    z = centiles.z_scores(model, age, height, y)
    scored = [row for row in (1, 7, 100, 500) if f"z_{row}" in expected]
    assert len(scored) >= 3
    for row in scored:
        assert z[row - 1] == pytest.approx(expected[f"z_{row}"], abs=2e-6)


def planted(n, seed):
    """Volume with a curve, a spread that grows with age and skewed residuals."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(44, 82, n)
    height = rng.normal(172, 8, n)
    noise = (rng.gamma(8, 1, n) - 8) / math.sqrt(8)
    return pd.DataFrame({"age": age, "height_cm": height, "y": truth(age, height, noise)})


def truth(age, height, noise):
    spread = 0.08 * np.exp(0.012 * (age - 60))
    middle = np.log(800) - 0.0002 * (age - 44) ** 2 + 1.7 * np.log(height / 170)
    return np.exp(middle + spread * noise)


def test_planted_centiles_are_recovered_within_sampling_error():
    model = centiles.fit(*planted(20_000, 1)[["age", "height_cm", "y"]].to_numpy().T)
    ages = np.array([48.0, 55, 63, 70, 79])
    gamma = stats.gamma(8)
    for centile in centiles.CENTILES:
        noise = (gamma.ppf(centile / 100) - 8) / math.sqrt(8)
        density = gamma.pdf(gamma.ppf(centile / 100)) * math.sqrt(8)
        spread = 0.08 * np.exp(0.012 * (ages - 60))
        # five parameters share the data: several times one quantile's sampling error
        error = math.sqrt(centile / 100 * (1 - centile / 100) / 20_000) / density * spread
        for height in (160.0, 185.0):
            found = centiles.curve(model, centile, ages, np.full(5, height))
            off = np.log(found) - np.log(truth(ages, height, noise))
            assert (np.abs(off) < 5 * error + 0.004).all(), (centile, height)
    assert model["location"][-1] == pytest.approx(1.7, abs=0.05)


def test_scores_of_new_participants_are_calibrated_at_every_age():
    model = centiles.fit(*planted(20_000, 2)[["age", "height_cm", "y"]].to_numpy().T)
    new = planted(20_000, 3)
    z = centiles.z_scores(model, new["age"], new["height_cm"], new["y"])
    for low, high in ((44, 54), (54, 63), (63, 72), (72, 82)):
        inside = z[(new["age"] >= low) & (new["age"] < high)]
        for centile in (3, 50, 97):
            share = np.mean(inside < stats.norm.ppf(centile / 100))
            error = math.sqrt(centile / 100 * (1 - centile / 100) / len(inside))
            assert share == pytest.approx(centile / 100, abs=5 * error), (low, centile)
    assert stats.kstest(z, "norm").statistic < 0.02


def test_curves_agree_with_quantile_regression():
    """An independent method: statsmodels' quantile regression of log y on the same shape."""
    import statsmodels.api as sm

    rows = planted(4000, 4)
    model = centiles.fit(rows["age"], rows["height_cm"], rows["y"])
    age, height = rows["age"] - 63, np.log(rows["height_cm"] / 170)
    design = np.column_stack([np.ones(4000), age, age**2, height])
    for centile in (5, 50, 95):
        coefficients = sm.QuantReg(np.log(rows["y"]), design).fit(q=centile / 100).params
        at = np.array([50.0, 63.0, 76.0])
        expected = np.column_stack([np.ones(3), at - 63, (at - 63) ** 2]) @ coefficients[:3]
        found = np.log(centiles.curve(model, centile, at, np.full(3, 170.0)))
        np.testing.assert_allclose(found, expected, atol=0.012)


def test_scores_and_curves_are_inverse_and_never_cross():
    rows = planted(3000, 5)
    model = centiles.fit(rows["age"], rows["height_cm"], rows["y"])
    ages = np.linspace(40, 90, 30)  # also beyond the data
    heights = np.full(30, 150.0)
    values = [centiles.curve(model, c, ages, heights) for c in (0.01, *centiles.CENTILES, 99.99)]
    assert (np.diff(values, axis=0) > 0).all()
    for centile, value in zip((0.01, *centiles.CENTILES, 99.99), values, strict=True):
        z = centiles.z_scores(model, ages, heights, value)
        np.testing.assert_allclose(z, stats.norm.ppf(centile / 100), atol=1e-9)
    assert np.isnan(
        centiles.z_scores(model, [60, np.nan, 60], [170, 170, 170], [0, 800, np.nan])
    ).all()


def cohort_table(n=900, seed=6):
    rng = np.random.default_rng(seed)
    parts = []
    for sex, shift in (("female", -0.35), ("male", 0.0)):
        part = planted(n, rng.integers(1000)).rename(columns={"y": "total_ml"})
        part["total_ml"] *= math.exp(shift)
        part["weight_kg"] = part["height_cm"] - 100 + rng.normal(0, 10, n)
        part["total_ml"] *= 1 + 0.004 * (part["weight_kg"] - 72)
        parts.append(part.assign(sex=sex))
    table = pd.concat(parts, ignore_index=True)
    table["imi_ml_m2"] = table["total_ml"] / (table["height_cm"] / 100) ** 2
    return table.assign(fat_fraction_percent=6 * np.exp(rng.normal(0, 0.3, len(table))))


def test_a_reference_goes_through_a_file_and_scores_one_scan_alike(tmp_path):
    table = cohort_table()
    found = centiles.reference(table)
    coefficients = centiles.coefficients(found)
    path = tmp_path / "reference.tsv"
    files.write_tsv(path, coefficients)
    again = centiles.read(path)
    everyone = centiles.scores(found, table)
    one = centiles.scores(again, table.iloc[[7]])
    for name in everyone:
        assert one[name].iloc[0] == pytest.approx(everyone[name].iloc[7], nan_ok=True, abs=1e-6)
    assert everyone["lean_ml_z"].isna().all()  # not measured, so not scored
    assert "not measured" in again["lean_ml"]["male"]
    assert path.stat().st_size < 40_000
    coefficients.drop(columns="value").to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match="value"):
        centiles.read(path)


def test_the_invariant_score_is_free_of_sex_height_and_weight():
    table = cohort_table()
    z = centiles.scores(centiles.reference(table), table)["total_ml_invariant_z"]
    for sex, rows in table.groupby("sex"):
        mine = z[rows.index]
        assert mine.mean() == pytest.approx(0, abs=1e-9), sex
        assert np.corrcoef(mine, rows["height_cm"])[0, 1] == pytest.approx(0, abs=1e-9)
        assert np.corrcoef(mine, rows["weight_kg"])[0, 1] == pytest.approx(0, abs=1e-9)
    men = data("cohort").query("sex == 'male'")
    men = men.rename(columns={"height": "height_cm"}).assign(weight_kg=men["imi"] / 3)
    model = centiles.invariant(men, "total")
    expected = reference("invariant", "men")
    coefficients = [expected[name] for name in ("constant", "per_cm", "per_kg")]
    assert model["coefficients"] == pytest.approx(coefficients, rel=1e-8)
    assert model["residual_sd"] == pytest.approx(expected["residual_sd"], rel=1e-9)
    z = centiles.invariant_z(model, men["height_cm"], men["weight_kg"], men["total"])
    assert [z[0], z[499]] == pytest.approx([expected["z_1"], expected["z_500"]], rel=1e-8)


@pytest.mark.parametrize("adjustment", ["none", "age"])
def test_the_exponent_of_height_agrees_with_r(adjustment):
    table = data("cohort").rename(columns={"height": "height_cm", "total": "total_ml"})
    found = centiles.allometry(table)
    row = found[(found["sex"] == "male") & (found["adjustment"] == adjustment)].iloc[0]
    for name, value in reference("allometry", adjustment).items():
        assert row[name] == pytest.approx(value, rel=1e-6)


def test_too_few_participants_have_no_centiles_and_a_reason():
    table = cohort_table(200)
    found = centiles.reference(table)
    assert "at least 334" in found["total_ml"]["male"]
    curves = centiles.curves(found)
    assert curves["c50"].isna().all()
    assert curves["note"].str.len().min() > 5
    assert centiles.scores(found, table)["total_ml_z"].isna().all()


def test_calibration_counts_who_lies_below_each_centile():
    table = cohort_table()
    found = centiles.reference(table)
    shown = centiles.calibration(found, table)
    row = shown[(shown["measure"] == "total_ml") & (shown["sex"] == "male")]
    everyone = row[row["ages"] == "all"]
    # of the people it was fitted to, all ages together: exact up to the quantile's interpolation
    np.testing.assert_allclose(everyone["below_percent"], everyone["centile"], atol=0.35)
    assert (row["below_percent_low"] <= row["below_percent"]).all()
    assert set(row["ages"]) == {"all", "below 55", "55-64", "65-74", "75 and above"}


# --- repeat visits


@pytest.mark.parametrize("case", ["sleep", "sides"])
def test_repeatability_agrees_with_r(case):
    if case == "sleep":
        rows = data("sleep2")
        first, second = rows["first"], rows["second"]
    else:
        rows = data("cohort").head(40)
        first, second = rows["left"], rows["right"]
    found = change.repeatability(first, second)
    for name, value in reference("change", case).items():
        # lme's REML is iterative
        assert found[name] == pytest.approx(value, rel=1e-5), name


def test_planted_repeat_noise_is_recovered_and_its_interval_covers():
    rng = np.random.default_rng(9)
    covered, runs = {"within_sd": 0, "icc_agreement": 0, "icc_consistency": 0}, 400
    truth = {"within_sd": 10.0, "icc_agreement": 0, "icc_consistency": 2500 / 2600}
    truth["icc_agreement"] = truth["icc_consistency"]  # no change between the visits
    for _ in range(runs):
        person = rng.normal(700, 50, 40)
        found = change.repeatability(person + rng.normal(0, 10, 40), person + rng.normal(0, 10, 40))
        for name in covered:
            covered[name] += found[f"{name}_low"] <= truth[name] <= found[f"{name}_high"]
    for name, count in covered.items():
        assert count / runs == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / runs)), name


def test_the_smallest_change_is_exceeded_by_chance_in_5_percent_and_by_real_changes():
    rng = np.random.default_rng(10)
    person = rng.normal(700, 80, 20_000)
    first = person + rng.normal(0, 8, 20_000)
    second = person - 5 + rng.normal(0, 8, 20_000)
    found = change.repeatability(first, second)
    assert found["smallest_change"] == pytest.approx(1.96 * math.sqrt(2) * 8, rel=0.02)
    assert found["rms_cv_percent"] == pytest.approx(
        100 * math.sqrt(np.mean((second - first) ** 2 / 2 / ((first + second) / 2) ** 2))
    )
    flags = change.reliable(first, second, found)
    assert np.mean(flags != "no") == pytest.approx(0.05, abs=0.006)
    second[:100] -= 60
    assert set(change.reliable(first, second, found)[:100]) == {"lower"}


@pytest.mark.parametrize("case", ["sleep", "cohort"])
def test_reliable_changes_agree_with_r(case):
    rows = data("sleep2") if case == "sleep" else data("cohort")
    first, second = (rows[name] for name in list(rows)[-2:])
    flags = change.reliable(first, second, change.repeatability(first, second))
    expected = reference("reliable", case)
    for name in ("lower", "higher"):
        assert np.sum(flags == name) == expected[name]
    assert np.flatnonzero(flags != "no")[0] + 1 == expected["row"]
    gap = change.reliable([1.0, np.nan, 5], [2.0, 3, 50], {"change": 0, "smallest_change": 5})
    assert gap.tolist() == ["no", "", "higher"]
    unknown = {"change": math.nan, "smallest_change": math.nan}
    assert change.reliable([1.0], [2.0], unknown).tolist() == [""]


def test_every_participant_s_change_and_score_stand_beside_what_they_come_from():
    """The tables of participants, against groups worked out here from the volumes alone."""
    volumes, sample, _ = split(paper_cohort(800, 3, repeats=60))
    volumes["lean_ml"] = volumes["total_ml"] * (1 - volumes["fat_fraction_percent"] / 100)
    one = volumes.index[(volumes["instance"].astype(str) == "3")][0]
    volumes.loc[one, "fat_fraction_percent"] = np.nan
    found = statistics.compute(volumes, sample)
    z, changes = found["z_scores"], found["changes"]
    assert len(z) == len(volumes)
    whole = volumes.merge(sample, on=["eid", "instance"]).merge(z, on=["eid", "instance"])
    men = whole[(whole["sex"] == "male") & (whole["instance"].astype(str) == "2")]
    design = np.column_stack([np.ones(len(men)), men["height_cm"], men["weight_kg"]])
    rest = men["total_ml"] - design @ np.linalg.lstsq(design, men["total_ml"], rcond=None)[0]
    np.testing.assert_allclose(
        men["total_ml_invariant_z"], rest / np.sqrt((rest**2).sum() / (len(men) - 3)), rtol=1e-8
    )
    for name in ("total_ml_z", "imi_ml_m2_z", "lean_ml_z", "fat_fraction_percent_z"):
        # of those it was fitted to: standard normal up to the centiles' interpolation
        assert men[name].mean() == pytest.approx(0, abs=0.05), name
        assert men[name].std() == pytest.approx(1, abs=0.1), name
    assert set(changes["measure"]) == set(change.MEASURES) == set(found["change"]["measure"])
    wide = whole.pivot_table("lean_ml", "eid", "instance").dropna()
    lean = changes[changes["measure"] == "lean_ml"].set_index("eid")
    assert len(lean) == 60
    np.testing.assert_allclose(lean["change"], wide.loc[lean.index].diff(axis=1).iloc[:, 1])
    for sex, rows in lean.groupby("sex"):
        off = rows["change"] - rows["change"].mean()
        expected = np.where(off.abs() > 1.959964 * off.std(), np.sign(off), 0)
        words = rows["reliable_change"].map({"lower": -1, "no": 0, "higher": 1})
        assert words.tolist() == expected.tolist(), sex
    fat = changes[changes["measure"] == "fat_fraction_percent"].set_index("eid")
    assert fat.loc[volumes.loc[one, "eid"], "reliable_change"] == ""
    assert (fat["reliable_change"] == "").sum() == 1
    assert set(found["power"]["measure"]) == set(change.MEASURES)


@pytest.mark.parametrize("n", [20, 500, 60000])
def test_power_agrees_with_r(n):
    assert change.detectable(n) == pytest.approx(reference("power", str(n))["detectable"], rel=1e-3)


def test_few_or_equal_pairs_have_a_reason():
    assert "at least 3" in change.repeatability([1, 2], [1, 2])["note"]
    same = change.repeatability([5, 6, 7, 8], [6, 7, 8, 9])
    assert same["icc_consistency"] == 1
    assert "no interval" in same["note"]
    flat = change.repeatability([5, 5, 5], [5, 5, 5])
    assert math.isnan(flat["icc_consistency"])


def test_change_by_sex_withholds_small_groups():
    rng = np.random.default_rng(11)
    both = pd.DataFrame({"sex": ["female"] * 30 + ["male"] * 3})
    both = both.assign(eid=both.index.astype(str), years=2.0)
    for name in change.MEASURES:
        both[f"{name}_first"] = rng.normal(500, 50, 33)
        both[f"{name}_second"] = both[f"{name}_first"] + rng.normal(0, 9, 33)
    table = change.change(both)
    assert table["n"].isna().all(), "bland_altman.tsv less the women's would be the men's"
    assert table["note"].str.startswith("withheld").all()
    assert change.power({"change": table}).empty
    both = both[both["sex"] == "female"]
    table = change.change(both)
    each = change.of_each(both, {"change": table})
    assert set(each["reliable_change"]) == {"no", "lower", "higher"}
    sizes = change.power({"change": table})
    assert set(sizes["sex"]) == {"female"}
    row = sizes[(sizes["participants"] == 500) & (sizes["measure"] == "total_ml")].iloc[0]
    assert row["detectable_percent"] == pytest.approx(100 * row["detectable"] / 500, rel=0.1)
