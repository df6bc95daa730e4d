"""Table S1: diagnoses by ICD-10 chapter and block."""

import math
from importlib import resources

import numpy as np
import pandas as pd

from iliopsoas.statistics import disclosure
from iliopsoas.statistics.cohort import SEXES, by_sex, require

UNKNOWN = ("", "Codes outside ICD-10")


def blocks() -> pd.DataFrame:
    """WHO's ICD-10 (version 2010 to 2019) chapters and blocks: level, code, title."""
    with resources.files(__package__).joinpath("icd10_blocks.tsv").open(encoding="utf-8") as file:
        return pd.read_csv(file, sep="\t")


def _order(category: str) -> int:
    """A00 to Z99 as consecutive numbers; -1 for what is not a category."""
    if len(category) < 3 or not "A" <= category[0] <= "Z" or not category[1:3].isdigit():
        return -1
    return (ord(category[0]) - ord("A")) * 100 + int(category[1:3])


def classify(codes) -> pd.DataFrame:
    """Chapter and block of ICD-10 codes.

    Parameters
    ----------
    codes : iterable of str
        ``M171``, ``M17.1`` or ``m17``; field 41270 has no point.

    Returns
    -------
    DataFrame
        Indexed by the distinct codes: chapter, chapter_title, block, block_title, such
        as M00-M99, ..., M00-M25, Arthropathies. A code outside the classification has an
        empty chapter and block.
    """
    distinct = sorted({str(code) for code in codes})
    table = blocks()
    result = pd.DataFrame(index=pd.Index(distinct, name="icd10"))
    order = np.array(
        [_order(code.strip().upper().replace(".", "")) for code in distinct], dtype=int
    )
    for level in ("chapter", "block"):
        part = table[table["level"] == level]
        first = np.array([_order(code[:3]) for code in part["code"]])
        last = np.array([_order(code[-3:]) for code in part["code"]])
        by_first = np.argsort(first)
        position = np.searchsorted(first[by_first], order, "right") - 1
        index = by_first[np.maximum(position, 0)]
        inside = (position >= 0) & (order <= last[index]) & (order >= 0)
        code, title = part["code"].to_numpy(object), part["title"].to_numpy(object)
        result[level] = np.where(inside, code[index], "")
        result[f"{level}_title"] = np.where(inside, title[index], UNKNOWN[1])
    return result


def table_s1(
    table: pd.DataFrame, diagnoses: pd.DataFrame | None, min_cell: int = 5
) -> pd.DataFrame:
    """Participants with a diagnosis in each chapter and block, by sex.

    Parameters
    ----------
    table : DataFrame
        One row per participant, from `cohort.main_visit`.
    diagnoses : DataFrame or None
        eid, icd10: field 41270, a row per code. Others than the table's participants
        are left out; a participant counts once per chapter and once per block.
    min_cell : int
        Counts below it (0 too) are withheld, and the total where it would reveal one.

    Returns
    -------
    DataFrame
        level (chapter or block), chapter, block, title, then n and percent of female,
        male and all participants; note. Chapters by falling total, within them blocks by
        falling total; withheld ones last, by code, so that the order reveals nothing.
    """
    if diagnoses is None:
        diagnoses = pd.DataFrame({"eid": [], "icd10": []}, dtype=str)
    require(diagnoses, ["eid", "icd10"], "diagnoses.tsv")
    known = diagnoses.dropna(subset=["icd10"])[["eid", "icd10"]].astype(str)
    known = known.merge(table[["eid", "sex"]].astype(str), on="eid")
    classes = classify(known["icd10"])
    known = known.join(classes, on="icd10")
    sizes = {sex: len(group) for sex, group in by_sex(table)} | {"all": len(table)}
    parts = []
    for level, keys in (("chapter", ["chapter"]), ("block", ["chapter", "block"])):
        people = known.drop_duplicates(["eid", *keys])
        if level == "block":  # one line is enough for what has no chapter
            people = people[people["chapter"] != ""]
        named = [people[key] for key in (*keys, f"{level}_title")]
        counts = pd.crosstab(named, people["sex"]).reindex(columns=list(SEXES), fill_value=0)
        counts["all"] = counts.sum(axis=1)
        if level == "chapter":
            counts = chapters = disclosure.suppress(counts, min_cell, total="all")
        elif min_cell > 1:
            counts = _protected(counts, chapters, min_cell)
        part = counts.reset_index()
        part = part.rename(columns={f"{level}_title": "title"}).assign(level=level)
        parts.append(part)
    result = pd.concat(parts, ignore_index=True)
    if "block" not in result:
        result["block"] = ""
    result["block"] = result["block"].fillna("")
    chapter_total = result[result["level"] == "chapter"].set_index("chapter")["all"].fillna(-1)
    result["chapter_total"] = result["chapter"].map(chapter_total)
    result["own"] = result["all"].fillna(-1)
    result["second"] = result["level"] == "block"
    result = result.sort_values(
        ["chapter_total", "chapter", "second", "own", "block"],
        ascending=[False, True, True, False, True],
        ignore_index=True,
    )
    out = result[["level", "chapter", "block", "title"]].copy()
    for group in (*SEXES, "all"):
        out[f"{group}_n"] = result[group]
        size = sizes[group]
        out[f"{group}_percent"] = 100 * result[group] / size if size else math.nan
    withheld = result[[*SEXES, "all"]].isna().any(axis=1)
    out["note"] = np.where(
        withheld, f"withheld: below {min_cell}, or would reveal such a count", ""
    )
    return out


def _protected(counts, chapters, min_cell):
    """Blocks' counts with small ones withheld, and those that would bound them."""
    shown = disclosure.suppress(counts, min_cell, total="all")
    for chapter, rows in counts.groupby("chapter"):
        for sex in SEXES:
            shown.loc[rows.index, sex] = disclosure.protect_parts(
                rows[sex], shown.loc[rows.index, sex], chapters.loc[chapter, sex].iloc[0]
            )
    shown["all"] = shown["all"].where(shown[list(SEXES)].notna().all(axis=1))
    return shown


def table_s1_formatted(exact: pd.DataFrame) -> pd.DataFrame:
    """Table S1 as text."""
    rows = []
    for _, row in exact.iterrows():
        code = row["block"] or row["chapter"]
        indent = "" if row["level"] == "chapter" else "\u2003"
        text = {"": f"{indent}{row['title']}" + (f" ({code})" if code else "")}
        for group in (*SEXES, "all"):
            text[group.capitalize()] = disclosure.cell(
                row[f"{group}_n"], row[f"{group}_percent"], 1
            )
        rows.append(text)
    return pd.DataFrame(rows, columns=["", "Female", "Male", "All"])
