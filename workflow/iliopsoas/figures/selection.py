"""Who is shown in Figure 3: by rule, not by eye."""

import pandas as pd

GROUPS = ("smallest", "typical", "largest", "most asymmetric")


def twelve(table: pd.DataFrame, each: int = 3) -> pd.DataFrame:
    """The smallest, most typical, largest and most asymmetric pairs of muscles.

    Parameters
    ----------
    table : DataFrame
        One row per participant: eid, instance, total_ml, difference_ml.
    each : int
        Participants per group.

    Returns
    -------
    DataFrame
        group, eid, instance, total_ml, difference_ml. Smallest and largest by total
        volume; typical: nearest to the median total; most asymmetric by |left - right|.
        Nobody appears twice: the groups choose in the order smallest, largest, most
        asymmetric, typical. Ties go to the lower eid.
    """
    pool = table.dropna(subset=["total_ml", "difference_ml"]).copy()
    pool["eid"] = pool["eid"].astype(str)
    pool["size"] = pool["difference_ml"].abs()
    pool["middle"] = (pool["total_ml"] - pool["total_ml"].median()).abs()
    chosen = {}
    for group, column, ascending in (
        ("smallest", "total_ml", True),
        ("largest", "total_ml", False),
        ("most asymmetric", "size", False),
        ("typical", "middle", True),
    ):
        order = pool.sort_values([column, "eid"], ascending=[ascending, True])
        chosen[group] = order.head(each).assign(group=group)
        pool = pool.drop(chosen[group].index)
    columns = ["group", "eid", "instance", "total_ml", "difference_ml"]
    return pd.concat([chosen[group] for group in GROUPS], ignore_index=True)[columns]
