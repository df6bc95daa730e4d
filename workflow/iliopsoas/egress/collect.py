"""Collects what may leave a secure environment, and fails where a participant shows in it."""

import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pandas as pd

from iliopsoas import files, privacy
from iliopsoas.egress import report, tables
from iliopsoas.logs import log
from iliopsoas.status import InputError

MANIFEST, LEFT_OUT = "MANIFEST.tsv", "LEFT_OUT.tsv"
# what stays, and why; the first pattern that fits a path below the results folder decides
REASONS = (
    ("subjects/*", "a folder per scan: images, masks, previews and records"),
    ("shards/*", "crops and a row per participant"),
    ("qc/review/*", "pictures and data of single participants"),
    ("annotation/*", "images of single participants"),
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
) -> pd.DataFrame:
    """Write the folder that may leave, with manifest, list of what was left out, and report.

    Everything is made beside the folder, searched, and put in its place only if nothing was
    found; the tables it is made from are searched too.

    Parameters
    ----------
    results : path
        Folder of all results.
    folder : path
        Folder to write; what it held before is replaced.
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

    Returns
    -------
    DataFrame
        The manifest: file, sha256, source, treatment.

    Raises
    ------
    Leak
        Naming each file and the kind of what was found, never the thing itself.
    """
    from iliopsoas.figures import save

    results, folder = Path(results), Path(folder)
    part = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        rows, used = [], set()

        def note(path, source, treatment):
            rows.append(
                {
                    "file": path.relative_to(part).as_posix(),
                    "sha256": files.sha256(path),
                    "source": source,
                    "treatment": treatment,
                }
            )

        for name, table in released.items():
            path = part / "tables" / f"{name}.tsv"
            files.write_tsv(path, table)
            used.add(f"{name}.tsv")
            note(path, f"{name}.tsv", _treatment(minimum))
        for name, drawing in drawings.items():
            for path in save(drawing, part / "figures", name, dpi):
                note(path, "volumes.tsv and tables", f"cells of {minimum} or more, no point")
        for source in _wanted(results, folder, ["run.json", *also]):
            name = source.relative_to(results).as_posix()
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, path)
            used.add(name)
            note(path, name, "as it is")
        pictures = {name: part / "figures" / f"{name}.png" for name in drawings}
        page = part / "report.html"
        files.write_text(page, report.page(released, pictures, minimum))
        note(page, "tables and figures", "made from what is in this folder")
        files.write_tsv(part / LEFT_OUT, left_out(results, folder, used))
        note(part / LEFT_OUT, "", "patterns and counts of files")
        manifest = pd.DataFrame(rows)
        files.write_tsv(part / MANIFEST, manifest)
        _raise(privacy.scan_folder(part, cohort), "what was to leave")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    log.info("%d files may leave, in %s", len(manifest) + 1, folder.name)
    return manifest


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
    """What stays, by pattern: how many files (folders of scans), and why. Names nobody."""
    results, counts = Path(results), {}

    def add(name, number):
        reason = next((item for item in REASONS if fnmatch(name, item[0])), None)
        key = reason or (privacy.masked(name.split("/")[0]), "not on the list of what may leave")
        counts[key] = counts.get(key, 0) + number

    for place, folders, names in os.walk(results):
        where = Path(place).relative_to(results)
        if where == Path("subjects"):  # a cohort has a million files there
            add("subjects/*", sum(1 for _ in results.glob("subjects/??/*")))
            folders.clear()
            continue
        if Path(place) == Path(folder):
            folders.clear()
            continue
        folders[:] = [name for name in folders if ".partial-" not in name]
        for file in names:
            name = (where / file).as_posix()
            if name not in used and not file.startswith((".snakemake", ".partial")):
                add(name, 1)
    rows = [{"what": w, "files": n, "reason": r} for (w, r), n in sorted(counts.items())]
    return pd.DataFrame(rows, columns=["what", "files", "reason"])


def _wanted(results: Path, folder: Path, patterns) -> list[Path]:
    found = []
    for pattern in patterns:
        matches = [p for p in sorted(results.glob(pattern)) if folder not in p.parents]
        if not matches and pattern != "run.json":
            raise InputError(f"egress.also: nothing below the results folder fits {pattern!r}")
        found += [path for path in matches if path.is_file()]
    return list(dict.fromkeys(found))


def _treatment(minimum: int) -> str:
    return f"counts below {minimum} withheld, no minimum, no maximum"


def _raise(found, what: str) -> None:
    if found:
        lines = "\n".join(f"  {finding}" for finding in sorted(set(found))[:200])
        raise Leak(f"{what}: {len(set(found))} findings; nothing leaves\n{lines}")
