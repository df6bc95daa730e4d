"""The commands of README.md and docs/ run, from the pages themselves, on stand-ins.

Every shell block carries a comment above it:

``<!-- run -->``             run as it stands
``<!-- run: slow -->``       the same, in the slow tests
``<!-- dry run: reason -->`` snakemake and make only say what they would do
``<!-- not run: reason -->`` not run; the reason is printed
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
SHELL = {"bash", "sh", "shell", "console"}
KINDS = {"run", "dry run", "not run"}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    kind: str
    reason: str
    text: str

    @property
    def slow(self) -> bool:
        return self.kind == "run" and self.reason == "slow"


def blocks_of(page: Path) -> list[Block]:
    """Shell blocks of a page, with their marks; a fence inside another is text."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        if match["language"] not in SHELL:
            continue
        kind, _, reason = (match["mark"] or "").partition(": ")
        line = text[: match.start("text")].count("\n")
        found.append(Block(page.name, line, kind, reason, match["text"]))
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def named(blocks):
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in blocks]


@pytest.mark.parametrize("block", named(BLOCKS))
def test_every_block_says_whether_it_is_run(block):
    assert block.kind in KINDS, "no comment such as <!-- run --> above it"
    assert block.reason or block.kind == "run", "a reason is missing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_hides_in_another_kind_of_block(page):
    """Indented code and fences without a language would escape the tests above."""
    text = re.sub(r"^```\{?\w+.*?^```$", "", page.read_text(), flags=re.M | re.S)
    assert "```" not in text
    assert not re.search(r"^ {4}(make|snakemake|iliopsoas|python|pip) ", text, re.M)


# -- stand-ins ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory) -> Path:
    """One synthetic participant in every form that the pages name, and an untrained network."""
    import SimpleITK

    from iliopsoas import cli, files
    from iliopsoas.network import weights
    from iliopsoas.network.architecture import build_network

    def command(*words):
        assert cli.main([str(word) for word in words]) == cli.OK

    folder = tmp_path_factory.mktemp("stand_ins")
    phantom = folder / "phantom"
    command("phantom", "-q", "-o", phantom, "--seed", 3)
    (scan,) = (phantom / "zips").iterdir()
    (mask,) = (phantom / "annotations").iterdir()
    made = folder / "made"
    command("measure", "-q", scan, "-o", made, "--annotation", mask, "--keep-images")
    for source, name in (
        (scan, "scan.zip"),
        (phantom / "phenotypes.csv", "phenotypes.csv"),
        (made / "water.nii.gz", "water.nii.gz"),
        (made / "fat.nii.gz", "fat.nii.gz"),
        (made / "iliopsoas.nii.gz", "iliopsoas.nii.gz"),
        (mask, "mask.nii.gz"),
    ):
        shutil.copy(source, folder / name)
    shutil.unpack_archive(scan, folder / "dicom_folder")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(mask)), str(folder / "mask.nrrd"))
    shape = (32, 32, 64, 1)
    weights.save_weights(
        folder / "model.h5",
        build_network(shape, base_filters=1, seed=1),
        {"input_shape": shape, "base_filters": 1, "variant": "published", "coarsen": 3},
    )
    table = files.read_tsv(made / "volumes.tsv").assign(eid="1234567", instance="2")
    files.write_tsv(folder / "results" / "volumes.tsv", table)
    settings = yaml.safe_load((ROOT / "config" / "ukbb.yaml").read_text())
    settings["releases"][0] |= {
        "zips": str(phantom / "zips"),
        "phenotypes": [str(phantom / "phenotypes.csv")],
        "annotations": str(phantom / "annotations"),
    }
    settings["segmentation"]["weights"] = str(folder / "model.h5")
    files.write_text(folder / "config" / "mine.yaml", yaml.safe_dump(settings))
    return folder


STAND_INS = (
    "scan.zip", "dicom_folder", "water.nii.gz", "fat.nii.gz", "iliopsoas.nii.gz", "mask.nii.gz",
    "mask.nrrd", "model.h5", "phenotypes.csv", "results/volumes.tsv", "config/mine.yaml",
)  # fmt: skip


@pytest.fixture
def checkout(stand_ins, tmp_path):
    """A function: a fresh copy of the repository with the stand-ins that some blocks name."""

    def make(blocks) -> Path:
        folder = tmp_path / "checkout"
        for name in ("Snakefile", "Makefile", "pyproject.toml"):
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder)
        for name in ("workflow", "scripts", "config", "profiles", "envs", "resources", "tests/rap"):
            made = ("phantom", "example", "weights") if name == "resources" else ()
            skipped = shutil.ignore_patterns("__pycache__", *made)
            shutil.copytree(ROOT / name, folder / name, ignore=skipped)
        # what `source .venv/bin/activate` finds: the environment of these tests
        activate = folder / ".venv" / "bin" / "activate"
        activate.parent.mkdir(parents=True)
        activate.write_text("true\n")
        for name in STAND_INS:
            if any(name in block.text for block in blocks):
                (folder / name).parent.mkdir(exist_ok=True)
                copy = shutil.copytree if (stand_ins / name).is_dir() else shutil.copy
                copy(stand_ins / name, folder / name)
        return folder

    return make


def execute(block: Block, folder: Path) -> None:
    """Run one block with bash; in a dry run snakemake and make get their own dry-run option."""
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    (tools / "snakemake").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m snakemake "$@"'
        + (" --dry-run --quiet\n" if block.kind == "dry run" else "\n")
    )
    if block.kind == "dry run":
        (tools / "make").write_text(f'#!/bin/sh\nexec {shutil.which("make")} -n "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=folder,
        env=os.environ | {"PATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shutil.rmtree(tools)
    assert done.returncode == 0, (
        f"{block.page}, line {block.line}:\n{block.text}\n{done.stdout[-4000:]}"
    )


def pages_with(kind, slow=False):
    return sorted({block.page for block in BLOCKS if block.kind == kind and block.slow == slow})


@pytest.mark.parametrize("page", pages_with("run"))
def test_commands_run(page, checkout):
    blocks = [block for block in BLOCKS if (block.page, block.kind) == (page, "run")]
    blocks = [block for block in blocks if not block.slow]
    folder = checkout(blocks)
    for block in blocks:
        execute(block, folder)


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("run", slow=True))
def test_slow_commands_run(page, checkout):
    blocks = [block for block in BLOCKS if block.page == page and block.slow]
    folder = checkout(blocks)
    for block in blocks:
        execute(block, folder)


# pages repeat each other; a command is planned once
DRY = {block.text: block for block in BLOCKS if block.kind == "dry run"}


@pytest.mark.parametrize("block", named(DRY.values()))
def test_commands_can_be_planned(block, checkout):
    execute(block, checkout([block]))


@pytest.mark.parametrize("block", named(block for block in BLOCKS if block.kind == "not run"))
def test_commands_not_run_are_listed(block):
    pytest.skip(f"not run: {block.reason}")
