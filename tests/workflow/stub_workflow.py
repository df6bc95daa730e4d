"""The real rules with stub scripts: what runs after a change, in seconds and without data."""

import copy
import json
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import yaml

from iliopsoas.versions import STAGES

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "results": "results",
    "releases": [
        {
            "name": "r",
            "zips": "zips",
            "phenotypes": ["phenotypes.csv"],
            "annotations": "annotations",
        }
    ],
    "cohort": {"instances": [2]},
    "training": {"folds": 2},
}
WORLD = {
    "shards": {
        "r-0001": {"participants": 3, "annotated": 2, "digest": "one"},
        "r-0002": {"participants": 3, "annotated": 0, "digest": "two"},
    },
    "trained_on": ["a", "b"],
}
# Snakemake is imported once, not in every call
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["snakemake.cli", "iliopsoas.config"])
# jobs of a group are indented
_STARTED = re.compile(r"^\s*(?:local)?(?:rule|checkpoint) (\w+):")


def _snakemake(arguments, folder, printed, versions):
    """Run Snakemake in this process, which is a copy made for it."""
    STAGES.update(versions)
    os.chdir(folder)
    file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from snakemake.cli import main

    main(arguments)


class StubWorkflow:
    """A working folder whose rules are the project's own and whose scripts are stubs."""

    def __init__(self, folder: Path):
        self.folder, self.results = Path(folder), Path(folder) / "results"
        self.settings, self.world = copy.deepcopy(SETTINGS), copy.deepcopy(WORLD)
        source = self.folder / "source"
        shutil.copytree(ROOT / "workflow/rules", source / "workflow/rules")
        shutil.copytree(ROOT / "workflow/report", source / "workflow/report")
        for name in ("Snakefile", "workflow/Snakefile"):
            shutil.copy(ROOT / name, source / name)
        for name in ("resources", "profiles"):
            (source / name).symlink_to(ROOT / name)
        (source / "scripts").mkdir()
        for script in (ROOT / "scripts").glob("*.py"):
            shutil.copy(Path(__file__).parent / "stub_script.py", source / "scripts" / script.name)
        for name in ("zips", "annotations", "phantom/zips", "masks"):
            (self.folder / name).mkdir(parents=True)
        for name in ("phenotypes.csv", "weights.h5", "w1_20260101.csv", "exclude.csv"):
            (self.folder / name).write_text("a\n")

    def change(self, key: str, value) -> None:
        """Set ``section.key``."""
        *sections, last = key.split(".")
        place = self.settings
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value

    def call(self, *arguments, check=True, versions=()) -> str:
        """Run Snakemake, with other versions of stages; returns what it printed."""
        (self.folder / "world.json").write_text(json.dumps(self.world))
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(self.settings))
        printed = self.folder / "printed.txt"
        command = [
            *("--cores", "4", *arguments),
            *("--snakefile", str(self.folder / "source/Snakefile")),
            *("--directory", str(self.folder)),
            *("--workflow-profile", str(self.folder / "source/profiles/default")),
            *("--configfile", str(path)),
        ]
        process = _SERVER.Process(
            target=_snakemake, args=(command, str(self.folder), str(printed), dict(versions))
        )
        process.start()
        process.join()
        assert (process.exitcode == 0) == check, printed.read_text()[-5000:]
        return printed.read_text()

    def rules(self, *arguments, **options) -> set[str]:
        """Names of the rules that a call runs, or would run with ``--dry-run``."""
        found = (_STARTED.match(line) for line in self.call(*arguments, **options).splitlines())
        return {match[1] for match in found if match} - {"all"}

    def jobs(self, *arguments) -> list[str]:
        """What a call runs, with the wildcards of each: ``dixon_shard shard=r-0001``."""
        found, rule = [], None
        for line in self.call(*arguments).splitlines():
            match = _STARTED.match(line)
            if match:
                rule = match[1]
                found.append(rule)
            elif line.strip().startswith("wildcards:") and rule:
                found[-1] = f"{rule} {line.split(':', 1)[1].strip()}"
        return [job for job in found if job != "all"]
