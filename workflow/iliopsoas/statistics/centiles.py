"""Reference centiles by age, sex and height, as coefficients that apply to one more scan."""

import math

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import special

from iliopsoas.files import KEY, read_tsv
from iliopsoas.statistics.cohort import SEXES, by_sex, require
from iliopsoas.statistics.gam import basis
from iliopsoas.status import InputError

CENTILES = (3, 5, 10, 25, 50, 75, 90, 95, 97)
# shares of the standardised residuals that are kept, as far as enough people lie beyond them
SHARES = np.array([0.5, 1, 2, 3, 5, 7.5, *range(10, 91, 5), 92.5, 95, 97, 98, 99, 99.5]) / 100
BEYOND = 10  # participants that must lie beyond the outermost share
KNOTS = (0.02, 0.35, 0.65, 0.98)  # quantiles of age
REFERENCE_HEIGHT_CM = 170.0
INVARIANT = "total_ml_invariant"

BANDS = ((0, 55), (55, 65), (65, 75), (75, 200))  # of age, for the calibration

MEASURES = {  # column -> (label, unit)
    "total_ml": ("Total volume", "ml"),
    "imi_ml_m2": ("Iliopsoas muscle index", "ml/m2"),
    "lean_ml": ("Lean volume", "ml"),
    "fat_fraction_percent": ("Fat fraction", "%"),
}


def _design(age, height_cm, knots) -> np.ndarray:
    """Rows (n, 2 + knots - 1): natural spline of age (with the constant), log height.

    Age outside the knots goes on along straight lines, as natural splines do.
    """
    age = np.asarray(age, dtype=float)
    inside = np.clip(age, knots[0], knots[-1])
    spline = basis(inside, knots) + (age - inside)[:, None] * basis(inside, knots, 1)
    height = np.log(np.asarray(height_cm, dtype=float) / REFERENCE_HEIGHT_CM)
    return np.column_stack([spline, height])


def _scale_design(age, centre) -> np.ndarray:
    return np.column_stack([np.ones(len(age)), (np.asarray(age, dtype=float) - centre) / 10])


def fit(age, height_cm, y) -> dict:
    """Location, scale and shape of log y given age and height, of one sex.

    Parameters
    ----------
    age, height_cm, y : array_like, shape (n,)
        Years, cm, and a positive measure. Rows with a missing or not positive value are left out.

    Returns
    -------
    dict
        Plain numbers and lists: n, excluded; age_knots, location (spline values at the knots, then
        the exponent of height), centre_age and scale (log scale at it and per decade), shares and
        quantiles of the standardised residuals, age and height ranges in which it holds (3rd to
        97th percentile, so that no single person's value shows).

    Raises
    ------
    InputError
        Fewer people than the 3rd centile needs, or ages that do not vary.

    Notes
    -----
    X. He's restricted regression quantiles (American Statistician 51:186, 1997): a location, a
    scale and quantiles of what remains, so that centiles never cross. Location: least squares of
    log y on a natural cubic spline of age and log height, weighted by the scale. Scale: gamma
    regression with log link of the absolute residuals on age (statsmodels' GLM; R's ``glm``).
    """
    age, height, y = (np.asarray(values, dtype=float) for values in (age, height_cm, y))
    known = np.isfinite(age) & np.isfinite(height) & np.isfinite(y)
    used = known & (np.where(known, y, 0) > 0) & (np.where(known, height, 0) > 0)
    age, height, log_y = age[used], height[used], np.log(y[used])
    n = int(used.sum())
    least = math.ceil(BEYOND / 0.03)
    if n < least:
        raise InputError(f"{n} participants; the 3rd centile needs at least {least}")
    knots = np.unique(np.quantile(age, KNOTS))
    if len(knots) < 3:
        raise InputError("ages do not vary enough for a curve")
    design = _design(age, height, knots)
    centre = float(np.round(age.mean()))
    scales = _scale_design(age, centre)
    weights = np.ones(n)
    for _ in range(2):
        location = sm.WLS(log_y, design, weights=weights).fit().params
        residual = log_y - design @ location
        gamma = sm.GLM(
            np.maximum(np.abs(residual), 1e-9),
            scales,
            family=sm.families.Gamma(sm.families.links.Log()),
        ).fit()
        weights = np.exp(-2 * (scales @ gamma.params))
    standard = residual / np.exp(scales @ gamma.params)
    shares = SHARES[n * np.minimum(SHARES, 1 - SHARES) >= BEYOND]
    return {
        "n": n,
        "excluded": int(len(used) - n),
        "age_knots": knots.tolist(),
        "location": location.tolist(),
        "centre_age": centre,
        "scale": gamma.params.tolist(),
        "shares": shares.tolist(),
        "quantiles": np.quantile(standard, shares).tolist(),
        "age_range": np.quantile(age, [0.03, 0.97]).tolist(),
        "height_range_cm": np.quantile(height, [0.03, 0.97]).tolist(),
    }


def _place(model: dict, age, height_cm):
    """Location and scale of log y at ages and heights."""
    age, height = (np.atleast_1d(np.asarray(v, dtype=float)) for v in (age, height_cm))
    known = np.isfinite(age) & np.isfinite(height) & (height > 0)
    at, tall = np.where(known, age, model["centre_age"]), np.where(known, height, 170.0)
    location = _design(at, tall, np.array(model["age_knots"])) @ np.array(model["location"])
    scale = np.exp(_scale_design(at, model["centre_age"]) @ np.array(model["scale"]))
    return np.where(known, location, np.nan), scale


def z_scores(model: dict, age, height_cm, y) -> np.ndarray:
    """How many standard deviations of a normal distribution y lies from the median.

    Returns
    -------
    ndarray, shape (n,)
        Phi^-1 of y's centile. Between the kept shares linear in z, beyond them along the line
        through the outermost two; NaN where a value is missing or not positive.
    """
    location, scale = _place(model, age, height_cm)
    y = np.atleast_1d(np.asarray(y, dtype=float))
    log_y = np.log(np.where(y > 0, y, np.nan))
    return _line((log_y - location) / scale, model["quantiles"], special.ndtri(model["shares"]))


def curve(model: dict, centile: float, age, height_cm) -> np.ndarray:
    """The measure at a centile (0 to 100) for ages and heights."""
    location, scale = _place(model, age, height_cm)
    z = special.ndtri(centile / 100)
    standard = _line(np.array([z]), special.ndtri(model["shares"]), model["quantiles"])
    return np.exp(location + scale * standard)


def _line(x, xs, ys):
    """Piecewise linear through (xs, ys), continued along the outer pieces."""
    xs, ys = np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)
    xs, kept = np.unique(xs, return_index=True)
    ys = ys[kept]
    piece = np.clip(np.searchsorted(xs, x) - 1, 0, len(xs) - 2)
    share = (x - xs[piece]) / (xs[piece + 1] - xs[piece])
    return ys[piece] + share * (ys[piece + 1] - ys[piece])


def invariant(sex_rows: pd.DataFrame, y: str) -> dict:
    """Plain regression of a measure on height and weight in one sex, for the invariant z-score.

    Returns
    -------
    dict
        n, coefficients (constant, per cm, per kg), residual_sd. With a regression per sex the
        score is free of sex, height and weight.
    """
    rows = sex_rows[[y, "height_cm", "weight_kg"]].astype(float).dropna()
    if len(rows) < 10:
        raise InputError(f"{len(rows)} participants with height and weight; 10 are needed")
    model = sm.OLS(
        rows[y], sm.add_constant(rows[["height_cm", "weight_kg"]], has_constant="add")
    ).fit()
    return {
        "n": len(rows),
        "coefficients": model.params.tolist(),
        "residual_sd": float(np.sqrt(model.scale)),
    }


def invariant_z(model: dict, height_cm, weight_kg, y) -> np.ndarray:
    constant, per_cm, per_kg = model["coefficients"]
    expected = (
        constant + per_cm * np.asarray(height_cm, float) + per_kg * np.asarray(weight_kg, float)
    )
    return (np.asarray(y, float) - expected) / model["residual_sd"]


def reference(table: pd.DataFrame) -> dict:
    """The reference of a cohort: every measure's centiles by sex, and the invariant score.

    Parameters
    ----------
    table : DataFrame
        One row per participant, from `cohort.main_visit`, with the columns of `MEASURES` that it
        has.

    Returns
    -------
    dict
        Measure -> sex -> model of `fit`, and `INVARIANT` -> sex -> model of `invariant`; a reason
        (text) takes a model's place where there is none.
    """
    found = {}
    for name in (*MEASURES, INVARIANT):
        found[name] = {}
        for sex, rows in by_sex(table):
            try:
                if name == INVARIANT:
                    found[name][sex] = invariant(rows, "total_ml")
                elif name in table:
                    found[name][sex] = fit(rows["age"], rows["height_cm"], rows[name])
                else:
                    found[name][sex] = "not measured in this run"
            except InputError as reason:
                found[name][sex] = str(reason)
    return found


def coefficients(reference: dict) -> pd.DataFrame:
    """reference.tsv: the numbers of a reference, small enough to leave, one a row.

    Returns
    -------
    DataFrame
        measure, sex, n, part (as `fit` and `invariant` name them), number (from 0), value, note
        (why there is no model).
    """
    rows = []
    for name, models in reference.items():
        for sex, model in models.items():
            row = {"measure": name, "sex": sex}
            if isinstance(model, str):
                rows.append(row | {"note": model})
                continue
            for part, values in model.items():
                if part in ("n", "excluded"):
                    continue
                rows += [
                    row | {"n": model["n"], "part": part, "number": number, "value": value}
                    for number, value in enumerate(np.atleast_1d(values).tolist())
                ]
    columns = ["measure", "sex", "n", "part", "number", "value", "note"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    return table.assign(note=table["note"].astype(object).fillna(""))


def read(path) -> dict:
    """A reference from the table of `coefficients`, on file.

    Raises
    ------
    InputError
        Not such a table, or a value is missing.
    """
    table = read_tsv(path)
    require(table, ["measure", "sex", "n", "part", "number", "value", "note"], "reference")
    found = {}
    for (name, sex), rows in table.groupby(["measure", "sex"], sort=False):
        if rows["part"].isna().all():
            found.setdefault(name, {})[sex] = str(rows["note"].iloc[0])
            continue
        if rows["value"].isna().any():
            raise InputError(f"reference: {name}, {sex}: a value is missing or withheld")
        model = {
            part: values.sort_values("number")["value"].astype(float).tolist()
            for part, values in rows.groupby("part")
        }
        for part in ("centre_age", "residual_sd"):
            if part in model:
                model[part] = model[part][0]
        found.setdefault(name, {})[sex] = model | {"n": int(rows["n"].iloc[0])}
    return found


def scores(reference: dict, table: pd.DataFrame) -> pd.DataFrame:
    """z-scores of participants against a reference.

    Parameters
    ----------
    reference : dict
        From `reference` or `read`.
    table : DataFrame
        sex, age, height_cm, weight_kg and measures; other columns are not read.

    Returns
    -------
    DataFrame
        Index of `table`; ``<measure>_z`` and ``total_ml_invariant_z``, NaN where a value or the
        model is missing.
    """
    result = pd.DataFrame(index=table.index)
    for name, models in reference.items():
        z = np.full(len(table), np.nan)
        for sex, model in models.items():
            rows = (table["sex"] == sex).to_numpy()
            part = table[rows]
            if isinstance(model, str) or part.empty:
                continue
            if name == INVARIANT:
                z[rows] = invariant_z(model, part["height_cm"], part["weight_kg"], part["total_ml"])
            elif name in part:
                z[rows] = z_scores(model, part["age"], part["height_cm"], part[name])
        result[f"{name}_z"] = z
    return result


def z_table(reference: dict, everyone: pd.DataFrame) -> pd.DataFrame:
    """z_scores.tsv: `scores` of every measured visit, each at its own age, height and weight.

    Parameters
    ----------
    reference : dict
        Of the main visit, from `reference`.
    everyone : DataFrame
        All measured visits, from `cohort.measured`.
    """
    return pd.concat([everyone[KEY], scores(reference, everyone)], axis=1)


def curves(reference: dict, step: int = 1) -> pd.DataFrame:
    """centiles.tsv: each centile at whole years of age, at the middle height of the reference.

    Returns
    -------
    DataFrame
        measure, unit, sex, n, height_cm, age, then c3 to c97; a row with a note where there is no
        model.
    """
    rows = []
    for column, (_, unit) in MEASURES.items():
        for sex, model in reference[column].items():
            row = {"measure": column, "unit": unit, "sex": sex}
            if isinstance(model, str):
                rows.append(row | {"note": model})
                continue
            low, high = model["age_range"]
            ages = np.arange(math.ceil(low), math.floor(high) + 1, step)
            height = float(np.round(np.mean(model["height_range_cm"]), 1))
            values = {f"c{c}": curve(model, c, ages, np.full(len(ages), height)) for c in CENTILES}
            part = pd.DataFrame(values).assign(
                **row, n=model["n"], height_cm=height, age=ages, note=""
            )
            rows += part.to_dict("records")
    names = ["measure", "unit", "sex", "n", "height_cm", "age", *(f"c{c}" for c in CENTILES)]
    return pd.DataFrame(rows).reindex(columns=[*names, "note"])


def calibration(reference: dict, table: pd.DataFrame) -> pd.DataFrame:
    """calibration.tsv: the share of participants below each centile, by sex and age band.

    Returns
    -------
    DataFrame
        measure, sex, ages, centile, n, below_percent with its Wilson 95 % interval.
    """
    from statsmodels.stats.proportion import proportion_confint

    z = scores(reference, table)
    rows = []
    for column in MEASURES:
        for sex in SEXES:
            mine = (table["sex"] == sex) & z[f"{column}_z"].notna()
            for low, high in ((0, 200), *BANDS):
                inside = mine & (table["age"] >= low) & (table["age"] < high)
                values = z.loc[inside, f"{column}_z"]
                n = len(values)
                if not n:
                    continue
                name = "all" if (low, high) == (0, 200) else _band(low, high)
                for centile in CENTILES:
                    below = int((values < special.ndtri(centile / 100)).sum())
                    ends = proportion_confint(below, n, method="wilson")
                    rows.append(
                        {
                            "measure": column,
                            "sex": sex,
                            "ages": name,
                            "centile": centile,
                            "n": n,
                            "below_percent": 100 * below / n,
                            "below_percent_low": 100 * ends[0],
                            "below_percent_high": 100 * ends[1],
                        }
                    )
    names = ["measure", "sex", "ages", "centile", "n", "below_percent"]
    return pd.DataFrame(rows).reindex(columns=[*names, "below_percent_low", "below_percent_high"])


def _band(low, high):
    if low == 0:
        return f"below {high}"
    return f"{low} and above" if high >= 200 else f"{low}-{high - 1}"


def allometry(table: pd.DataFrame) -> pd.DataFrame:
    """allometry.tsv: the exponent of height in volume = a x height^b, by sex.

    Returns
    -------
    DataFrame
        measure, sex, adjustment (``none``, ``age``), n, exponent with its t interval, p_of_2: is
        ml/m2 the right index (exponent 2)?
    """
    rows = []
    for column in ("total_ml", "lean_ml"):
        if column not in table:
            continue
        for sex, group in by_sex(table):
            part = group[[column, "height_cm", "age"]].astype(float).dropna()
            part = part[(part[column] > 0) & (part["height_cm"] > 0)]
            for adjustment, names in (("none", []), ("age", ["age"])):
                row = {"measure": column, "sex": sex, "adjustment": adjustment, "n": len(part)}
                design = sm.add_constant(
                    part[names].assign(height=np.log(part["height_cm"] / 100)), has_constant="add"
                )
                if len(part) < 10 or np.linalg.matrix_rank(design) < design.shape[1]:
                    rows.append(row | {"note": "too few participants, or no variation"})
                    continue
                model = sm.OLS(np.log(part[column]), design).fit()
                low, high = model.conf_int().loc["height"]
                rows.append(
                    row
                    | {
                        "exponent": model.params["height"],
                        "exponent_low": low,
                        "exponent_high": high,
                        "p_of_2": float(model.t_test("height = 2").pvalue),
                        "note": "",
                    }
                )
    names = ["measure", "sex", "adjustment", "n", "exponent", "exponent_low", "exponent_high"]
    return pd.DataFrame(rows).reindex(columns=[*names, "p_of_2", "note"])
