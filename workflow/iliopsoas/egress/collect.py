"""Collects what may leave a secure environment, and fails where a participant shows in it."""

import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from iliopsoas import files, privacy
from iliopsoas.egress import record, report, tables
from iliopsoas.logs import log
from iliopsoas.status import InputError

MANIFEST, LEFT_OUT, SHEET = "MANIFEST.tsv", "LEFT_OUT.tsv", "REVIEW.md"
# what stays, and why; the first pattern that fits a path below the results folder decides
REASONS = (
    ("subjects/*", "a folder per scan: images, masks, previews and records"),
    ("shards/*", "crops and a row per participant"),
    ("qc/review/*", "pictures and data of single participants"),
    ("annotation/*", "images of single participants"),
    (f"{files.INDIVIDUAL_LEVEL}/*", "exports with a row or files per participant"),
    ("cohort/sample.tsv", "a row per participant"),
    ("cohort/diagnoses.tsv", "a row per participant and diagnosis"),
    ("cohort/removed.tsv", "tells how many have withdrawn, and when"),
    ("cohort/table_report.tsv", "counts of single faulty entries"),
    ("cohort/balance.*", "small strata; drawn again as figures/balance"),
    ("cohort/*", "a row per participant, or their paths"),
    ("volumes.tsv", "a row per participant"),
    ("qc/before_after.tsv", "its groups differ from Table 2's by a few participants"),
    ("qc/quality.*", "histograms show single participants; the tables hold the counts"),
    ("qc/kappa.tsv", "names raters"),
    ("qc/*", "a row per participant, or counts of few"),
    ("figures/figure[123].*", "images of single participants"),
    ("figures/figureS1.*", "images of a single participant"),
    ("figures/figureS2.*", "a point per participant"),
    ("figures/repeat_visits.*", "a point per participant"),
    ("figures/*", "points and extremes of single participants; drawn again from cells"),
    ("statistics/*.html", "may show ranges and small counts; in report.html again"),
    ("model/*/model.h5", "what a network has learned from participants may be got out of it"),
    ("model/*", "a row per participant, or made from few"),
    ("egress_record/*", "what left before, to compare with"),
    ("frozen/*", "a row per participant"),
    ("drift/*", "a row per participant"),
    ("phantom/*", "about the synthetic cohort only"),
    ("report.zip", "holds the figures with images and points of single participants"),
    ("summary.md", "counts of few; in report.html again"),
    ("configuration.yaml", "the same as in run.json"),
    ("logs/*", "made for those inside"),
    ("benchmarks/*", "made for those inside"),
)


class Leak(InputError):
    """Something that names or describes a participant is in what was to leave."""


def collect(
    results,
    folder,
    cohort: privacy.Cohort,
    released: dict,
    drawings: dict,
    *,
    minimum: int = 5,
    also=(),
    dpi: int = 300,
    max_mb: float = 10.0,
    participants: int | None = None,
) -> pd.DataFrame:
    """Write the folder that may leave, with manifest, list of what was left out, and report.

    Everything is made beside the folder, searched, and put in its place only if nothing was
    found; the tables it is made from are searched too.

    Parameters
    ----------
    results : path
        Folder of all results.
    folder : path
        Folder to write; what was collected there before is replaced, anything else is refused.
    cohort : privacy.Cohort
        Who must not be found.
    released : dict of DataFrame
        From `release_all`.
    drawings : dict of str to Figure
        Figures by name; see `egress.drawn`.
    minimum : int
        Smallest count that may be shown.
    also : sequence of str
        Patterns below `results`, of further files that are to leave as they are.
    dpi : int
        Resolution of figures; lower, then without SVG, where the folder would be too large.
    max_mb : float
        Largest size of the folder, in MB of 10^6 bytes.
    participants : int, optional
        How many were analysed, for the reviewer's sheet.

    Returns
    -------
    DataFrame
        The manifest: file, sha256, what, source, people, smallest_cell, treatment.

    Raises
    ------
    Leak
        Naming each file and the kind of what was found, never the thing itself; or a count
        differs from an earlier export by few.
    InputError
        The folder holds other files, or is too large with the smallest figures.
    """
    results, folder = Path(results), Path(folder)
    shown = record.counts(released)
    _raise(record.differences(results, shown, minimum), "what was to leave, with what left before")
    with files.owned_folder(folder, alone=True) as part:
        for resolution, vectors in _thinner(dpi):
            shutil.rmtree(part)
            used = [*_tables(part, released, minimum)]
            drawn = _figures(part, drawings, minimum, participants, resolution, vectors)
            used += [*drawn, *_as_they_are(part, results, folder, also)]
            pictures = {name: part / "figures" / f"{name}.png" for name in drawings}
            files.write_text(part / "report.html", report.page(released, pictures, minimum))
            what, how = "tables and figures on one page", "made from what is in this folder"
            page = Item("report.html", what, "the other files", participants, minimum, how)
            used.append(page)
            sources = {item.source for item in used}
            files.write_tsv(part / LEFT_OUT, left_out(results, folder, sources))
            used.append(Item(LEFT_OUT, "what stayed, and why", "", 0, None, "patterns of names"))
            files.write_text(part / SHEET, review_sheet(used, minimum))
            used.append(Item(SHEET, "this list for the reviewer", "", 0, None, "about files"))
            manifest = pd.DataFrame([item.row(part) for item in used])
            files.write_tsv(part / MANIFEST, manifest)
            size = sum(path.stat().st_size for path in part.rglob("*") if path.is_file())
            if size <= max_mb * 1e6:
                break
        else:
            largest = max(used, key=lambda item: (part / item.file).stat().st_size)
            raise InputError(
                f"egress: {size / 1e6:.1f} MB with the smallest figures, expected at most "
                f"egress.max_mb = {max_mb:g}; the largest file is {privacy.masked(largest.file)}"
            )
        _raise(privacy.scan_folder(part, cohort), "what was to leave")
    record.keep(results, shown)
    log.info("%d files, %.1f MB may leave, in %s", len(manifest) + 1, size / 1e6, folder.name)
    return manifest


@dataclass(frozen=True)
class Item:
    """A file that may leave: what it is, from how many people, and why it shows none of them.

    `people` and `smallest` (the smallest count shown) are None where nobody has counted.
    """

    file: str
    what: str
    source: str
    people: int | None
    smallest: int | None
    treatment: str

    def row(self, part: Path) -> dict:
        return {
            "file": self.file,
            "sha256": files.sha256(part / self.file),
            "what": self.what,
            "source": self.source,
            "people": self.people,
            "smallest_cell": self.smallest,
            "treatment": self.treatment,
        }


def _thinner(dpi: int):
    """Resolutions of figures, with and without SVG, in the order in which they are tried."""
    for resolution in sorted({dpi, *(d for d in (200, 150, 100) if d < dpi)}, reverse=True):
        yield resolution, True
    yield min(dpi, 100), False


def _tables(part: Path, released: dict, minimum: int):
    for name, table in released.items():
        declared = tables.released()[name]
        files.write_tsv(part / "tables" / f"{name}.tsv", table)
        header = list(table.columns)
        counts = [table[c] for c in header if declared.unit(c) == "count" and c in table]
        known = pd.concat([c.dropna() for c in counts]) if counts else pd.Series(dtype=float)
        yield Item(
            f"tables/{name}.tsv",
            declared.report or f"table, {declared.rows}",
            f"{name}.tsv",
            int(known.max()) if len(known) else None,
            int(known.min()) if len(known) else None,
            f"counts below {minimum} withheld, and what gives them away; no minimum, no maximum",
        )


def _figures(part: Path, drawings: dict, minimum: int, participants, dpi: int, vectors: bool):
    from iliopsoas.figures import save

    for name, drawing in drawings.items():
        for path in save(drawing, part / "figures", name, dpi):
            if path.suffix == ".svg" and not vectors:
                path.unlink()
                continue
            yield Item(
                path.relative_to(part).as_posix(),
                report.CAPTIONS.get(name, name),
                "volumes.tsv and tables",
                participants,
                minimum,
                f"cells of {minimum} or more, no point; {dpi} dots per inch",
            )


def _as_they_are(part: Path, results: Path, folder: Path, also):
    for source in _wanted(results, folder, ["run.json", *also]):
        name = source.relative_to(results).as_posix()
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part / name)
        own = name == "run.json"
        what = "software, configuration, machine" if own else "asked for by egress.also: LOOK AT IT"
        yield Item(name, what, name, 0 if own else None, None, "as it is")


def review_sheet(items: list[Item], minimum: int) -> str:
    """The reviewer's sheet, in Markdown."""
    lines = [
        "# What is to leave",
        "",
        f"Smallest count shown: {minimum}. Numbers have four significant digits. Every file was "
        "searched for participants' ids, dates of birth and rows of single participants.",
        "",
        "| file | what it is | made from | participants | smallest cell | why nobody shows |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for item in items:
        people = "not counted" if item.people is None else f"{item.people:,}"
        smallest = "" if item.smallest is None else str(item.smallest)
        cells = (item.file, item.what, item.source, people, smallest, item.treatment)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def check(folder, cohort: privacy.Cohort) -> int:
    """Search the folder again and compare it with its manifest; returns the number of files.

    Raises
    ------
    Leak
        Something was found, a file is not in the manifest, or has changed, or is gone.
    InputError
        There is no manifest.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder.name}: there is no {MANIFEST}; nothing was collected here")
    found = privacy.scan_folder(folder, cohort)
    listed = files.read_tsv(folder / MANIFEST).set_index("file")["sha256"]
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    for name in sorted(there - set(listed.index) - {MANIFEST, ".snakemake_timestamp"}):
        found.append(privacy.Finding(privacy.masked(name), "not in the manifest"))
    for name, sha256 in listed.items():
        if name not in there:
            found.append(privacy.Finding(privacy.masked(name), "gone, though in the manifest"))
        elif files.sha256(folder / name) != sha256:
            found.append(privacy.Finding(privacy.masked(name), "changed since it was collected"))
    _raise(found, f"folder {folder.name}")
    return len(there)


def release_all(results, cohort, minimum: int, context=None) -> dict[str, pd.DataFrame]:
    """Every table of the results that may leave, as it may leave; see `tables.release`.

    Raises
    ------
    Leak
        A table that should be about groups names or describes a participant.
    """
    results, found, released = Path(results), [], {}
    for name in tables.released():
        path = results / f"{name}.tsv"
        if not path.exists():
            continue
        table = files.read_tsv(path)
        # sums of ranks reach seven digits
        text = table.drop(columns="statistic", errors="ignore").to_csv(sep="\t", index=False)
        findings = privacy.scan_bytes(text.encode(), f"{name}.tsv", cohort)
        found += findings
        if not findings:
            released[name] = tables.release(name, table, minimum, context)
    _raise(found, "the results that were to leave")
    return released


def left_out(results, folder, used) -> pd.DataFrame:
    """What stays, by pattern, and why. Names nobody, and counts nothing: a file is a scan."""
    results, found = Path(results), set()

    def add(name):
        reason = next((item for item in REASONS if fnmatch(name, item[0])), None)
        other = (privacy.masked(name.split("/")[0]), "not on the list of what may leave")
        found.add(reason or other)

    for place, folders, names in os.walk(results):
        where = Path(place).relative_to(results)
        if where == Path("subjects"):  # a cohort has a million files there
            add("subjects/all")
            folders.clear()
            continue
        if Path(place) == Path(folder):
            folders.clear()
            continue
        folders[:] = [name for name in folders if ".partial-" not in name]
        for file in names:
            name = (where / file).as_posix()
            if name not in used and not file.startswith("."):
                add(name)
    return pd.DataFrame(sorted(found), columns=["what", "reason"])


def _wanted(results: Path, folder: Path, patterns) -> list[Path]:
    found = []
    for pattern in patterns:
        matches = [p for p in sorted(results.glob(pattern)) if folder not in p.parents]
        if not matches and pattern != "run.json":
            raise InputError(f"egress.also: nothing below the results folder fits {pattern!r}")
        if any(results / files.INDIVIDUAL_LEVEL in path.parents for path in matches):
            raise InputError(
                f"egress.also: {pattern!r} fits files of {files.INDIVIDUAL_LEVEL}/, which never "
                "leave: a pseudonym or a mask is about one participant"
            )
        found += [path for path in matches if path.is_file()]
    return list(dict.fromkeys(found))


def _raise(found, what: str) -> None:
    if found:
        lines = "\n".join(f"  {finding}" for finding in sorted(set(found))[:200])
        raise Leak(f"{what}: {len(set(found))} findings; nothing leaves\n{lines}")
