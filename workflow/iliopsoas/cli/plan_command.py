"""``iliopsoas plan``: what a run will cost, before anything large is started."""

from pathlib import Path

import pandas as pd

from iliopsoas import config
from iliopsoas.cli.report import Report
from iliopsoas.reporting import planning
from iliopsoas.status import InputError
from iliopsoas.ukb.mask_files import index_masks
from iliopsoas.ukb.scans import index_zips

HEADINGS = {
    "stage": "",
    "jobs": "jobs",
    "cpu_hours": "CPU-hours",
    "gpu_hours": "GPU-hours",
    "disk_gb": "disk, GB",
    "files": "files",
    "memory_gb": "GB per job",
    "note": "",
}
PRECISION = {"jobs": 0, "files": 0, "memory_gb": 1, "disk_gb": 2}


def run(options) -> Report:
    """Estimate a configuration's cost from a pilot's results."""
    if not options.configuration.is_file():
        raise InputError(f"configuration {options.configuration}: no such file")
    settings = config.load(options.configuration)
    pilot = planning.read_pilot(options.pilot)
    scans = options.scans or _scans(settings)
    annotated = None if settings.segmentation.weights else _annotated(settings)
    table = planning.estimate(
        pilot, settings.model_dump(mode="json"), scans=scans, annotated=annotated
    )
    lines = [
        f"{scans:,} scans in shards of {settings.cohort.shard_size}, from a pilot of "
        f"{pilot.scans:,} scans in {options.pilot}",
        "",
        _text(table),
        "",
        "GPU-hours are those of jobs that ask for a GPU, on whatever the pilot ran them.",
        "Zips are not counted; retries and waiting are not foreseen.",
    ]
    error = planning.uncertainty(pilot)
    lines.append(
        "How sure the hours are a pilot of one shard cannot tell."
        if error is None
        else f"A scan's CPU-hours are known to {100 * error:.1f} % (95 %, from "
        f"{len(pilot.shards)} shards), for scans and machines like the pilot's."
    )
    machine = planning.Machine(options.cores, options.gpus, options.core_hour, options.gpu_hour)
    hours, cost = machine.hours(table), machine.cost(table)
    price = "" if cost is None else f"; {cost:,.2f} at the rates given"
    lines.append(f"{options.cores} cores, {options.gpus} GPUs: at least {hours:,.1f} hours{price}.")
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    content = {"scans": scans, "pilot_scans": pilot.scans, "stages": rows}
    content |= {"relative_error": error, "wall_hours": hours, "cost": cost}
    return Report("\n".join(lines), content)


def _scans(settings) -> int:
    """Zips of the configured releases, at most the configured number of participants' share."""
    found = pd.concat(
        index_zips(release.zips, settings.cohort.instances, release.mount)[["eid", "instance"]]
        for release in settings.releases
    ).drop_duplicates()
    if found.empty:
        raise InputError("plan: the configured folders hold no zip; say how many with --scans")
    people = found["eid"].nunique()
    size = settings.cohort.size
    if size == "everyone" or size >= people:
        return len(found)
    return round(size * len(found) / people)


def _annotated(settings) -> int | None:
    folders = [release.annotations for release in settings.releases if release.annotations]
    if not folders or not all(Path(folder).is_dir() for folder in folders):
        return None
    return sum(len(index_masks(folder)) for folder in folders) or None


def _text(table: pd.DataFrame) -> str:
    """The estimate as aligned columns; what is unknown stays empty."""
    cells = [[HEADINGS[name] for name in table.columns]]
    for row in table.to_dict("records"):
        cells.append(
            [
                str(value)
                if isinstance(value, str)
                else ("" if pd.isna(value) else f"{value:,.{PRECISION.get(name, 2)}f}")
                for name, value in row.items()
            ]
        )
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    left = {0, len(widths) - 1}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
