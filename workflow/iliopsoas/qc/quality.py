"""Predicted quality: Dice and volume error from what is known without truth.

Learned from held-out participants of the cross-validation, as they are and degraded on purpose.
The model is its table of rows: the forest is grown again from it (a second), so that nothing
needs to be unpickled.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold

from iliopsoas import grid
from iliopsoas.files import KEY
from iliopsoas.qc.degrade import DEGRADATIONS
from iliopsoas.qc.evidence import CROP_EVIDENCE, SIDE_EVIDENCE, gather
from iliopsoas.status import InputError

# from the network's record and from the evidence: the same in a crop and in a whole volume
NETWORK_FEATURES = (
    "mean_probability",
    "entropy",
    "removed_percent",
    "filled_percent",
    "soft_percent",
)
MASK_FEATURES = (
    "crop_border_cm2",
    "end_area_percent",
    "area_step_percent",
    "compactness",
    "water_step_percent",
    "water_cv_percent",
    "edge_contrast",
    "lowest_level",
    "highest_level",
    "from_midline_voxels",
    "from_back_voxels",
    "widest_share",
    *CROP_EVIDENCE,
)
FEATURE_COLUMNS = {name: SIDE_EVIDENCE[name] for name in MASK_FEATURES}
FEATURES = (*NETWORK_FEATURES, *MASK_FEATURES, "volume_ml")
ROW = [*KEY, "side", "fault", "dice", "automatic_ml", "manual_ml"]  # beside the features
MIN_PEOPLE = 6  # fewer held-out participants teach nothing about others
FAILED_DICE = 0.8
BORDERS = (FAILED_DICE, 0.9)  # between masks predicted failed, doubtful and good
_ABSENT = -1.0  # trees treat a missing feature as a value of its own


def crop_features(mask, crop, record: dict, side: str) -> dict:
    """Features of one crop's mask.

    Parameters
    ----------
    mask : ndarray of bool (96, 96, 192)
        After post-processing.
    crop : ndarray (96, 96, 192)
        What the network saw.
    record : dict
        `NETWORK_FEATURES` of this side.
    side : {"left", "right"}
    """
    label = np.where(mask, grid.SIDES[side], 0).astype(np.uint8)
    boxes = {side: ((0, 0, 0), mask.shape)}
    found = gather(label, grid.las_affine(), water=crop, boxes=boxes)
    measured = {name: found[f"{side}_{name}"] for name in MASK_FEATURES}
    network = {name: record.get(name) for name in NETWORK_FEATURES}
    return network | measured | {"volume_ml": float(mask.sum() * grid.VOXEL_ML) or None}


def cohort_features(cohort) -> pd.DataFrame:
    """Features of every side with a network's volume, from the table of `evidence.cohort`.

    Returns
    -------
    DataFrame
        eid, instance, side and `FEATURES`; what no ledger knows is missing.
    """
    tables = []
    for side in grid.SIDES:
        columns = {name: f"segment.{side}_{name}" for name in NETWORK_FEATURES}
        columns |= {name: f"volumes.{side}_{name}" for name in MASK_FEATURES}
        columns["volume_ml"] = f"{side}_ml"
        part = cohort[KEY].assign(side=side)
        for name, column in columns.items():
            known = cohort[column] if column in cohort.columns else np.nan
            part[name] = pd.to_numeric(known, errors="coerce")
        drawn = cohort.get("segment.network", pd.Series("", index=cohort.index)) == "manual"
        tables.append(part[part["volume_ml"].notna() & ~drawn])
    return pd.concat(tables, ignore_index=True)


def network(segmenter) -> Callable:
    """What `held_out_rows` calls: a loaded `segmentation.Segmenter` with its post-processing."""
    from iliopsoas.network.segmentation.masks import describe

    def segment(crop):
        predicted = segmenter.predict([crop])
        members = [segmenter.finest(member[0]) for member in predicted]
        probability = members[0] if len(members) == 1 else np.mean(members, axis=0)
        result = segmenter.mask(probability)
        return result.mask, describe(result, probability)

    return segment


def held_out_rows(
    people: Iterable[str],
    read: Callable[[str, str], tuple],
    segment: Callable[[np.ndarray], tuple],
    seed: int = 2020,
    repeats: int = 1,
) -> pd.DataFrame:
    """Rows to learn from: held-out crops, as they are and after each degradation.

    Parameters
    ----------
    people : iterable of str
        ``<eid>_<instance>`` that the network was not trained on.
    read : callable
        (name, side) to (normalised crop, manual label, both (96, 96, 192), and voxels of the
        whole manual muscle, with what the crop does not show).
    segment : callable
        Crop to (mask after post-processing, record with `NETWORK_FEATURES`); called from two
        threads.
    seed, repeats : int
        How often each degradation is drawn anew.

    Returns
    -------
    DataFrame
        eid, instance, side, fault ("" = none), dice, automatic_ml, manual_ml, `FEATURES`.
        A crop in which nothing was found has Dice 0 and missing features of its mask.
    """
    faults = [("", None)] + list(DEGRADATIONS.items()) * repeats

    def rows_of(name, side):
        eid, instance = name.rsplit("_", 1)
        crop, label, manual = read(name, side)

        def row(number):
            fault, degrade = faults[number]
            rng = np.random.default_rng([seed, int(eid), int(instance), len(side), number])
            seen, truth = (crop, label) if degrade is None else degrade(crop, label, rng)
            mask, record = segment(seen)
            automatic = int(np.count_nonzero(mask))
            # what a wrong crop lost counts as missed
            shared = int(np.count_nonzero(mask & (truth > 0)))
            both = automatic + manual
            return {
                "eid": eid,
                "instance": instance,
                "side": side,
                "fault": fault,
                "dice": 2.0 * shared / both if both else np.nan,
                "automatic_ml": automatic * grid.VOXEL_ML,
                "manual_ml": manual * grid.VOXEL_ML,
            } | crop_features(mask, seen, record, side)

        return pool.map(row, range(len(faults)))

    with ThreadPoolExecutor(2) as pool:  # one crop is measured while the network sees the next
        rows = [row for name in people for side in grid.SIDES for row in rows_of(name, side)]
    return pd.DataFrame(rows, columns=[*ROW, *FEATURES])


def _design(table, features) -> np.ndarray:
    return table[list(features)].astype(float).fillna(_ABSENT).to_numpy()


@dataclass(frozen=True)
class QualityModel:
    """A forest for Dice and log volume ratio, and how far it errs.

    Parameters
    ----------
    forest : fitted regressor
        Of (Dice, log(automatic / manual volume)), each in units of `scale`.
    scale : ndarray (2,)
    dice_margin, ratio_width : tuple of float
        For masks predicted failed, doubtful and good (`BORDERS`): out-of-fold quantile of
        (predicted - true) Dice, the one-sided bound; of |predicted - true log ratio|, the
        interval's half width.
    out_of_fold : DataFrame
        The rows with what models that never saw the participant predicted.
    coverage : float
        Nominal coverage of interval and bound.
    features : tuple of str
        Columns that the forest was grown on.
    """

    forest: ExtraTreesRegressor
    scale: np.ndarray
    dice_margin: tuple[float, ...]
    ratio_width: tuple[float, ...]
    out_of_fold: pd.DataFrame
    coverage: float
    features: tuple[str, ...] = FEATURES

    def predict(self, features) -> pd.DataFrame:
        """Predicted quality of masks.

        Returns
        -------
        DataFrame
            predicted_dice, dice_low (one-sided bound), error_ml (automatic - truth, expected),
            error_low_ml, error_high_ml; rows as in `features`.
        """
        found = self.forest.predict(_design(features, self.features)) * self.scale
        return _predicted(features, found, self.dice_margin, self.ratio_width)


def _predicted(features, found, dice_margin, ratio_width) -> pd.DataFrame:
    volume = features["volume_ml"].to_numpy(float)
    dice, ratio = found.T
    group = np.digitize(dice, BORDERS)

    def error(log_ratio):  # automatic - truth
        return volume * (1.0 - np.exp(-log_ratio))

    half = np.asarray(ratio_width)[group]
    return pd.DataFrame(
        {
            "predicted_dice": dice,
            "dice_low": np.clip(dice - np.asarray(dice_margin)[group], 0, 1),
            "error_ml": error(ratio),
            "error_low_ml": error(ratio - half),
            "error_high_ml": error(ratio + half),
        },
        index=features.index,
    )


def _conformal(scores, dice, coverage) -> tuple[float, ...]:
    """Finite-sample quantiles of split conformal prediction, for each group of `BORDERS`.

    A group too small for a quantile of its own takes everyone's; infinite for too few rows.
    """

    def quantile(scores):
        rank = int(np.ceil((len(scores) + 1) * coverage))
        return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf

    group = np.digitize(dice, BORDERS)
    found = [quantile(scores[group == number]) for number in range(len(BORDERS) + 1)]
    return tuple(value if np.isfinite(value) else quantile(scores) for value in found)


def fit(rows, coverage: float = 0.95, seed: int = 2020, features=FEATURES) -> QualityModel:
    """Learn from `held_out_rows`, or from other rows with other `features`.

    Parameters
    ----------
    rows : DataFrame
    coverage : float
        Of the volume error's interval and of the Dice bound.

    Raises
    ------
    InputError
        Fewer than `MIN_PEOPLE` participants, or columns that are missing.

    Notes
    -----
    Residuals are out of fold, by participant, so that one participant's sides and degraded
    versions never judge themselves; intervals are conformal on them (Lei et al. 2018, J Am Stat
    Assoc 113:1094), apart for masks predicted failed, doubtful and good: rows are mostly
    degraded, participants mostly are not. They cover new participants as far as these fail in the
    ways that were planted.
    """
    missing = set(features) | {"eid", "dice", "automatic_ml", "manual_ml"}
    missing -= set(rows.columns)
    if missing:
        raise InputError(f"quality rows: column {sorted(missing)[0]} is missing")
    people = rows["eid"].nunique()
    if people < MIN_PEOPLE:
        raise InputError(
            f"quality model: {people} held-out participants, at least {MIN_PEOPLE} are needed"
        )
    # without both volumes there is no ratio to learn
    known = rows[(rows["automatic_ml"] > 0) & (rows["manual_ml"] > 0)].reset_index(drop=True)
    design, ratio = _design(known, features), np.log(known["automatic_ml"] / known["manual_ml"])
    truth = np.column_stack([known["dice"], ratio]).astype(float)
    scale = np.maximum(truth.std(axis=0), 1e-6)  # so that a split serves both alike

    def grown(rows):
        forest = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=seed, n_jobs=1)
        return forest.fit(design[rows], truth[rows] / scale)

    found = np.empty_like(truth)
    for train, test in GroupKFold(min(6, people)).split(design, groups=known["eid"]):
        found[test] = grown(train).predict(design[test]) * scale
    off = found - truth
    margins = (
        _conformal(off[:, 0], found[:, 0], coverage),
        _conformal(np.abs(off[:, 1]), found[:, 0], coverage),
    )
    judged = pd.concat([known, _predicted(known, found, *margins)], axis=1)
    forest = grown(np.arange(len(known)))
    return QualityModel(forest, scale, *margins, judged, coverage, tuple(features))


def participants(
    features, model: QualityModel, learned_on: str = "annotated"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicted quality per side, and the worse side per participant for the flags.

    Parameters
    ----------
    features : DataFrame
    model : QualityModel
    learned_on : {"annotated", "synthetic"}
        Whom the model learned from: goes into both tables.

    Returns
    -------
    sides : DataFrame
        results/qc/quality.tsv: eid, instance, side, the columns of `QualityModel.predict` and
        learned_on.
    people : DataFrame
        eid, instance, predicted_dice, learned_on: the ledger ``quality`` of `evidence.cohort`.
    """
    sides = pd.concat([features[[*KEY, "side"]], model.predict(features)], axis=1)
    people = sides.groupby(KEY, sort=False)["predicted_dice"].min().reset_index()
    return sides.assign(learned_on=learned_on), people.assign(learned_on=learned_on)


def assess(scored, reviewed: float = 0.1, coverage: float = 0.95) -> dict:
    """How well predictions find failures, on rows whose truth is known.

    Parameters
    ----------
    scored : DataFrame
        Per side: eid, instance, dice, automatic_ml, manual_ml and the predicted columns.
    reviewed : float
        Share of the participants that people look at, worst predicted first.

    Returns
    -------
    dict
        participants, failed (a side with Dice below `FAILED_DICE`), found (of these among the
        reviewed), recall, interval_coverage (nominal beside it), dice_mae, error_ml_mae.
    """
    people = scored.groupby(KEY).agg(dice=("dice", "min"), predicted=("predicted_dice", "min"))
    looked_at = people.sort_values("predicted").head(int(np.ceil(reviewed * len(people))))
    failed = int((people["dice"] < FAILED_DICE).sum())
    found = int((looked_at["dice"] < FAILED_DICE).sum())
    error = scored["automatic_ml"] - scored["manual_ml"]
    inside = (error >= scored["error_low_ml"]) & (error <= scored["error_high_ml"])
    return {
        "participants": len(people),
        "failed": failed,
        "reviewed": len(looked_at),
        "found": found,
        "recall": found / failed if failed else None,
        "interval_coverage": float(inside.mean()),
        "nominal_coverage": coverage,
        "dice_mae": float((scored["dice"] - scored["predicted_dice"]).abs().mean()),
        "error_ml_mae": float((error - scored["error_ml"]).abs().mean()),
    }
