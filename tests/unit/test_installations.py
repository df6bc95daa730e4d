"""What installs the workflow elsewhere, and what is removed: containers, conda, catalog, make."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def make(*arguments, path="") -> str:
    done = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile"), *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": f"{path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_conda_environment_installs_the_package_and_the_pins():
    content = yaml.safe_load((ROOT / "envs/environment.yaml").read_text(encoding="utf-8"))
    (pip,) = (item["pip"] for item in content["dependencies"] if isinstance(item, dict))
    paths = {line.split()[0]: (ROOT / "envs" / line.split()[1]).resolve() for line in pip}
    assert paths["-r"] == ROOT / "envs/requirements.txt"
    assert paths["-e"] == ROOT


def test_the_catalog_finds_what_it_asks_for():
    catalog = ROOT / ".snakemake-workflow-catalog.yml"
    usage = yaml.safe_load(catalog.read_text(encoding="utf-8"))["usage"]
    assert usage["software-stack-deployment"]["report"] is True
    assert "--resources gpu=1" in usage["mandatory-flags"]["flags"]
    assert (ROOT / "workflow/Snakefile").is_file()
    assert "include:" in (ROOT / "Snakefile").read_text(encoding="utf-8")


def test_the_container_s_usage_line_works_in_a_working_folder(tmp_path):
    """As written, with the image's folder and the mounted one replaced by those of this machine."""
    text = (ROOT / "envs/Containerfile").read_text(encoding="utf-8").replace("\n#", "")
    (line,) = re.findall(r"iliopsoas \\ +(snakemake .*?config\.yaml)", text)
    words = line.replace("\\", " ").replace("/opt/iliopsoas", str(ROOT)).split()
    done = subprocess.run(
        [sys.executable, "-m", *words, "--dry-run", "--quiet"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_clean_removes_the_demo_s_own_places_only():
    assert make("-n", "clean") == "rm -rf results/demo resources/phantom"


def test_make_finds_an_interpreter_with_pip_behind_an_activated_environment(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    activated = tmp_path / "v/bin"
    assert subprocess.run([activated / "python3", "-m", "pip"], capture_output=True).returncode
    base = make("--eval", "show: ; @echo $(BASE)", "show", path=activated)
    assert not Path(base).is_relative_to(tmp_path)
    if subprocess.run([base, "-m", "pip", "--version"], capture_output=True).returncode:
        pytest.skip("the base interpreter of these tests has no pip")


@pytest.mark.parametrize("command", ["freeze", "drift", "search", "paper", "pages"])
def test_every_task_is_a_command(command):
    """None is reached by the name of a module alone."""
    from iliopsoas.cli.arguments import parser

    assert command in parser().format_help()
    for path in (ROOT / "workflow/iliopsoas").rglob("*.py"):
        if path.name != "__main__.py":
            assert "__main__" not in path.read_text(encoding="utf-8"), path
