"""Is everybody equally likely to be drawn? Inclusion by BMI percentile, over many seeds.

python benchmarks/draw.py [--rows 60000] [--size 5000] [--seeds 12]

Inclusion is the number drawn over the number expected: each stratum's quota over its people,
summed over the people of the class. 1 is fair.
"""

import argparse

import numpy as np
import pandas as pd

from iliopsoas import sampling

GROUPS = [(44, 53), (54, 63), (64, 72), (73, 82)]
NAMES = ["44-53", "54-63", "64-72", "73-82"]
CLASSES = {
    "lowest 0.5 %": (0, 0.005),
    "lowest 1 %": (0, 0.01),
    "1 to 5 %": (0.01, 0.05),
    "5 to 95 %": (0.05, 0.95),
    "95 to 99 %": (0.95, 0.99),
    "highest 1 %": (0.99, 1),
    "highest 0.5 %": (0.995, 1),
}


def population(rows: int, missing: float, whole: bool, seed: int = 0) -> pd.DataFrame:
    """Eligible visits: more women, ages uneven, BMI skew (mean 26.6, SD 4.4 kg/m^2)."""
    rng = np.random.default_rng(seed)
    bmi = 13 + rng.lognormal(2.557, 0.314, rows)
    table = pd.DataFrame(
        {
            "eid": (1_000_000 + rng.permutation(5_000_000)[:rows]).astype(str),
            "instance": "2",
            "sex": np.where(rng.random(rows) < 0.52, "female", "male"),
            "age": np.clip(rng.normal(64, 7.7, rows), 44, 82).astype(int),
            "bmi": np.where(rng.random(rows) < missing, np.nan, bmi.round() if whole else bmi),
        }
    )
    table["age_group"] = pd.cut(table["age"], [43, 53, 63, 72, 82], labels=NAMES).astype(object)
    return table


def inclusion(table: pd.DataFrame, size: int, seeds: int, top_up: int | None = None):
    """Ratio drawn to expected by class, and the SD of BMI drawn and expected (kg/m^2)."""
    strata = table.groupby(["sex", "age_group"])
    place = strata["bmi"].rank(pct=True, method="average")
    masks = {name: (place > low) & (place <= high) for name, (low, high) in CLASSES.items()}
    masks["missing"] = table["bmi"].isna()
    drawn, expected, deviations = dict.fromkeys(masks, 0.0), dict.fromkeys(masks, 0.0), []
    for seed in range(seeds):
        options = {"age_groups": GROUPS, "seed": seed}
        kept = ()
        if top_up:
            kept = set(sampling.draw(table, size=top_up, **options).sample["eid"])
        sample = set(sampling.draw(table, size=size, kept=kept, **options).sample["eid"])
        there = table["eid"].isin(sample)
        chance = there.groupby([table["sex"], table["age_group"]]).transform("mean")
        for name, mask in masks.items():
            drawn[name] += there[mask].sum()
            expected[name] += chance[mask].sum()
        values, weights = table["bmi"], chance.where(table["bmi"].notna(), 0)
        mean = np.average(values.fillna(0), weights=weights)
        wanted = np.sqrt(np.average((values.fillna(0) - mean) ** 2, weights=weights))
        deviations.append((table.loc[there, "bmi"].std(), wanted))
    ratios = {name: drawn[name] / expected[name] if expected[name] else np.nan for name in masks}
    errors = {name: 1 / np.sqrt(expected[name]) if expected[name] else np.nan for name in masks}
    return ratios, errors, np.mean(deviations, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--size", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=12)
    options = parser.parse_args()
    cases = {
        "3 % without BMI": (0.03, False, None),
        "whole-number BMI": (0.0, True, None),
        "3 % without, whole numbers, 2,000 drawn first": (0.03, True, 2000),
    }
    for title, (missing, whole, top_up) in cases.items():
        table = population(options.rows, missing, whole)
        ratios, errors, (sd, wanted) = inclusion(table, options.size, options.seeds, top_up)
        print(f"{title}: SD of BMI {sd:.3f}, expected {wanted:.3f}")
        for name, ratio in ratios.items():
            print(f"  {name:14} {ratio:6.3f} (random alone: +-{errors[name]:.3f})")


if __name__ == "__main__":
    main()
