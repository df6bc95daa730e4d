"""The blinded sample: how often an unflagged segmentation is bad after all."""

import hashlib

import pandas as pd

from iliopsoas.files import KEY

UNFLAGGED = ("pass", "note")
FLAGGED = ("review", "serious")
DECOY_SHARE = 0.25  # flagged ones mixed in, so that raters cannot take everything for good


def _order(people, seed, purpose) -> pd.Series:
    """A pseudo-random number per participant that depends on nobody else in the table."""

    def draw(eid, instance):
        text = f"{purpose}:{seed}:{eid}:{instance}"
        return hashlib.sha256(text.encode()).hexdigest()

    return pd.Series(
        [
            draw(eid, instance)
            for eid, instance in zip(people["eid"], people["instance"], strict=True)
        ],
        index=people.index,
        dtype=object,
    )


def draw(verdicts, size: int, seed: int = 2020) -> pd.DataFrame:
    """Draw the participants that are judged without knowing their flags.

    Parameters
    ----------
    verdicts : DataFrame
        From `flags.verdicts`: eid, instance, qc.
    size : int
        Unflagged participants; fewer where there are not as many.
    seed : int

    Returns
    -------
    DataFrame
        eid, instance, group (``unflagged`` or ``decoy``), in the order in which they are shown.
        The draw does not depend on the order of rows, and a larger `size` keeps who was drawn.
    """
    chosen = []
    for group, names, count in (
        ("unflagged", UNFLAGGED, size),
        ("decoy", FLAGGED, round(size * DECOY_SHARE)),
    ):
        people = verdicts[verdicts["qc"].isin(names)]
        order = _order(people, seed, group).sort_values()
        chosen.append(people.loc[order.index[:count], KEY].assign(group=group))
    result = pd.concat(chosen, ignore_index=True)
    shown = _order(result, seed, "order").sort_values()
    return result.loc[shown.index].reset_index(drop=True)


def wants_picture(verdicts, drawn) -> pd.DataFrame:
    """Whose picture is on the page: everyone with a volume and a flag, and those drawn."""
    flagged = verdicts.loc[verdicts["qc"].isin(("note", *FLAGGED)), KEY]
    return pd.concat([flagged, drawn[KEY]]).drop_duplicates(ignore_index=True)
