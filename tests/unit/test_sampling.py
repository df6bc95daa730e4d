"""Eligibility, the stratified draw, and shards."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from iliopsoas import files, sampling
from iliopsoas.phantom import phenotypes
from iliopsoas.sampling import record as records
from iliopsoas.sampling.draw import ks_distance, largest_remainder
from iliopsoas.sampling.plan import plan_cohort
from iliopsoas.status import InputError
from iliopsoas.ukb.mask_files import index_masks

GROUPS = [(44, 53), (54, 63), (64, 72), (73, 82)]
NAMES = ["44-53", "54-63", "64-72", "73-82"]


def population(n, seed=0, women=0.52):
    """Eligible visits as the real imaged population: more women, ages uneven, BMI skew."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "eid": (1_000_000 + rng.permutation(5_000_000)[:n]).astype(str),
            "instance": "2",
            "release": "main",
            "sex": np.where(rng.random(n) < women, "female", "male"),
            "age": np.clip(rng.normal(64, 7.7, n), 44, 82).astype(int),
            "bmi": np.where(rng.random(n) < 0.01, np.nan, 13 + rng.lognormal(2.55, 0.33, n)),
            "annotation": "",
        }
    )
    table["age_group"] = pd.cut(table["age"], [43, 53, 63, 72, 82], labels=NAMES).astype(object)
    return table


@pytest.fixture(scope="module")
def everybody():
    return population(40_000)


def draw(table, size=5000, seed=1, **options):
    return sampling.draw(table, size=size, age_groups=GROUPS, seed=seed, **options)


def strata(balance):
    return balance[balance["age_group"] != "all"].set_index(["sex", "age_group"])


def test_the_paper_draw_is_balanced(everybody):
    found = draw(everybody)
    sample = found.sample
    assert len(sample) == sample["eid"].nunique() == 5000
    assert sample["sex"].value_counts().to_dict() == {"female": 2500, "male": 2500}
    shares = everybody["age_group"].value_counts(normalize=True)
    for _, part in sample.groupby("sex"):
        drawn = part["age_group"].value_counts(normalize=True)
        assert (drawn - shares).abs().max() < 1 / 2500
    for stratum, row in strata(found.balance).iterrows():
        eligible, drawn = (
            table.set_index(["sex", "age_group"]).sort_index().loc[stratum, "bmi"]
            for table in (everybody, sample)
        )
        distance = stats.ks_2samp(drawn.dropna(), eligible.dropna()).statistic
        assert row["bmi_ks"] == pytest.approx(distance, abs=1e-12)
        if row["drawn"] >= 500:
            assert distance <= 0.03
            assert row["within_limit"]
        assert (row["shortfall"], row["filled"]) == (0, 0)
    assert sample["bmi"].isna().mean() == pytest.approx(0.01, abs=0.004)


def test_simple_random_sampling_would_not_hold_the_limit(everybody):
    """The control of BMI is needed: random draws of a stratum's size pass 0.03 often."""
    bmi = everybody["bmi"].dropna().to_numpy()
    rng = np.random.default_rng(0)
    distances = [ks_distance(rng.choice(bmi, 600, replace=False), bmi) for _ in range(50)]
    assert np.mean(np.array(distances) > 0.03) > 0.3


def test_the_draw_depends_on_the_seed_and_not_on_the_order(everybody):
    first = draw(everybody, 1000)
    shuffled = draw(everybody.sample(frac=1, random_state=5), 1000)
    pd.testing.assert_frame_equal(first.sample, shuffled.sample)
    pd.testing.assert_frame_equal(first.balance, shuffled.balance)
    other = set(draw(everybody, 1000, seed=2).sample["eid"])
    assert len(other & set(first.sample["eid"])) < 200


def test_a_newcomer_changes_few_places(everybody):
    """People keep their rank, so one more eligible person cannot reshuffle everybody."""
    one = set(draw(everybody.iloc[1:], 2000).sample["eid"])
    two = set(draw(everybody, 2000).sample["eid"])
    assert len(one & two) > 1700


def test_top_up_keeps_who_was_drawn_and_stays_balanced(everybody):
    first = draw(everybody, 2000)
    kept = set(first.sample["eid"])
    more = draw(everybody, 5000, kept=kept)
    assert kept <= set(more.sample["eid"])
    assert more.sample["eid"].nunique() == 5000
    assert more.sample["sex"].value_counts().to_dict() == {"female": 2500, "male": 2500}
    table = strata(more.balance)
    assert table["kept"].sum() == 2000
    assert (table.loc[table["drawn"] >= 500, "bmi_ks"] <= 0.03).all()
    same = draw(everybody, 2000, kept=kept)
    assert set(same.sample["eid"]) == kept


def test_a_lopsided_earlier_draw_is_evened_out(everybody):
    heavy = everybody.query("sex == 'male' and age_group == '54-63'").nlargest(300, "bmi")
    found = draw(everybody, 5000, kept=set(heavy["eid"]))
    row = strata(found.balance).loc[("male", "54-63")]
    assert set(heavy["eid"]) <= set(found.sample["eid"])
    assert row["drawn"] == row["quota"]


def test_earlier_draws_beyond_a_quota_shrink_the_others(everybody):
    kept = set(everybody.query("sex == 'female' and age_group == '73-82'")["eid"].head(900))
    found = draw(everybody, 1000, kept=kept)
    assert found.sample["eid"].nunique() == 1000
    assert kept <= set(found.sample["eid"])


def test_shortfalls_are_reported_and_filled_by_rule():
    table = population(20_000)
    young_men = table.query("sex == 'male' and age_group == '44-53'").index
    table = table.drop(young_men[50:])
    found = draw(table, 5000)
    balance = strata(found.balance)
    short = balance.loc[("male", "44-53")]
    assert short["drawn"] == 50
    assert short["shortfall"] == short["quota"] - 50 > 50
    # the same sex, the nearest age group
    assert balance.loc[("male", "54-63"), "filled"] == short["shortfall"]
    assert balance["filled"].sum() == short["shortfall"]
    assert found.sample["sex"].value_counts().to_dict() == {"female": 2500, "male": 2500}


def test_the_other_sex_fills_when_a_sex_runs_out():
    table = population(3000, women=0.2)
    found = draw(table, 2400)
    assert found.sample["eid"].nunique() == 2400
    women = (table["sex"] == "female").sum()
    assert (found.sample["sex"] == "female").sum() == women
    whole = found.balance.iloc[-1]
    assert (whole["sex"], whole["drawn"], whole["quota"]) == ("all", 2400, 2400)


def test_more_asked_for_than_there_are():
    table = population(300)
    found = draw(table, 5000)
    assert len(found.sample) == 300
    assert found.balance.iloc[-1]["shortfall"] == 4700


def test_everyone_takes_those_outside_the_strata_too():
    table = population(100)
    table.loc[3, ["sex", "age", "age_group"]] = [None, np.nan, None]
    found = draw(table, "everyone")
    assert len(found.sample) == 100
    assert found.sample["sampled"].all()


def test_both_visits_come_along_and_annotated_people_always(everybody):
    table = population(2000)
    second = table.assign(instance="3", age=table["age"] + 3).head(1500)
    both = pd.concat([table, second])
    annotated = set(table["eid"].iloc[1500:1590])
    found = draw(both, 400, always=annotated)
    sample = found.sample
    people = sample.drop_duplicates("eid")
    assert people["sampled"].sum() == 400
    assert annotated <= set(sample["eid"])
    assert (
        not sample.loc[~sample["sampled"], "eid"]
        .isin(set(people.loc[people["sampled"], "eid"]))
        .any()
    )
    drawn_twice = sample["eid"].value_counts()
    has_two = set(second["eid"])
    assert all((count == 2) == (eid in has_two) for eid, count in drawn_twice.items())


def test_odd_and_tiny_sizes():
    table = population(500)
    for size in (1, 7, 99):
        found = draw(table, size)
        counts = found.sample["sex"].value_counts().reindex(["female", "male"], fill_value=0)
        assert counts.sum() == size
        assert abs(counts["female"] - counts["male"]) <= 1


def times_drawn(n, size, seeds, whole=False, first=0):
    """People of two strata, how often each was drawn, and how often its stratum's share says."""
    table = population(n).assign(age_group="44-82")
    if whole:
        table["bmi"] = table["bmi"].round().mask(np.arange(n) % 25 == 0)
    options = {"age_groups": [(44, 82)]}
    table[["times", "expected"]] = 0.0
    for seed in range(seeds):
        kept = set()
        if first:
            kept = set(sampling.draw(table, size=first, seed=seed, **options).sample["eid"])
        found = sampling.draw(table, size=size, seed=seed, kept=kept, **options)
        there = table["eid"].isin(found.sample["eid"])
        table["times"] += there
        table["expected"] += there.groupby(table["sex"]).transform("mean")
    return table


@pytest.mark.parametrize(("seeds", "first"), [(60, 0), (40, 70)])
def test_every_percentile_of_bmi_is_drawn_alike(seeds, first):
    """Ties and missing values neither push anybody out nor pull anybody in, in top-ups neither."""
    found = times_drawn(750, 150, seeds, whole=True, first=first)
    ranked = found.groupby("sex")["bmi"].rank(pct=True)
    classes = {
        "lowest 2 %": ranked <= 0.02,
        "2 to 10 %": ranked.between(0.02, 0.1, inclusive="right"),
        "90 to 98 %": ranked.between(0.9, 0.98, inclusive="right"),
        "highest 2 %": ranked > 0.98,
        "missing": found["bmi"].isna(),
    }
    for name, rows in classes.items():
        drawn, expected = found.loc[rows, ["times", "expected"]].sum()
        assert expected > 100, name
        assert abs(drawn - expected) < 3.5 * np.sqrt(expected), name


def test_nobody_gains_by_the_rounding_of_shares():
    """Over seeds everybody is drawn as often as a coin of the stratum's share says."""
    found = times_drawn(320, 200, 30)
    share = found["expected"] / 30
    spread = (found["times"] - found["expected"]) ** 2 / (30 * share * (1 - share))
    assert spread.mean() == pytest.approx(1, abs=0.35)


def test_largest_remainder():
    assert largest_remainder([1, 1, 1], 100).tolist() == [34, 33, 33]
    assert largest_remainder([0.2, 0.5, 0.3], 10).tolist() == [2, 5, 3]
    assert largest_remainder([0, 0], 5).tolist() == [0, 0]


# --- eligibility --------------------------------------------------------------------------------


def visits_and_scans():
    table = pd.DataFrame(
        {
            "eid": [f"100000{i}" for i in range(8)],
            "instance": "2",
            "sex": ["female"] * 6 + [None, "male"],
            "age": [50, 60, 70, 80, 43, None, 60, 60],
            "bmi": 25.0,
        }
    ).astype({"age": "Int64"})
    scans = pd.DataFrame(
        {"eid": [*table["eid"].iloc[1:], "1999999"], "instance": "2", "scan": "x.zip"}
    )
    return table, scans


def test_every_visit_counts_once_for_its_first_reason():
    table, scans = visits_and_scans()
    found, counts = sampling.eligible(
        table, scans, age_groups=GROUPS, withdrawn={"1000001"}, excluded={"1000001", "1000002"}
    )
    assert found["eid"].tolist() == ["1000003", "1000007"]
    assert found["age_group"].tolist() == ["73-82", "54-63"]
    assert dict(zip(counts["reason"], counts["visits"], strict=True)) == {
        "withdrawn": 1,
        "excluded": 1,
        "left_the_tables": 0,
        "conflicting_rows": 0,
        "no_zip": 1,
        "no_phenotypes": 1,
        "no_sex": 1,
        "no_age": 1,
        "outside_age_groups": 1,
        "eligible": 2,
    }


def test_without_strata_only_the_zip_and_the_table_count():
    table, scans = visits_and_scans()
    found, _ = sampling.eligible(table, scans, age_groups=GROUPS, stratified=False)
    assert len(found) == 7


def test_an_annotated_participant_needs_a_zip_and_consent_only():
    table, scans = visits_and_scans()
    wanted = {"1000000", "1000004", "1000006", "1999999", "1000001"}
    found, _ = sampling.eligible(
        table, scans, age_groups=GROUPS, withdrawn={"1000001"}, always=wanted
    )
    assert set(found["eid"]) & wanted == {"1000004", "1000006", "1999999"}


# --- shards -------------------------------------------------------------------------------------


def visits(n, release="main", start=0, annotated=()):
    eids = [str(1_000_000 + start + number) for number in range(n)]
    return pd.DataFrame(
        {
            "eid": eids,
            "instance": "2",
            "release": release,
            "annotated": [number in set(annotated) for number in range(n)],
        }
    )


NOBODY = pd.DataFrame(columns=["eid", "instance", "release", "shard"], dtype=str)


def assign(sample, previous=NOBODY, size=10, **options):
    return sampling.assign_shards(sample, previous, shard_size=size, **options)


def test_new_visits_fill_shards_with_the_annotated_ones_first():
    found = assign(visits(25, annotated=[3, 17, 24]))
    assert found["shard"].value_counts().to_dict() == {
        "main-0001": 10,
        "main-0002": 10,
        "main-0003": 5,
    }
    assert set(found.loc[found["annotated"], "shard"]) == {"main-0001"}
    assert sampling.shard_table(found).to_numpy().tolist() == [
        ["main-0001", "main", 10, 3],
        ["main-0002", "main", 10, 0],
        ["main-0003", "main", 5, 0],
    ]


def test_the_order_of_rows_does_not_matter():
    table = visits(40, annotated=[2])
    pd.testing.assert_frame_equal(assign(table), assign(table.sample(frac=1, random_state=1)))


def test_membership_is_fixed_and_newcomers_go_to_new_shards():
    first = assign(visits(25))
    grown = pd.concat([visits(25), visits(4, start=500, annotated=[0])])
    second = assign(grown, first)
    merged = first.merge(second, on=files.KEY)
    assert len(merged) == 25
    assert (merged["shard_x"] == merged["shard_y"]).all()
    assert set(second.loc[~second["eid"].isin(first["eid"]), "shard"]) == {"main-0004"}


def test_a_withdrawal_only_removes_a_row():
    first = assign(visits(25))
    left = visits(25)
    left = left[left["eid"] != first["eid"].iloc[12]]
    second = assign(left, first)
    pd.testing.assert_frame_equal(second, first.drop(index=12).reset_index(drop=True))


def test_a_new_release_has_shards_of_its_own():
    first = assign(visits(12))
    both = pd.concat([visits(12), visits(11, "second", start=900)])
    found = assign(both, first, releases=["main", "second"])
    assert found["shard"].unique().tolist() == [
        "main-0001",
        "main-0002",
        "second-0001",
        "second-0002",
    ]
    # a visit that both releases hold stays where it was
    again = assign(visits(12, "second"), first, releases=["main", "second"])
    assert set(again["release"]) == {"main"}


def test_the_shard_size_may_change_later():
    first = assign(visits(25))
    second = assign(pd.concat([visits(25), visits(6, start=700)]), first, size=3)
    assert second["shard"].value_counts().to_dict()["main-0001"] == 10
    assert set(second["shard"]) == {f"main-000{i}" for i in range(1, 6)}


def test_manifests_are_read_back(tmp_path):
    first = assign(visits(25))
    assert len(sampling.read_manifests(tmp_path)) == 0
    for shard, rows in first.groupby("shard"):
        files.write_tsv(tmp_path / "shards" / shard / "manifest.tsv", rows)
    found = sampling.read_manifests(tmp_path)
    assert set(found["eid"]) == set(first["eid"])
    files.write_tsv(tmp_path / "shards" / "main-0009" / "manifest.tsv", first.head(2))
    with pytest.raises(InputError, match="two manifests"):
        sampling.read_manifests(tmp_path)


# --- the whole cohort stage ---------------------------------------------------------------------


@pytest.fixture
def data(tmp_path):
    """Empty zips, the phantom's phenotype table, two annotations."""
    from iliopsoas.phantom import registry

    people = phenotypes.draw(60, 3, repeats={1})
    for person in people:
        for visit in person.visits:
            path = tmp_path / "zips" / f"{person.eid}_20201_{visit.instance}_0.zip"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    (tmp_path / "phenotypes.csv").write_text(registry.table(people, 3))
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / f"{people[0].eid}_2.nii.gz").touch()
    for side in ("left", "right"):
        (tmp_path / "annotations" / f"{people[1].eid}_2_{side}.nrrd").touch()
    release = {
        "name": "demo",
        "zips": str(tmp_path / "zips"),
        "phenotypes": [str(tmp_path / "phenotypes.csv")],
        "annotations": str(tmp_path / "annotations"),
    }
    return release, people, tmp_path


def test_plan_from_folders_and_tables(data):
    release, people, _ = data
    plan = plan_cohort([release], size=20, shard_size=8)
    sample = plan.sample
    drawn = sample[sample["sampled"]].drop_duplicates("eid")
    assert len(drawn) == 20
    assert drawn["sex"].value_counts().to_dict() == {"female": 10, "male": 10}
    truth = {(p.eid, str(v.instance)): v.traits for p in people for v in p.visits}
    for row in plan.visits.itertuples():
        traits = truth[(row.eid, row.instance)]
        assert (row.sex, row.age) == (traits.sex, traits.age)
        assert row.height_cm == pytest.approx(traits.height_cm, abs=0.5)
        assert row.weight_kg == pytest.approx(traits.weight_kg, abs=0.5)
        assert row.scan.endswith(f"{row.eid}_20201_{row.instance}_0.zip")
    annotated = plan.visits[plan.visits["annotated"]]
    assert set(annotated["eid"]) == {people[0].eid, people[1].eid}
    assert sorted(annotated["annotation"].str.count(";")) == [0, 1]
    assert set(annotated["shard"]) == {"demo-0001"}
    counts = plan.exclusions.set_index("reason")["visits"]
    assert counts["eligible"] == 61
    assert counts["no_zip"] > 0
    assert set(plan.diagnoses["eid"]) <= set(sample["eid"])


def on_record(plan, results, **settings):
    settings = {"size": 20, "seed": 2020, "age_groups": GROUPS} | settings
    records.append(results, records.read(results), plan.visits, **settings)
    return records.read(results)


def test_plan_again_with_a_withdrawal_and_a_larger_size(data):
    release, _, folder = data
    first = plan_cohort([release], size=20, shard_size=8)
    gone = first.sample["eid"].iloc[-1]
    (folder / "w1_20260101.csv").write_text(f"{gone}\n")
    second = plan_cohort(
        [release],
        size=30,
        shard_size=8,
        withdrawals=[folder / "w1_20260101.csv"],
        record=on_record(first, folder, size=20),
    )
    merged = first.sample.merge(second.sample, on=files.KEY)
    assert len(merged) == len(first.sample) - (first.sample["eid"] == gone).sum()
    assert (merged["shard_x"] == merged["shard_y"]).all()
    assert second.sample[second.sample["sampled"]]["eid"].nunique() == 30
    assert gone not in second.visits.to_csv()
    assert second.exclusions.set_index("reason").loc["withdrawn", "participants"] == 1


def test_nobody_eligible_is_an_error_that_says_why(data):
    release, _, folder = data
    with pytest.raises(InputError, match="no_zip"):
        plan_cohort([release | {"zips": str(folder / "annotations"), "annotations": None}])


def test_half_an_annotation_is_refused(tmp_path):
    (tmp_path / "1000107_2_left.nii.gz").touch()
    with pytest.raises(InputError, match="1 visits"):
        index_masks(tmp_path)
    (tmp_path / "1000107_2_right.nii.gz").touch()
    assert index_masks(tmp_path)["annotation"].str.count(";").tolist() == [1]


@pytest.mark.slow
def test_half_a_million_people():
    table = population(500_000)
    found = draw(table, 100_000)
    assert len(found.sample) == 100_000
    assert found.balance["bmi_ks"].max() < 0.02
    shards = assign(found.sample.assign(annotated=False), size=500)
    assert shards["shard"].nunique() == 200
