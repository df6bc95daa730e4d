"""Which rules run after a change of each configuration key: the table of docs/reruns.md.

``python tests/workflow/rerun_table.py docs/reruns.md`` measures it on the real rules with stub
scripts and writes the page; tests/workflow/test_reruns.py measures again and compares.
"""

import copy
import sys
import tempfile
import types
import typing
from pathlib import Path

from pydantic import BaseModel
from stub_workflow import StubWorkflow

from iliopsoas import config

# another valid value, where the type does not give one
OTHER = {
    "results": None,  # everything, in another place
    "releases": None,  # what was drawn decides; see the tests
    "phantom": None,  # the synthetic cohort's own
    # change together, and with cohort.instances
    **dict.fromkeys(("statistics.instance", "statistics.repeat_instance")),
    "withdrawals": ["w1_20260101.csv"],
    "other_methods": [{"name": "tool", "folder": "masks"}],
    "vertebrae": {"folder": "masks", "preset": "verse"},
    "cohort.instances": [2, 3],
    "cohort.size": 4000,
    "cohort.age_groups": [[44, 60], [61, 82]],
    "cohort.exclusions": ["exclude.csv"],
    "segmentation.weights": "weights.h5",
    "segmentation.weights_sha256": "0" * 64,
    "segmentation.threshold": 0.4,
    "statistics.flag_severities": ["serious"],
    "qc.decisions": "decisions.tsv",
    "landmarks.atlas": "atlas",
    "egress.folder": "egress",
    "egress.also": ["note.txt"],
    "export.measures": ["total_ml"],
    "export.covariates": ["age"],
    "dixon.contrasts": ["in_phase"],
    "release_tag": "first",
    "run.retry": ["station_missing"],
    "run.scratch": "/tmp",
    "run.copies": "/tmp",
    "training.sweep_rates": [0.01],
    "training.start": "weights.h5",
}
# a change of the cohort's rule says what else runs only once it has run
BY_RUNNING = ("cohort.", "withdrawals")


def keys(model=config.Config, before: str = "") -> dict[str, object]:
    """Every key with a value that differs from its default; None: not in the table."""
    found = {}
    for name, field in model.model_fields.items():
        key, kind = before + name, field.annotation
        if key in OTHER:
            found[key] = OTHER[key]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= keys(kind, f"{key}.")
        else:
            found[key] = _another(field.get_default(call_default_factory=True), kind)
    return found


def _another(value, kind):
    if isinstance(value, bool):
        return not value
    if typing.get_origin(kind) is typing.Literal:
        return next(choice for choice in typing.get_args(kind) if choice != value)
    if isinstance(value, int) and kind is not float:
        return value + 1
    if isinstance(value, int | float):
        return value * 0.9 or 0.1
    options = [o for o in _choices(kind) if o != value]
    if not options:
        raise KeyError(f"no other value of type {kind} is known: name one in OTHER")
    return options[0]


def _choices(kind) -> tuple:
    """The words or numbers that a type lists, 3 for a count that may be empty."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(choice for part in typing.get_args(kind) for choice in _choices(part))
    if typing.get_origin(kind) is typing.Annotated:
        return _choices(typing.get_args(kind)[0])
    return (3,) if kind is int else ()


def measure(folder) -> dict[str, set[str]]:
    """Rules that run after a change of each key, on a finished run trained on annotations."""
    found, changes = {}, {key: value for key, value in keys().items() if value is not None}
    workflow = StubWorkflow(Path(folder) / "planned")
    settings = workflow.settings
    for key, value in changes.items():  # before any of them is tried
        workflow.settings = copy.deepcopy(settings)
        workflow.change(key, value)
        config.load(workflow.settings)
    workflow.settings = settings
    workflow.call()
    (workflow.folder / "decisions.tsv").write_text("eid\n")
    for key, value in changes.items():
        if key.startswith(BY_RUNNING):
            continue
        workflow.settings = copy.deepcopy(settings)
        workflow.change(key, value)
        found[key] = workflow.rules("--dry-run")
    for key, value in changes.items():
        if key.startswith(BY_RUNNING):
            workflow.settings = copy.deepcopy(settings)
            workflow.change(key, value)
            found[key] = workflow.rules()
            assert "Nothing to be done" in workflow.call("--dry-run"), key
            workflow.settings = copy.deepcopy(settings)
            workflow.call()
    return {key: found[key] for key in changes}


def page(found: dict[str, set[str]]) -> str:
    """The table, keys with the same rules in one row."""
    rows = {}
    for key, rules in found.items():
        rows.setdefault(", ".join(f"`{rule}`" for rule in sorted(rules)) or "nothing", []).append(
            key
        )
    lines = [
        "# What runs again after a change",
        "",
        "Measured on the rules themselves, after a finished run that trains on annotations, by",
        "`python tests/workflow/rerun_table.py docs/reruns.md`; a test measures again. Inside a",
        "rule only those participants are done again whose inputs or settings changed. After a",
        "change of the cohort, image stages run for the shards that changed alone.",
        "",
        "| change of | runs |",
        "| --- | --- |",
    ]
    lines += [
        f"| {', '.join(f'`{key}`' for key in keys)} | {rules} |" for rules, keys in rows.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[1]).write_text(page(measure(folder)), encoding="utf-8")
