"""Predicted quality: Dice and volume error from what is known without truth.

Learned from held-out participants of the cross-validation, as they are and degraded on purpose.
The model is its table of rows: forests are grown again from it (a second), so that nothing
needs to be unpickled.
"""

from collections.abc import Callable, Iterable
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
MIN_PEOPLE = 6  # fewer held-out participants teach nothing about others
FAILED_DICE = 0.8
SPREAD_LEAF = 20  # least rows in a leaf of the forest that predicts the error's size
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
    """Features of every side with a volume, from the table of `evidence.cohort`.

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
        tables.append(part[part["volume_ml"].notna()])
    return pd.concat(tables, ignore_index=True)


def network(segmenter) -> Callable:
    """What `held_out_rows` calls: a loaded `segmentation.Segmenter` with its post-processing."""
    from iliopsoas.network.segmentation.masks import describe, post_process

    def segment(crop):
        predicted = segmenter.predict([crop])
        members = [segmenter.finest(member[0]) for member in predicted]
        probability = members[0] if len(members) == 1 else np.mean(members, axis=0)
        result = post_process(probability, segmenter.threshold)
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
        (name, side) to (normalised crop, manual label), both (96, 96, 192).
    segment : callable
        Crop to (mask after post-processing, record with `NETWORK_FEATURES`).
    seed, repeats : int
        How often each degradation is drawn anew.

    Returns
    -------
    DataFrame
        eid, instance, side, fault ("" = none), dice, automatic_ml, manual_ml, `FEATURES`.
        A crop in which nothing was found has Dice 0 and missing features of its mask.
    """
    rows = []
    for name in people:
        eid, instance = name.rsplit("_", 1)
        for side in grid.SIDES:
            crop, label = read(name, side)
            manual = int(np.count_nonzero(label))
            faults = [("", None)] + list(DEGRADATIONS.items()) * repeats
            for number, (fault, degrade) in enumerate(faults):
                rng = np.random.default_rng([seed, int(eid), int(instance), len(side), number])
                seen, truth = (crop, label) if degrade is None else degrade(crop, label, rng)
                mask, record = segment(seen)
                automatic = int(np.count_nonzero(mask))
                # what a wrong crop lost counts as missed
                shared = int(np.count_nonzero(mask & (truth > 0)))
                both = automatic + manual
                rows.append(
                    {
                        "eid": eid,
                        "instance": instance,
                        "side": side,
                        "fault": fault,
                        "dice": 2.0 * shared / both if both else np.nan,
                        "automatic_ml": automatic * grid.VOXEL_ML,
                        "manual_ml": manual * grid.VOXEL_ML,
                    }
                    | crop_features(mask, seen, record, side)
                )
    return pd.DataFrame(rows)


def _design(table) -> np.ndarray:
    return table[list(FEATURES)].astype(float).fillna(_ABSENT).to_numpy()


def _forest(seed: int, leaf: int = 2) -> ExtraTreesRegressor:
    return ExtraTreesRegressor(300, min_samples_leaf=leaf, random_state=seed, n_jobs=1)


@dataclass(frozen=True)
class QualityModel:
    """Forests for Dice, log volume ratio and the size of its error, and the conformal factor.

    Parameters
    ----------
    dice, ratio, spread : fitted regressors
        Of Dice; of log(automatic / manual volume); of |its out-of-fold residual|.
    dice_margin, factor : tuple of float
        For masks predicted good and predicted failed: out-of-fold quantile of (predicted - true)
        Dice, the one-sided lower bound; of |residual| / spread, the interval's half width in
        spreads.
    out_of_fold : DataFrame
        The rows with what models that never saw the participant predicted.
    coverage : float
        Nominal coverage of interval and bound.
    """

    dice: ExtraTreesRegressor
    ratio: ExtraTreesRegressor
    spread: ExtraTreesRegressor
    dice_margin: tuple[float, float]
    factor: tuple[float, float]
    out_of_fold: pd.DataFrame
    coverage: float

    def predict(self, features) -> pd.DataFrame:
        """Predicted quality of masks.

        Returns
        -------
        DataFrame
            predicted_dice, dice_low (one-sided bound), error_ml (automatic - truth, expected),
            error_low_ml, error_high_ml; rows as in `features`.
        """
        design = _design(features)
        ratio, spread = self.ratio.predict(design), self.spread.predict(design)
        return _predicted(features, self.dice.predict(design), ratio, spread, self)


def _predicted(features, dice, ratio, spread, model) -> pd.DataFrame:
    volume = features["volume_ml"].to_numpy(float)

    def error(log_ratio):  # automatic - truth
        return volume * (1.0 - np.exp(-log_ratio))

    failed = (np.asarray(dice) < FAILED_DICE).astype(int)
    half = np.asarray(model.factor)[failed] * spread
    return pd.DataFrame(
        {
            "predicted_dice": dice,
            "dice_low": np.clip(dice - np.asarray(model.dice_margin)[failed], 0, 1),
            "error_ml": error(ratio),
            "error_low_ml": error(ratio - half),
            "error_high_ml": error(ratio + half),
        },
        index=features.index,
    )


def _conformal(scores, dice, coverage) -> tuple[float, float]:
    """Finite-sample quantiles of split conformal prediction, for predicted good and failed.

    A group too small for a quantile of its own takes everyone's; infinite for too few rows.
    """

    def quantile(scores):
        rank = int(np.ceil((len(scores) + 1) * coverage))
        return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else np.inf

    failed = np.asarray(dice) < FAILED_DICE
    found = [quantile(scores[group]) for group in (~failed, failed)]
    return tuple(value if np.isfinite(value) else quantile(scores) for value in found)


def fit(rows, coverage: float = 0.95, seed: int = 2020) -> QualityModel:
    """Learn from `held_out_rows`.

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
    versions never judge themselves; the intervals are conformal on them, scaled by the
    predicted size of the error (Lei et al. 2018, J Am Stat Assoc 113:1094), and apart for
    masks predicted good and failed: rows are mostly degraded, participants mostly are not. They
    cover new participants as far as these fail in the ways that were planted.
    """
    missing = set(FEATURES) | {"eid", "dice", "automatic_ml", "manual_ml"}
    missing -= set(rows.columns)
    if missing:
        raise InputError(f"quality rows: column {sorted(missing)[0]} is missing")
    people = rows["eid"].nunique()
    if people < MIN_PEOPLE:
        raise InputError(
            f"quality model: {people} held-out participants, at least {MIN_PEOPLE} are needed"
        )
    # without both volumes there is no ratio to learn
    found = rows[(rows["automatic_ml"] > 0) & (rows["manual_ml"] > 0)].reset_index(drop=True)
    design = _design(found)
    dice = found["dice"].to_numpy(float)
    ratio = np.log(found["automatic_ml"] / found["manual_ml"]).to_numpy(float)

    out_dice, out_ratio = np.empty(len(found)), np.empty(len(found))
    groups = found["eid"].to_numpy()
    folds = list(GroupKFold(min(6, people)).split(design, groups=groups))
    for train, test in folds:
        out_dice[test] = _forest(seed).fit(design[train], dice[train]).predict(design[test])
        out_ratio[test] = _forest(seed).fit(design[train], ratio[train]).predict(design[test])
    residual = np.abs(ratio - out_ratio)
    least = max(float(np.median(residual)) / 4, 1e-3)
    # a size of error is noisier than an error: smoother, or single lucky residuals make scores huge
    leaf = max(2, min(SPREAD_LEAF, len(found) // 10))
    out_spread = np.empty(len(found))
    for train, test in folds:
        forest = _forest(seed, leaf).fit(design[train], residual[train])
        out_spread[test] = forest.predict(design[test])
    target = np.maximum(residual, least)
    model = QualityModel(
        _forest(seed).fit(design, dice),
        _forest(seed).fit(design, ratio),
        _forest(seed, leaf).fit(design, target),
        _conformal(out_dice - dice, out_dice, coverage),
        _conformal(residual / np.maximum(out_spread, least), out_dice, coverage),
        found,
        coverage,
    )
    spread = np.maximum(out_spread, least)
    predicted = _predicted(found, out_dice, out_ratio, spread, model)
    return QualityModel(**{**vars(model), "out_of_fold": pd.concat([found, predicted], axis=1)})


def participants(features, model: QualityModel) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predicted quality per side, and the worse side per participant for the flags.

    Returns
    -------
    sides : DataFrame
        results/qc/quality.tsv: eid, instance, side and the columns of `QualityModel.predict`.
    people : DataFrame
        eid, instance, predicted_dice: pass it to `evidence.cohort` as the ledger ``quality``.
    """
    sides = pd.concat([features[[*KEY, "side"]], model.predict(features)], axis=1)
    people = sides.groupby(KEY, sort=False)["predicted_dice"].min().reset_index()
    return sides, people


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
