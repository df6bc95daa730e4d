"""The figures that may leave: drawn from counts in cells, and from tables as they leave."""

import numpy as np
import pandas as pd

from iliopsoas.statistics import cohort


def age_range(main: pd.DataFrame, minimum: int, column: str = "age") -> tuple:
    """The youngest and oldest age that at least `minimum` participants reach, or (None, None).

    Ends of the whole range would be single participants' ages.
    """
    ages = np.sort(main[column].dropna().to_numpy(float))
    if len(ages) < 2 * max(minimum, 1):
        return None, None
    keep = max(minimum, 1) - 1
    return float(ages[keep]), float(ages[-1 - keep])


def draw(released: dict, main: pd.DataFrame, minimum: int, age_column: str = "age") -> dict:
    """Figures 4 to 7 without points, the sample's balance, the comparison with the paper.

    Parameters
    ----------
    released : dict of DataFrame
        From `collect.release_all`.
    main : DataFrame
        One row per participant, from `statistics.cohort.main_visit`.
    """
    from iliopsoas.figures import against_paper, shared

    label = "Age at imaging (years)" if age_column == "age" else "Age at recruitment (years)"
    found = {}
    if "statistics/asymmetry" in released:
        found["figure4"] = shared.figure4(main, released["statistics/asymmetry"], minimum)
    if "statistics/correlations" in released:
        correlations = released["statistics/correlations"]
        found["figure5"] = shared.figure5(main, correlations, minimum)
        found["figure6"] = shared.figure6(main, correlations, minimum)
    if "statistics/gam_curve" in released:
        curve = released["statistics/gam_curve"]
        correlations = released.get("statistics/correlations")
        found["figure7"] = shared.figure7(main, curve, minimum, age_column, label, correlations)
    if "cohort/balance" in released:
        found["balance"] = _balance(released["cohort/balance"], minimum)
    if "statistics/paper_comparison" in released:
        comparison = released["statistics/paper_comparison"]
        found["paper_comparison"] = against_paper.paper_comparison(comparison)
    return found


def _balance(balance: pd.DataFrame, minimum: int):
    from iliopsoas import figures
    from iliopsoas.figures import style

    numbers = balance.select_dtypes("number").columns
    balance = balance.astype(dict.fromkeys(numbers, float))
    strata = balance[balance["age_group"] != "all"]
    if strata["drawn"].isna().all():
        return style.empty(f"Every stratum has fewer than {minimum} participants.")
    drawing = figures.sample_balance(balance, minimum)
    if strata["drawn"].isna().any():  # a sum of those shown only
        drawing.axes[0].set_title(f"strata below {minimum} withheld", loc="left")
    return drawing


def main_visit(volumes, sample, instance: int = 2) -> pd.DataFrame:
    """One row per measured participant of the main visit."""
    return cohort.main_visit(cohort.measured(volumes, sample), instance)
