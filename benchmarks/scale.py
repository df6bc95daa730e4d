"""Hundreds of scans in one run, killed on the way: what each stage costs, and what grows.

    python benchmarks/scale.py FOLDER [--bodies 50] [--ids 10] [--kills 4] [--weights FILE]

Synthetic bodies with their phenotypes, each under several participants' ids (hard links to one zip,
which the disk's cache then serves), go through the workflow of config/ukbb.yaml, with the weights
given (default: the starter network) and a second opinion. The whole process group is killed at
random moments; then the same command is given again until it ends, and once more. Printed are costs
per stage and what was checked: everybody is there once, and one body has one volume under all of
its ids. A FOLDER from a call that was stopped is taken up again.
"""

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

from iliopsoas import files
from iliopsoas.machine import processor
from iliopsoas.masks import volumes
from iliopsoas.phantom import cohort
from iliopsoas.qc.judge import judge
from iliopsoas.reporting import planning
from iliopsoas.stages import analysis, ledger
from iliopsoas.versions import IMAGE_STAGES

ROOT = Path(__file__).resolve().parents[1]
SEED = 2027


def make_cohort(folder: Path, bodies: int, ids: int, cores: int) -> dict[str, str]:
    """Zips and phenotypes of ``bodies * ids`` participants; whose body each of them has."""
    cohort.make(folder / "bodies", bodies, 0, 0, (), SEED, cores)
    table = pd.read_csv(folder / "bodies/phenotypes.csv", dtype=str, keep_default_na=False)
    made = {zip_.name.split("_")[0]: zip_ for zip_ in (folder / "bodies/zips").glob("*.zip")}
    column = next(name for name in table.columns if name.split(".")[-1] == "eid")
    table = table[table[column].isin(made)]
    zips = folder / "zips"
    zips.mkdir(exist_ok=True)
    body_of, copies = {}, []
    for number in range(ids):
        renamed = {eid: str(1_000_000 + bodies * number + k) for k, eid in enumerate(sorted(made))}
        for eid, new in renamed.items():
            body_of[new] = eid
            path = zips / made[eid].name.replace(eid, new)
            if not path.exists():
                os.link(made[eid], path)
        copies.append(table.assign(**{column: table[column].map(renamed)}))
    pd.concat(copies).to_csv(folder / "phenotypes.csv", index=False)
    return body_of


def configure(folder: Path, weights: str, shard_size: int) -> None:
    """config/ukbb.yaml for this cohort."""
    configuration = yaml.safe_load((ROOT / "config/ukbb.yaml").read_text())
    configuration["results"] = "results"
    configuration["releases"] = [
        {"name": "r", "zips": str(folder / "zips"), "phenotypes": [str(folder / "phenotypes.csv")]}
    ]
    configuration["cohort"] = {"size": "everyone", "shard_size": shard_size}
    configuration["segmentation"] = {"weights": weights}
    if weights == "starter":  # no network has an opinion on its own masks
        configuration["qc"]["second_opinion"] = False
    for section in ("crops", "network"):  # the weights file's own
        configuration.pop(section)
    path = folder / "config.yaml"
    text = yaml.safe_dump(configuration)
    if not path.exists() or path.read_text() != text:  # an unchanged file keeps its time
        path.write_text(text)


class Usage:
    """CPU-seconds and largest resident memory of a process and all below it, by looking often."""

    def __init__(self, pid: int):
        self.seen, self.peak_mb, self.ended = {}, 0.0, threading.Event()
        self.thread = threading.Thread(target=self._follow, args=(pid,), daemon=True)
        self.thread.start()

    def _follow(self, pid):
        while not self.ended.wait(0.5):
            memory = 0
            try:
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    times = process.cpu_times()
                    memory += process.memory_info().rss
                except psutil.Error:
                    continue
                key = (process.pid, process.create_time())
                self.seen[key] = times.user + times.system
            self.peak_mb = max(self.peak_mb, memory / 2**20)

    def finish(self) -> float:
        """CPU-seconds of everything that was seen."""
        self.ended.set()
        self.thread.join()
        return sum(self.seen.values())


def call(folder: Path, cores: int, number: int, kill_after: float | None) -> dict:
    """One call of the workflow, killed with all its processes after so many seconds."""
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--workflow-profile", str(ROOT / "profiles/default")),
        *("--configfile", "config.yaml", "--cores", str(cores), "--resources", "gpu=1"),
    ]
    subprocess.run([*command, "--unlock"], cwd=folder, capture_output=True, check=True)
    start = time.time()
    with open(folder / f"call-{number}.log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        usage = Usage(process.pid)
        try:
            status = process.wait(kill_after)
        except subprocess.TimeoutExpired:
            status = "killed"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    row = {"call": number, "status": status, "wall_s": time.time() - start}
    return row | {"cpu_s": usage.finish(), "peak_mb": usage.peak_mb}


def check(folder: Path, body_of: dict[str, str]) -> str:
    """That everybody is there once in every table, and what one body's ids differ by."""
    results = folder / "results"
    for stage in IMAGE_STAGES:
        ledgers = [files.read_tsv(path) for path in sorted(results.glob(f"shards/*/{stage}.tsv"))]
        found = pd.concat(ledgers)["eid"]
        assert sorted(found) == sorted(body_of), f"{stage}: {len(found)} rows"
    table = files.read_tsv(results / "volumes.tsv")
    assert sorted(table["eid"]) == sorted(body_of), f"volumes.tsv: {len(table)} rows"
    sides = table.groupby(table["eid"].map(body_of))[["left_ml", "right_ml"]]
    differ = int((sides.max() - sides.min() > 0).any(axis=1).sum())
    return (
        f"{len(body_of)} participants, each once in volumes.tsv and in every ledger; "
        f"{table['left_ml'].notna().sum()} with a left volume; bodies whose ids have different "
        f"volumes: {differ}"
    )


def stages(results: Path) -> pd.DataFrame:
    """Costs of each stage; of jobs that were killed at least what their ledgers know."""
    pilot = planning.read_pilot(results)
    rows = []
    for stage, shards in planning.scan_costs(pilot).groupby("stage", sort=False):
        cpu = shards["cpu_s"]
        rows.append(
            {
                "stage": stage,
                "CPU-s per scan": f"{cpu.median():.2f}",
                "lowest to highest shard": f"{cpu.min():.2f} to {cpu.max():.2f}",
                "MB": f"{shards['memory_mb'].max():.0f}",
            }
        )
    for stage in planning.COHORT_STAGES:
        jobs = pilot.jobs[pilot.jobs["stage"] == stage]
        row = {"stage": f"{stage}, once", "CPU-s per scan": f"{jobs['cpu_s'].sum():.1f} in all"}
        rows.append(row | {"MB": f"{jobs['memory_mb'].max():.0f}"})
    rates = planning.scan_costs(pilot).groupby("shard")["cpu_s"].sum()
    low, high = (100 * (rate / rates.mean() - 1) for rate in (rates.min(), rates.max()))
    print(
        f"One shard as the pilot of all: CPU-seconds wrong by {low:+.1f} to {high:+.1f} %; "
        f"all {len(rates)} shards: {100 * planning.uncertainty(pilot):.1f} % (95 %)\n"
    )
    return pd.DataFrame(rows).fillna("")


def grow(folder: Path, participants: int) -> Path:
    """The run's ledgers and tables again and again under new ids, as one folder of results."""
    results, grown = folder / "results", folder / "grown"
    sample = files.read_tsv(results / "cohort/sample.tsv")
    copies = -(-participants // len(sample))

    def renamed(table):
        parts = [
            table.assign(eid=(table["eid"].astype(int) + 10_000 * n).astype(str))
            for n in range(copies)
        ]
        return pd.concat(parts, ignore_index=True)

    for path in [*results.glob("shards/*/*.tsv"), results / "cohort/sample.tsv"]:
        if path.stem in {*IMAGE_STAGES, planning.OPINION, "sample"}:
            files.write_tsv(grown / path.relative_to(results), renamed(files.read_tsv(path)))
    for row in renamed(sample).itertuples():
        original = str((int(row.eid) - 1_000_000) % 10_000 + 1_000_000)
        picture = files.subject_folder(results, original, row.instance) / "preview.png"
        target = files.subject_folder(grown, row.eid, row.instance)
        target.mkdir(parents=True, exist_ok=True)
        if picture.exists() and not (target / "preview.png").exists():
            os.link(picture, target / "preview.png")
    return grown


def measure(grown: Path) -> None:
    """Volumes, quality control and review page of all rows, as their rules make them."""
    last = [time.perf_counter(), time.process_time()]

    def lap(step):
        now = [time.perf_counter(), time.process_time()]
        wall, cpu = (b - a for a, b in zip(last, now, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {step} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |", flush=True)
        last[:] = now

    sample = files.read_tsv(grown / "cohort/sample.tsv")
    paths = {stage: sorted(grown.glob(f"shards/*/{stage}.tsv")) for stage in IMAGE_STAGES}
    opinion = sorted(grown.glob(f"shards/*/{planning.OPINION}.tsv"))
    ledgers = ledger.read_all(paths | ({planning.OPINION: opinion} if opinion else {}))
    lap("reading")
    table = volumes.table(sample, {stage: ledgers[stage] for stage in IMAGE_STAGES})
    lap("volumes")
    found = judge(sample, table, ledgers)
    lap("quality control")
    names = ("volumes", "flags", "summary", "verdicts", "drawn", "quality")
    analysis.review_page(
        grown / "review", sample, {n: getattr(found, n) for n in names}, results=grown
    )
    lap("review page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bodies", type=int, default=50)
    parser.add_argument("--ids", type=int, default=10)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--every", type=float, default=600, help="seconds to a kill, on average")
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--weights", default="starter")
    parser.add_argument("--rows", type=int, default=100_000, help="of the tables that are grown")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.measure:
        measure(folder)
        return
    print(f"{processor()}, {options.cores} cores; other load {os.getloadavg()[0]:.1f}\n")
    body_of = make_cohort(folder, options.bodies, options.ids, options.cores)
    configure(folder, options.weights, options.shard_size)

    rng = random.Random(SEED)
    print("| call | ended with | wall, s | CPU-s | cores busy | MB |\n|" + " --- |" * 6)
    for number in range(1, options.kills + 3):
        wait = rng.uniform(0.2, 1.8) * options.every if number <= options.kills else None
        row = call(folder, options.cores, number, wait)
        cells = [str(row["status"]), f"{row['wall_s']:.0f}", f"{row['cpu_s']:.0f}"]
        cells += [f"{row['cpu_s'] / row['wall_s']:.2f}", f"{row['peak_mb']:.0f}"]
        print("| " + " | ".join([str(number), *cells]) + " |", flush=True)
    assert row["status"] == 0, f"the last call failed: {folder}/call-{number}.log"
    assert "Nothing to be done" in (folder / f"call-{number}.log").read_text()

    print("\n" + check(folder, body_of) + "\n")
    results = folder / "results"
    print(stages(results).to_markdown(index=False))
    kept = [path for path in results.rglob("*") if path.is_file()]
    size = sum(path.stat().st_blocks * 512 for path in kept)
    print(
        f"\nResults: {len(kept) / len(body_of):.1f} files and {size / len(body_of) / 1e6:.2f} MB "
        f"for each scan\n"
    )
    grown = grow(folder, options.rows)
    print(f"Rows grown to {options.rows:,}\n")
    print("| step | s | CPU-s | peak GB |\n| --- | --- | --- | --- |", flush=True)
    command = [sys.executable, __file__, str(grown), "--measure"]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
