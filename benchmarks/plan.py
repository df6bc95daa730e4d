"""Planning time and memory of the workflow, beside one job per participant and stage.

    python benchmarks/plan.py [--participants 1000 10000 100000] [--limit 600]

Both workflows have the same stages and half of their results present. A plan is
``snakemake -n``; printed are its seconds, wall and CPU, and the largest memory of the process.
Nothing is read of the participants: results are stand-ins with the right names and realistic
sizes. A plan that takes more CPU-seconds than the limit is stopped.
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import yaml

from iliopsoas.machine import processor
from iliopsoas.versions import IMAGE_STAGES

ROOT = Path(__file__).resolve().parents[1]
SHARD = 500
ANNOTATED = 90

BASELINE = """\
import csv

checkpoint cohort:
    input: "phenotypes.csv"
    output: "results/sample.tsv"
    shell: "false"

def people():
    with checkpoints.cohort.get().output[0].open(newline="") as table:
        return [f"{row['eid']}_{row['instance']}" for row in csv.DictReader(table, delimiter="\\t")]

rule collect:
    input: lambda wildcards: expand("results/{person}/volumes.json", person=people())
    output: "results/volumes.tsv"
    shell: "false"
"""
BASELINE_STAGE = """
rule {stage}:
    input: {source}
    output: "results/{{person}}/{stage}.json"
    log: "logs/{stage}/{{person}}.log"
    shell: "false"
"""


def people(number: int) -> list[str]:
    return [str(1_000_000 + index) for index in range(number)]


def sharded(folder: Path, number: int) -> list[str]:
    """The workflow itself with half of its shards done; returns the command of the plan."""
    (folder / "zips").mkdir()
    (folder / "masks").mkdir()
    (folder / "phenotypes.csv").write_text("eid\n")
    release = {"name": "r", "zips": "zips", "phenotypes": ["phenotypes.csv"]}
    configuration = {
        "releases": [release | {"annotations": "masks"}],
        "cohort": {"size": "everyone", "shard_size": SHARD},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))
    results = folder / "results"
    for name in ("exclusions", "balance", "diagnoses", "table_report"):
        write(results / f"cohort/{name}.tsv", "x\n")
    write(results / "cohort/balance.png", "x")
    eids = people(number)
    shards = [f"r-{index + 1:04d}" for index in range(-(-number // SHARD))]
    person = (
        "{eid}\t2\tr\t{shard}\tfemale\t55\t54-63\t21.2482\t168.6\t60.4\tWhite European\tleft\t\n"
    )
    write(
        results / "cohort/sample.tsv",
        "eid\tinstance\trelease\tshard\tsex\tage\tage_group\tbmi\n"
        + "".join(person.format(eid=e, shard=shards[i // SHARD]) for i, e in enumerate(eids)),
    )
    rows = [f"{s}\tr\t{SHARD}\t{ANNOTATED if s == shards[0] else 0}\t{s}" for s in shards]
    header = "shard\trelease\tparticipants\tannotated\tdigest\n"
    write(results / "cohort/shards.tsv", header + rows_of(rows))
    write(results / "cohort/manifests.tsv", "eid\tinstance\n")
    write(results / "model/folds.tsv", "eid\tinstance\tfold\tcontent\n")
    for index, shard in enumerate(shards):
        members = eids[index * SHARD : (index + 1) * SHARD]
        start = f"2\tr\t{shard}\tfemale\tFalse\tTrue\t/data/zips"
        manifest = [f"{eid}\t{start}/{eid}_20201_2_0.zip\t" for eid in members]
        write(results / f"shards/{shard}/manifest.tsv", "eid\tinstance\n" + rows_of(manifest))
    targets = []
    for shard in shards[: len(shards) // 2]:
        for stage in IMAGE_STAGES:
            if stage == "crops":
                write(results / f"shards/{shard}/crops.h5", "x")
            text = "eid\tinstance\n" + f"1000000\t2\tok\t{'x' * 300}\n" * SHARD
            write(results / f"shards/{shard}/{stage}.tsv", text)
        targets.append(f"results/shards/{shard}/crops.tsv")
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--directory", str(folder), "--configfile", str(folder / "config.yaml")),
        *("--workflow-profile", str(ROOT / "profiles/default"), "--cores", "16"),
    ]
    # Snakemake's own records of what is done, which a plan reads as well
    subprocess.run([*command, "--touch", *targets], check=True, capture_output=True, cwd=folder)
    return [*command, "--dry-run"]


def one_job_each(folder: Path, number: int) -> list[str]:
    """A plain workflow with a job per participant and stage, half of them done."""
    text, source = BASELINE, '"results/sample.tsv"'
    for stage in IMAGE_STAGES:
        text += BASELINE_STAGE.format(stage=stage, source=source)
        source = f'"results/{{person}}/{stage}.json"'
    (folder / "Snakefile").write_text(text)
    (folder / "phenotypes.csv").write_text("eid\n")
    names = [f"{eid}_2" for eid in people(number)]
    rows = [name.replace("_", "\t") for name in names]
    write(folder / "results/sample.tsv", "eid\tinstance\n" + rows_of(rows))
    for name in names[: number // 2]:
        (folder / "results" / name).mkdir()
        for stage in IMAGE_STAGES:
            (folder / "results" / name / f"{stage}.json").write_text("{}\n")
    return [
        *(sys.executable, "-m", "snakemake", "--directory", str(folder)),
        *("--snakefile", str(folder / "Snakefile"), "--cores", "16", "--scheduler", "greedy"),
        *("--workflow-profile", "none", "--dry-run", "collect"),
    ]


def rows_of(lines) -> str:
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def plan(command: list[str], folder: Path, limit_s: float) -> dict:
    """Run a plan; jobs, seconds, largest memory in MB, and whether it was stopped."""
    with open(folder / "plan.log", "w", encoding="utf-8") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--quiet", "rules"], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
        watched, stopped = psutil.Process(process.pid), False
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if not stopped and sum(watched.cpu_times()[:2]) > limit_s:
                stopped = True
                process.kill()
            time.sleep(0.1)
        seconds = time.perf_counter() - start
    text = (folder / "plan.log").read_text(encoding="utf-8")
    if status and not stopped:
        raise SystemExit(f"the plan failed:\n{text[-3000:]}")
    total = re.search(r"^total\s+(\d+)", text, re.MULTILINE)
    return {
        "jobs": int(total[1]) if total else None,
        "seconds": seconds,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "memory_mb": usage.ru_maxrss / 1024,
        "stopped": stopped,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--participants", type=int, nargs="+", default=[1000, 10000, 100000])
    options.add_argument("--limit", type=float, default=600, help="CPU-seconds for one plan")
    options = options.parse_args()
    python = f"{platform.system()}, Python {platform.python_version()}"
    print(f"{processor()}, {os.cpu_count()} cores, {python}\n")
    print("| participants | workflow | jobs to do | seconds | of CPU | memory, MB |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for number in options.participants:
        for name, make in (("shards of 500", sharded), ("one job each", one_job_each)):
            with tempfile.TemporaryDirectory(prefix="plan-") as folder:
                found = plan(make(Path(folder), number), Path(folder), options.limit)
            seconds = f"{found['seconds']:.1f}"
            if found["stopped"]:
                seconds += ", stopped"
            jobs = "" if found["jobs"] is None else f"{found['jobs']:,}"
            cells = [f"{number:,}", name, jobs, seconds]
            cells += [f"{found['cpu_s']:.1f}", f"{found['memory_mb']:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
