"""The profiles name rules that exist and plan the demo where no number of cores is given."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def rule_texts() -> dict[str, str]:
    """Each rule's text by name."""
    texts = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        parts = re.split(r"^(?:rule|checkpoint) (\w+):\n", path.read_text(), flags=re.MULTILINE)
        texts |= dict(zip(parts[1::2], parts[2::2], strict=True))
    return texts


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def test_slurm_profile_names_rules_that_exist():
    rules, slurm = rule_texts(), profile("slurm")
    arrays = slurm["slurm-array-jobs"].split(",")
    assert set(arrays) <= set(rules)
    # of an array that a limit on GPUs splits, the plugin submits nothing
    assert not any("gpu=1" in rules[name] for name in arrays)


def test_only_rules_that_run_the_network_ask_for_a_gpu():
    found = {name for name, text in rule_texts().items() if "gpu=1" in text}
    network = {"train", "segment_shard", "validate", "quality_rows", "learning_rate_sweep"}
    # the starter's, another tool's, thresholds tried on a fold's network
    network |= {"opinion_shard", "tool_shard", "threshold_curve"}
    assert network <= found
    assert all("segmentation" in rule_texts()[name] for name in found - network)


def test_memory_and_time_grow_with_every_retry():
    for name, text in rule_texts().items():
        if "script:" in text:
            assert re.search(r"mem_mb=growing", text), name
            assert re.search(r"runtime=(growing|minutes_for)", text), name


@pytest.mark.parametrize("name", ["slurm", "rap"])
def test_the_demo_can_be_planned(name, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
            *("--directory", str(tmp_path), "--configfile", str(ROOT / "config/config.yaml")),
            *("--workflow-profile", str(ROOT / "profiles" / name), "--dry-run", "--quiet"),
        ],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-3000:]
