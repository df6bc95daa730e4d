"""An attack on what leaves: every withheld cell is tried for, from all tables together.

The attacker knows every shown count, mean, interval and statistic, and how groups are made up. Sums
of shown groups are a linear space; a withheld group whose indicator lies in it is recovered, its
count from the counts, its sum from the means.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iliopsoas import statistics
from iliopsoas.egress import tables, withholding
from iliopsoas.figures.paper import split
from iliopsoas.phantom.phenotypes import paper_cohort
from iliopsoas.phantom.profiles import paper_profiles
from iliopsoas.qc import report
from iliopsoas.statistics import cohort
from iliopsoas.statistics.cohort import MEASURES, SEXES, TRAITS

PAPER = Path(__file__).resolve().parents[2] / "resources/paper.tsv"
SMALL = 5
COLUMNS = [item.column for item in (*MEASURES, *TRAITS)]


def random_cohort(seed):
    """A cohort with rare hands, ethnicities, failures, missing values, flags and repeat visits."""
    rng = np.random.default_rng(seed)
    volumes, sample, diagnoses = split(paper_cohort(int(rng.integers(40, 120)), seed, repeats=18))
    sample = sample.assign(sampled=True)
    first = sample["instance"].astype(str) == "2"
    rare = {"left": 0.08, "use both right and left hands equally": 0.04, "not reported": 0.02}
    hands = rng.choice(["right", *rare], len(sample), p=[0.86, *rare.values()])
    sample["handedness"] = hands
    levels = ["White European", "Asian", "Black", "Chinese"]
    sample["ethnicity"] = rng.choice(levels, len(sample), p=[0.85, 0.07, 0.05, 0.03])
    for trait in ("bmi", "height_cm", "age"):
        gone = rng.random(len(sample)) < rng.choice([0, 0.03, 0.1])
        sample.loc[gone & first, trait] = np.nan
    short = sample.loc[sample["height_cm"].isna(), "eid"]
    volumes.loc[volumes["eid"].isin(short), "imi_ml_m2"] = np.nan
    reasons = rng.choice(["ok", "no_body", "truncated_zip"], len(volumes), p=[0.94, 0.03, 0.03])
    volumes["status"] = reasons
    volumes.loc[reasons != "ok", [measure.column for measure in MEASURES]] = np.nan
    raised = volumes.loc[rng.random(len(volumes)) < 0.06, ["eid", "instance"]]
    return volumes, sample, diagnoses, raised.assign(flag="a", severity="serious")


class World:
    """Who is who: the attacker's targets, and the people behind each cell."""

    def __init__(self, volumes, sample, flags, profiles=None):
        self.profiles = profiles
        visits = cohort.measured(volumes, sample)
        self.all = sample.assign(instance=sample["instance"].astype(str)).merge(
            volumes[["eid", "instance", "status"]].astype(str), on=["eid", "instance"]
        )
        keys = ["eid", "instance"]
        self.all = self.all.merge(
            visits[[*keys, *(m.column for m in MEASURES)]], on=keys, how="left"
        )
        flagged = pd.MultiIndex.from_frame(flags[keys].astype(str))
        self.main = (self.all["instance"] == "2").to_numpy()
        self.ok = (self.all["status"] == "ok").to_numpy() & self.main
        self.flagged = pd.MultiIndex.from_frame(self.all[keys]).isin(flagged)
        good = self.all[self.all["status"] == "ok"]
        again = set(good.loc[good["instance"] == "3", "eid"])
        self.twice = self.ok & self.all["eid"].isin(again).to_numpy()

    def sex(self, name):
        if name in SEXES:
            return (self.all["sex"] == name).to_numpy()
        return np.ones(len(self.all), bool)

    def reaches(self, height_mm):
        """Who has both muscles at a height above the hips."""
        ends = self.profiles.assign(
            highest=self.profiles["lowest_above_hip_mm"] + self.profiles["span_mm"]
        ).groupby(["eid", "instance"])
        low, high = ends["lowest_above_hip_mm"].max(), ends["highest"].min()
        keys = pd.MultiIndex.from_frame(self.all[["eid", "instance"]])
        return ((low <= height_mm) & (height_mm <= high)).reindex(keys).eq(True).to_numpy()

    def has(self, *columns):
        return self.ok & self.all[list(columns)].notna().all(axis=1).to_numpy()


class Attack:
    """Everything that is shown, and what follows from it."""

    def __init__(self):
        self.counts, self.means, self.wanted, self.guessed = [], {}, [], set()

    def see(self, what, people, count, mean=None, variable=None):
        """A cell: `people` is who is in it, `count` and `mean` what is shown of them."""
        if pd.notna(count):
            self.counts.append(people)
        elif people.any():
            self.wanted.append((what, people))
        if mean is not None and pd.notna(mean):
            self.means.setdefault(variable, []).append(people)

    def guess(self, people, mean, variable):
        """A mean of people whose number is shown rounded: few numbers are left to try."""
        if pd.notna(mean):
            self.means.setdefault(variable, []).append(people)
            self.guessed.add(people.tobytes())

    def want(self, what, people):
        """Few people whom nothing may be known of."""
        self.wanted.append((what, people))

    def recovered(self) -> list[str]:
        """Withheld groups of few that follow from what is shown."""
        found = []
        spaces = {"count": basis(self.counts)}
        for variable, shown in self.means.items():
            known = [
                people
                for people in shown
                if people.tobytes() in self.guessed or inside(people, spaces["count"])
            ]
            spaces[f"sum of {variable}"] = basis(known)
        for what, people in self.wanted:
            if 0 < people.sum() < SMALL:
                found += [
                    f"{quantity}: {what}"
                    for quantity, space in spaces.items()
                    if inside(people, space)
                ]
        return found


def basis(people):
    if not people:
        return np.zeros((1, 0))
    _, size, rows = np.linalg.svd(np.array(people, float), full_matrices=False)
    return rows[size > 1e-8 * max(size.max(), 1)].T


def inside(people, space) -> bool:
    vector = people.astype(float)
    if not space.size:
        return False
    return np.linalg.norm(vector - space @ (space.T @ vector)) < 1e-6


def look(attack: Attack, world: World, found: dict) -> None:
    """Show the attacker every table of `found`, by name."""
    everybody = np.ones(len(world.all), bool)
    hands = world.all["handedness"].fillna("not reported").to_numpy()
    if found.get("flow") is not None:
        for row in found["flow"].itertuples():
            step = {"sampled": world.main, "analysed": world.ok}.get(row.step)
            if step is None:
                reason = row.step.removeprefix("not measured: ")
                step = world.main & (world.all["status"] == reason).to_numpy()
            for column, sex in (("n", "both"), ("female", "female"), ("male", "male")):
                attack.see(f"flow {row.step}", step & world.sex(sex), getattr(row, column))
    labels = {trait.label: trait.column for trait in TRAITS}
    for row in found["table1"].itertuples():
        people = world.ok & world.sex(row.sex)
        if row.variable == "Ethnicity":
            people &= (world.all["ethnicity"] == row.level).to_numpy()
        if row.variable in labels:
            column = labels[row.variable]
            people &= world.has(column)
            attack.see(f"table1 {column}", people, row.n, row.mean, column)
        else:
            attack.see(f"table1 {row.variable}", people, row.n)
    for row in found["table2"].to_dict("records"):
        for sex in SEXES:
            people = world.has(row["measure"]) & world.sex(sex)
            mean = row[f"{sex}_mean"]
            attack.see("table2", people, row[f"{sex}_n"], mean, row["measure"])
    for row in found["asymmetry"].itertuples():
        people = world.ok & world.sex(row.sex)
        attack.see("asymmetry", people, row.n, row.difference_ml, "difference_ml")
    for row in found["handedness"].itertuples():
        people = world.ok & world.sex(row.sex)
        if row.kind == "group":
            people &= hands == row.hand
            attack.see(f"{row.sex} {row.hand}", people, row.n, row.mean, "difference_ml")
            continue
        tested = ["right", "left"] if row.hand == "right against left" else sorted(set(hands))
        tested = [hand for hand in tested if hand != "not reported"]
        few = [hand for hand in tested if 0 < (people & (hands == hand)).sum() < SMALL]
        if few and pd.notna([row.statistic, row.estimate, row.low, row.high, row.p]).any():
            attack.see(f"values of {few}", everybody, 1)
            attack.counts.append(people & (hands == few[0]))
        if people[np.isin(hands, tested)].any():
            attack.see(f"test {row.hand}", people & np.isin(hands, tested), row.n)
    for row in found["repeat"].itertuples():
        people = world.twice & world.sex(row.sex)
        if row.age_group != "all":
            people &= (world.all["age_group"] == row.age_group).to_numpy()
        if row.measure != "imi_ml_m2":
            what = f"repeat {row.sex} {row.age_group}"
            attack.see(what, people, row.n, row.change_mean, f"change of {row.measure}")
    agreement = found["bland_altman"]
    for row in agreement[agreement["comparison"].str.startswith("second")].itertuples():
        if row.unit == "ml":
            measure = f"{row.measure.split()[0]}_ml"
            attack.see("bland_altman", world.twice, row.n, row.bias, f"change of {measure}")


def look_at_measures(attack: Attack, world: World, found: dict) -> None:
    """The tables whose n is rounded where they leave: changes, slices, corrected results."""
    for row in found["change"].itertuples():
        people = world.twice & world.sex(row.sex)
        attack.guess(people, row.change, f"change of {row.measure}")
        if pd.isna(row.change) and people.any():
            attack.want("change", people)
    # everyone with profiles has both muscles at the middle, some at the ends
    for row in found["slices"].to_dict("records"):
        if row["axis"] == "mm" and pd.notna(row["intercept_ml"]):
            whole = world.has("total_ml") & world.sex(row["sex"])
            people = whole & world.reaches(float(row["level"]))
            attack.guess(people, row["intercept_ml"], "total_ml")
            attack.want(f"short of {row['level']} mm", whole & ~people)
    for row in found["uncertainty"].itertuples():
        if row.result.startswith("mean "):
            variable = row.result.split()[-1]
            people = world.has(variable) & world.sex(row.sex)
            attack.guess(people, row.measured, variable)


def look_further(attack: Attack, world: World, found: dict) -> None:
    """The tables that do not hide groups of their own where they are computed."""
    for row in found["normality"].itertuples():
        attack.see("normality", world.has(row.variable) & world.sex(row.sex), row.n)
    for row in found["correlations"].itertuples():
        attack.see("correlations", world.has(row.x, row.y) & world.sex(row.sex), row.n)
    for row, columns in zip(
        found["sex_differences"].itertuples(),
        (["total_ml"], ["imi_ml_m2"], ["total_ml", "height_cm"], ["total_ml", "height_cm"]),
        strict=True,
    ):
        attack.see("sex_differences", world.has(*columns), row.n)
    for name in ("gam", "acceleration"):
        for row in found[name].itertuples():
            attack.see(name, world.has("age", "imi_ml_m2") & world.sex(row.sex), row.n)
    for row in found["sensitivity"].to_dict("records"):
        result = row["result"]
        if result.startswith(("mean ", "shift of ")):
            variable = result.split()[-1]
            people = world.has(variable)
        elif result.startswith("rho"):
            x = {"height": ["height_cm", "total_ml"], "BMI": ["bmi", "imi_ml_m2"]}
            variable, people = None, world.has(*x.get(result.split()[-1], ["age", "imi_ml_m2"]))
        else:
            variable, people = "difference_ml", world.ok
        people = people & world.sex(row["sex"])
        for end, part in (("all", people), ("unflagged", people & ~world.flagged)):
            value = row[f"value_{end}"] if result.startswith(("mean", "left")) else None
            attack.see(f"sensitivity {end}", part, row[f"n_{end}"], value, variable)
    for row in found["paper_comparison"].to_dict("records"):
        kind, *parts = row["id"].split(".")
        if kind in ("trait", "measure") and parts[-1] == "mean":
            people = world.has(parts[0]) & world.sex(parts[1])
            attack.see("paper", people, row["run_n"], float(row["run_value"] or "nan"), parts[0])
        if kind == "participants" and parts[-1] == "count":
            people = world.ok & world.sex(parts[0])
            attack.see("paper", people, pd.to_numeric(row["run_value"]))
        if row["id"] == "cohort.measured_percent":
            attack.see("paper", world.main, row["run_n"])
    for row in found["shares"].itertuples():
        people = np.ones(len(world.all), bool)
        column = {"sex": "sex", "age": "age_group", "visit": "instance", "site": "centre"}
        if row.group in column:
            people = (world.all[column[row.group]].astype(str) == str(row.level)).to_numpy()
        attack.see(f"shares {row.group} {row.level}", people, row.participants)
        refused = people & (world.all["status"] != "ok").to_numpy()
        attack.see(f"shares {row.group} {row.level}, no volume", refused, row.no_volume)
    for row in found["balance"].itertuples():
        people = world.main & world.sex(row.sex)
        if row.age_group != "all":
            people &= (world.all["age_group"] == row.age_group).to_numpy()
        attack.see("balance", people, row.drawn)


def want_few(attack: Attack, world: World) -> None:
    """Groups of few that no cell of a table is about, but differences are."""
    for sex in SEXES:
        attack.want("not measured", world.main & ~world.ok & world.sex(sex))
        attack.want("flagged", world.ok & world.flagged & world.sex(sex))
        attack.want("other visits", ~world.main & world.sex(sex))
        for column in COLUMNS:
            missing = world.ok & world.all[column].isna().to_numpy() & world.sex(sex)
            attack.want(f"without {column}", missing)


def balance_of(world: World) -> pd.DataFrame:
    """cohort/balance.tsv of everyone drawn, as many as were eligible."""
    names = tables.released()["cohort/balance"].columns
    rows = []
    drawn = world.all[world.main]
    for sex in (*SEXES, "all"):
        ages = ["all"] if sex == "all" else [*sorted(drawn["age_group"].dropna().unique()), "all"]
        for age in ages:
            part = drawn if sex == "all" else drawn[drawn["sex"] == sex]
            part = part if age == "all" else part[part["age_group"] == age]
            rows.append({"sex": sex, "age_group": age, "eligible": len(part), "drawn": len(part)})
    columns = [n for n in names if "<" not in n]
    columns += [f"bmi_p{s}_{who}" for who in ("eligible", "drawn") for s in (5, 25, 50, 75, 95)]
    table = pd.DataFrame(rows)
    return table.reindex(columns=list(dict.fromkeys([*table.columns, *columns])))


def profiles_of(volumes, sample, seed) -> pd.DataFrame:
    """Profiles of everyone measured, a few of whom are short of the ends."""
    good = volumes[volumes["status"] == "ok"]
    people = good.merge(sample[["eid", "instance", "height_cm"]], on=["eid", "instance"])
    people["height_cm"] = people["height_cm"].fillna(170)
    made = paper_profiles(people.assign(fat_fraction_percent=6.0), seed=seed)
    short = np.random.default_rng(seed).random(len(made)) < 0.03
    made.loc[short, "span_mm"] *= 0.7
    return made.astype({"eid": str, "instance": str})


def without_traits(table1) -> pd.DataFrame:
    """Inside, n of a trait stays: who lacks it may happen to be a withheld group."""
    return table1[~table1["variable"].isin([trait.label for trait in TRAITS])]


@pytest.fixture(scope="module", params=range(5))
def attacked(request):
    """A cohort's statistics, and the same as they leave."""
    volumes, sample, diagnoses, flags = random_cohort(request.param)
    profiles = profiles_of(volumes, sample, request.param)
    world = World(volumes, sample, flags, profiles)
    exact = statistics.compute(
        volumes, sample, diagnoses, None, flags, paper=PAPER, profiles=profiles
    )
    verdicts = world.all[["eid", "instance"]].assign(
        qc=np.where(world.all["status"] != "ok", "no_volume",
                    np.where(world.flagged, "serious", "pass")),
    )  # fmt: skip
    main = cohort.main_visit(cohort.measured(volumes, sample))
    context = withholding.context(main, sample, sample, SMALL)
    others = {"shares": report.shares(world.all, verdicts), "balance": balance_of(world)}
    out = {}
    for name, table in (exact | others).items():
        path = {"shares": "qc/shares", "balance": "cohort/balance"}.get(name, f"statistics/{name}")
        if path in tables.released():
            out[name] = tables.release(path, table, SMALL, context)
    return world, exact, out


def test_no_withheld_cell_follows_from_all_that_leaves(attacked):
    world, _, out = attacked
    attack = Attack()
    look(attack, world, out)
    look_further(attack, world, out)
    look_at_measures(attack, world, out)
    want_few(attack, world)
    assert attack.recovered() == []


def test_no_cell_that_the_statistics_withhold_follows_from_them(attacked):
    world, exact, _ = attacked
    attack = Attack()
    look(attack, world, exact | {"flow": None, "table1": without_traits(exact["table1"])})
    look_at_measures(attack, world, exact | {"slices": exact["slices"][:0]})
    assert attack.recovered() == []


def test_a_hidden_number_of_participants_does_not_follow_from_intervals(attacked):
    _, _, out = attacked
    for row in out["correlations"][out["correlations"]["n"].isna()].itertuples():
        assert not (pd.notna(row.rho) and pd.notna(row.statistic)), "S and rho give n"
        assert not (pd.notna(row.rho) and pd.notna(row.rho_low)), "the interval gives n"
    for row in out["table2"].to_dict("records"):
        if pd.isna([row["female_n"], row["male_n"]]).any():
            assert pd.isna(row["rank_biserial"]) or pd.isna(row["statistic"]), "2 W / (r + 1)"


def test_no_block_of_diagnoses_is_bounded_to_one_number(attacked):
    _, _, out = attacked
    table = out["table_s1"]
    for sex in SEXES:
        for _, rows in table.groupby("chapter"):
            counts = rows.set_index("level")[f"{sex}_n"].astype(float)
            whole = counts[counts.index == "chapter"].iloc[0]
            blocks = counts[counts.index == "block"]
            if not np.isfinite(whole) or not blocks.isna().any():
                continue
            others = blocks.sum() + whole * (blocks.isna().sum() - 1)
            assert max(0, whole - others) < whole, "a withheld block is the whole chapter"


@pytest.mark.parametrize("seed", range(20))
def test_hands_repeats_and_ethnicities_are_safe_in_many_cohorts(seed):
    from iliopsoas.statistics import associations, change, repeat
    from iliopsoas.statistics import tables as made

    volumes, sample, _, flags = random_cohort(1000 + seed)
    world = World(volumes, sample, flags)
    everyone = cohort.measured(volumes, sample)
    main = cohort.main_visit(everyone)
    both = repeat.pairs(everyone)
    attack = Attack()
    found = {
        "table1": without_traits(made.table1(main)),
        "table2": made.table2(main)[:0],
        "asymmetry": associations.asymmetry(main),
        "handedness": associations.handedness(main),
        "repeat": repeat.repeat(both),
        "bland_altman": repeat.agreement_table(None, both, volumes),
        "change": change.change(both),
        "slices": pd.DataFrame(),
        "uncertainty": pd.DataFrame(),
    }
    look(attack, world, found)
    look_at_measures(attack, world, found)
    assert attack.recovered() == []
