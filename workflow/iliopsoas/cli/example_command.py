"""``iliopsoas example``: the public example, from download to comparison."""

import pandas as pd

from iliopsoas import example, files
from iliopsoas.cli import measure_command
from iliopsoas.cli.arguments import parser
from iliopsoas.cli.report import Report
from iliopsoas.logs import log


def run(options) -> Report:
    """Fetch what is missing, measure the scan as ``iliopsoas measure`` does, compare."""
    settings = example.load(options.addresses)
    for role, address in settings.addresses().items():
        fetched = example.fetch(address.url, settings.path(role), address.sha256, address.bytes)
        log.info("%s: %s", address.filename, "fetched" if fetched else "already there")
    if options.download_only:
        paths = {role: str(settings.path(role)) for role in settings.addresses()}
        return Report(f"all files are in {settings.folder}", {"status": "ok", "files": paths})

    measured = options.output / "measured"
    words = [
        *("measure", settings.path("scan"), "-o", measured, "--weights", settings.path("weights")),
        *("--annotation", settings.path("left"), "--annotation", settings.path("right")),
        *("--keep-images", "--overwrite"),
    ]
    measurement = measure_command.run(parser().parse_args([str(word) for word in words]))
    published = {role: settings.path(role) for role in ("landmarks", "water", "fat", "body")}
    table = example.compare(measured, **published)
    files.write_tsv(options.output / "comparison.tsv", table)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    content = {"status": measurement.content["status"], "comparison": rows}
    files.write_json(options.output / "comparison.json", content)
    return Report(f"{_text(table)}\nwritten to {options.output}", content)


def _text(table: pd.DataFrame) -> str:
    def number(value):
        return "" if pd.isna(value) else f"{value:.4g}"

    lines = [f"{'':52} {'here':>9} {'published':>9} {'difference':>10}"]
    for row in table.itertuples():
        here = "missing" if pd.isna(row.here) else number(row.here)
        lines.append(
            f"{f'{row.quantity} ({row.unit})':52} {here:>9} {number(row.published):>9} "
            f"{number(row.difference):>10}"
        )
    return "\n".join(lines)
