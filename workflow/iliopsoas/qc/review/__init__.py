"""The review page: a static, offline folder that opens by double click, for any cohort's size.

The page loads its data as scripts (a page opened from a file system may not fetch): one small
head, rows in chunks in the order worst first, one list of positions per flag. Nothing else is
read until it is looked at.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from iliopsoas import files, grid
from iliopsoas.files import KEY
from iliopsoas.qc.checks import CHECKS
from iliopsoas.qc.flags import NO_VOLUME, VERDICTS

PAGE = ("index.html", "style.css", "store.js", "data.js", "view.js", "app.js")
CHUNK = 500  # participants per file: about 100 kB
BINS = 36

# column of volumes.tsv, or of quality.tsv with its side before it
# -> (label, unit, decimals, drawn as a histogram)
MEASURES = {
    "total_ml": ("Total volume", "ml", 0, True),
    "left_ml": ("Left", "ml", 0, False),
    "right_ml": ("Right", "ml", 0, False),
    "difference_ml": ("Left \u2212 right", "ml", 0, True),
    "imi_ml_m2": ("Muscle index", "ml/m²", 0, True),
    "left_fat_fraction_median_percent": ("Fat fraction, left", "%", 1, True),
    "right_fat_fraction_median_percent": ("Fat fraction, right", "%", 1, True),
    "left_max_area_cm2": ("Largest area, left", "cm²", 1, False),
    "right_max_area_cm2": ("Largest area, right", "cm²", 1, False),
    "left_length_mm": ("Length, left", "mm", 0, False),
    "right_length_mm": ("Length, right", "mm", 0, False),
} | {
    f"{side}_{name}": (f"{label}, {side}", unit, digits, False)
    for side in grid.SIDES
    for name, label, unit, digits in (
        ("predicted_dice", "Predicted Dice", "", 2),
        ("error_low_ml", "Volume error from", "ml", 0),
        ("error_high_ml", "Volume error to", "ml", 0),
    )
}
PREDICTED = ("predicted_dice", "error_low_ml", "error_high_ml")
PEOPLE = ("sex", "age", "height_cm", "bmi")


def _script(function: str, *arguments) -> str:
    """A call of the page's loader; text stays ASCII, so that no character ends the script."""
    texts = (json.dumps(part, separators=(",", ":"), allow_nan=False) for part in arguments)
    return f"reviewData.{function}({','.join(texts)});\n"


def _histogram(values: pd.Series, sex: pd.Series) -> dict | None:
    """Counts per bin and sex between the 0.2nd and 99.8th percentile; the rest at the ends."""
    known = values.dropna()
    if known.nunique() < 2:
        return None
    low, high = np.percentile(known, [0.2, 99.8])
    if not high > low:
        low, high = float(known.min()), float(known.max())
    bins = int(np.clip(2 * np.sqrt(len(known)), 8, BINS))  # a small cohort gets wide bars
    edges = np.linspace(low, high, bins + 1)
    counts = {
        str(name): np.histogram(np.clip(group, low, high), edges)[0].tolist()
        for name, group in known.groupby(sex.astype(object).fillna("unknown"))
    }
    return {"low": float(low), "high": float(high), "counts": counts}


def _rounded(values: pd.Series, digits: int) -> list:
    return [round(float(value), digits) if np.isfinite(value) else None for value in values]


def _by_side(quality) -> pd.DataFrame:
    """Predicted quality with a row per participant: ``left_predicted_dice`` and so on."""
    names = [name for name in quality.columns if name not in (*KEY, "side")]
    parts = [
        part.set_index(KEY)[names].add_prefix(f"{side}_") for side, part in quality.groupby("side")
    ]
    return pd.concat(parts, axis=1).reset_index() if parts else quality[KEY]


def _ready_previews(rows, folder, previews: Callable) -> list[str | None]:
    """Put each wanted picture beside the page; its relative path, or None where there is none."""
    paths = []
    for eid, instance, wanted in rows:
        source = previews(eid, instance) if wanted else None
        if source is None or not Path(source).exists():
            paths.append(None)
            continue
        relative = f"previews/{str(eid)[:2]}/{files.subject_name(eid, instance)}.png"
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        try:
            os.link(source, target)  # no second copy on disk
        except OSError:
            shutil.copyfile(source, target)
        paths.append(relative)
    return paths


def build(
    folder,
    volumes,
    verdicts,
    flags,
    sample,
    drawn,
    previews: Callable,
    summary=None,
    wanted=None,
    quality=None,
    title: str = "Iliopsoas volumes",
) -> dict:
    """Write the review page.

    Parameters
    ----------
    folder : path
        Empty, from `files.owned_folder`: what an earlier page left is replaced by it.
    volumes, verdicts, flags, sample : DataFrame
        volumes.tsv; from `qc.flags.verdicts` (its order is the page's) and `qc.flags.evaluate`;
        the cohort's sample.
    drawn : DataFrame
        The blinded sample, from `qc.audit.draw`.
    previews : callable
        (eid, instance) to the path of the participant's PNG, or None.
    summary : DataFrame, optional
        From `qc.flags.evaluate`: definitions for the page's help.
    wanted : DataFrame, optional
        eid, instance of those whose picture is looked for; default: everyone.
    quality : DataFrame, optional
        Predicted quality per side, from `qc.quality.participants`.
    title : str

    Returns
    -------
    dict
        participants, pictures, chunks: counts, for the log.
    """
    folder = Path(folder)
    table = verdicts.merge(volumes, on=KEY, how="left", validate="one_to_one")
    extra = [name for name in PEOPLE if name in sample.columns and name not in table.columns]
    table = table.merge(sample[[*KEY, *extra]], on=KEY, how="left", validate="one_to_one")
    if quality is not None:
        table = table.merge(_by_side(quality), on=KEY, how="left", validate="one_to_one")
    measures = {name: spec for name, spec in MEASURES.items() if name in table.columns}
    if quality is not None and "synthetic" in set(quality.get("learned_on", ())):
        for name in [name for name in measures if name.endswith(PREDICTED)]:
            label, *rest = measures[name]
            measures[name] = (f"{label} (learned on synthetic people)", *rest)
    positions = pd.MultiIndex.from_frame(table[KEY])

    if wanted is None:
        is_wanted = np.ones(len(table), bool)
    else:
        is_wanted = positions.isin(pd.MultiIndex.from_frame(wanted[KEY]))
    keys = zip(table["eid"], table["instance"], is_wanted, strict=True)
    pictures = _ready_previews(keys, folder, previews)

    names = list(dict.fromkeys([*CHECKS, *flags["flag"]]))
    names = [name for name in names if name in set(flags["flag"])]
    numbers = {name: number for number, name in enumerate(names)}
    ranks = positions.get_indexer(pd.MultiIndex.from_frame(flags[KEY]))
    by_rank: dict[int, list] = {}
    for rank, name, reading in zip(ranks, flags["flag"], flags["reading"], strict=True):
        by_rank.setdefault(int(rank), []).append([numbers[name], str(reading)])

    columns = {
        "eid": table["eid"].astype(str).tolist(),
        "instance": table["instance"].astype(str).tolist(),
        "qc": [VERDICTS.index(name) for name in table["qc"]],
        "picture": pictures,
        "judged": _text(table, "segment_fingerprint"),
        "flags": [by_rank.get(rank, []) for rank in range(len(table))],
        "person": list(
            zip(
                _text(table, "sex"),
                *(
                    _rounded(_numbers(table, name), digits)
                    for name, digits in (("age", 0), ("height_cm", 0), ("bmi", 1))
                ),
                strict=True,
            )
        ),
        "values": list(
            zip(
                *(_rounded(_numbers(table, name), spec[2] + 1) for name, spec in measures.items()),
                strict=True,
            )
        ),
    }
    rows = list(zip(*columns.values(), strict=True))
    chunks = range(0, len(rows), CHUNK)
    content = hashlib.sha256()
    for number, start in enumerate(chunks):
        text = _script("rows", number, rows[start : start + CHUNK])
        content.update(text.encode())
        files.write_text(folder / "data" / f"rows-{number}.js", text)
    for name, number in numbers.items():
        found = sorted({int(rank) for rank in ranks[(flags["flag"] == name).to_numpy()]})
        files.write_text(folder / "data" / f"flag-{number}.js", _script("flag", number, found))
    ids = [f"{eid}_{instance}" for eid, instance in zip(*map(columns.get, KEY), strict=True)]
    files.write_text(folder / "data" / "ids.js", _script("ids", " ".join(ids)))

    blinded = positions.get_indexer(pd.MultiIndex.from_frame(drawn[KEY]))
    head = {
        "title": title,
        "version": content.hexdigest()[:12],
        "participants": len(rows),
        "chunk": CHUNK,
        "columns": list(columns),
        "verdicts": list(VERDICTS),
        "noVolume": NO_VOLUME,
        "counts": [int((table["qc"] == name).sum()) for name in VERDICTS],
        "starts": {
            name: [
                int(table.index[table["qc"] == name][0]),
                int(table.index[table["qc"] == name][-1]),
            ]
            for name in VERDICTS
            if (table["qc"] == name).any()
        },
        "flags": _flag_list(names, flags, summary),
        "measures": [
            {
                "label": label,
                "unit": unit,
                "digits": digits,
                "histogram": _histogram(table[name], table["sex"]) if drawn_as else None,
            }
            for name, (label, unit, digits, drawn_as) in measures.items()
        ],
        "blinded": [int(rank) for rank in blinded if rank >= 0],
    }
    files.write_text(folder / "data" / "head.js", _script("head", head))
    package = resources.files(__package__)
    for name in PAGE:
        files.write_text(folder / name, (package / name).read_text(encoding="utf-8"))
    return {
        "participants": len(rows),
        "pictures": sum(path is not None for path in pictures),
        "chunks": len(chunks),
    }


def _text(table, name) -> list[str]:
    if name not in table.columns:
        return [""] * len(table)
    return table[name].astype(object).where(table[name].notna(), "").astype(str).tolist()


def _numbers(table, name) -> pd.Series:
    if name not in table.columns:
        return pd.Series(np.nan, index=table.index)
    return pd.to_numeric(table[name], errors="coerce")


def _flag_list(names, flags, summary) -> list[dict]:
    """Each raised flag with its count, severity and definition."""
    counts = flags.groupby("flag").size()
    severities = flags.drop_duplicates("flag").set_index("flag")["severity"]
    told = {} if summary is None else summary.set_index("flag")["definition"].to_dict()
    return [
        {
            "name": name,
            "label": name.replace("_", " "),
            "severity": severities[name],
            "count": int(counts[name]),
            "definition": told.get(name, "A stage of the workflow refused the participant."),
        }
        for name in names
    ]
