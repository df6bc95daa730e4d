"""What runs after a change, on the real rules with stub scripts: all that must, and nothing else.

The workflows of a fixture are shared: each test changes something, looks at what runs, and leaves
a finished run to the next.
"""

from pathlib import Path

import pytest
from rerun_table import keys, measure, page
from stub_workflow import ROOT, StubWorkflow

from iliopsoas.versions import STAGES

SHARD = {"manifest", "dixon_shard", "landmarks_shard", "crops_shard", "segment_shard",
         "volumes_shard"}  # fmt: skip
NETWORK = {"train", "validate", "quality_rows", "segment_shard", "learning_rate_sweep"}
ENDS = {"collect_volumes", "qc_flags", "review_page", "statistics", "figures", "summary", "report"}
NOTHING = "Nothing to be done"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run that trained on annotations: two shards, one with annotations."""
    workflow = StubWorkflow(tmp_path_factory.mktemp("trained") / "work")
    workflow.call()
    assert NOTHING in workflow.call()
    return workflow


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """A finished run with weights from elsewhere."""
    workflow = StubWorkflow(tmp_path_factory.mktemp("weighted") / "work")
    workflow.change("segmentation.weights", "weights.h5")
    workflow.call()
    assert NOTHING in workflow.call()
    return workflow


def test_with_weights_nothing_is_trained_and_the_report_is_written(weighted):
    assert (weighted.results / "report.zip").exists()
    assert not list(weighted.results.glob("model/*/model.h5"))


def test_weights_are_judged_on_annotations_where_there_are_any(weighted, tmp_path):
    for name in ("validation.tsv", "examples.npz", "quality.tsv"):
        assert (weighted.results / "model/configured" / name).exists()
    # who is annotated changed: the weights are judged again
    weighted.world["trained_on"] = ["a", "b", "c"]
    weighted.world["shards"]["r-0001"]["digest"] = "more"
    (weighted.folder / "annotations/new.nii.gz").write_text("a")
    assert weighted.rules() >= {"folds", "validate", "quality_rows", "statistics", "figures"}
    assert NOTHING in weighted.call()
    without = StubWorkflow(tmp_path / "work")
    without.change("segmentation.weights", "weights.h5")
    without.settings["releases"][0]["annotations"] = None
    without.world["shards"]["r-0001"]["annotated"] = 0
    assert not without.rules() & {"folds", "validate", "quality_rows"}
    assert (without.results / "report.zip").exists()


def test_other_weights_are_used_by_the_first_call(weighted):
    (weighted.folder / "weights.h5").write_text("others\n")
    assert weighted.rules() >= {"check_weights", "segment_shard", "volumes_shard"} | ENDS
    assert NOTHING in weighted.call()
    (weighted.folder / "more.h5").write_text("others\n")
    weighted.change("segmentation.weights", "more.h5")
    assert weighted.rules() >= {"check_weights", "segment_shard", "volumes_shard"} | ENDS
    assert NOTHING in weighted.call()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("segmentation.threshold", 0.4),
        ("segmentation.flip", True),
        ("segmentation.precision", "bfloat16"),
        ("crops.coarsen", 2),
    ],
)
def test_with_weights_a_changed_setting_is_used_by_the_first_call(weighted, key, value):
    weighted.change(key, value)
    rules = weighted.rules()
    assert rules >= {"segment_shard", "volumes_shard"} | ENDS
    assert not rules & {"cohort", "dixon_shard", "landmarks_shard", "train"}
    assert NOTHING in weighted.call()


@pytest.mark.parametrize(
    ("stage", "first"),
    [
        ("dixon", "dixon_shard"),
        ("landmarks", "landmarks_shard"),
        ("crops", "crops_shard"),
        ("segment", "segment_shard"),
        ("volumes", "volumes_shard"),
        ("qc", "qc_flags"),
        ("statistics", "statistics"),
        ("figures", "figures"),
    ],
)
@pytest.mark.parametrize("route", ["trained", "weighted"])
def test_a_stages_new_version_runs_it_and_what_reads_it(request, route, stage, first):
    workflow = request.getfixturevalue(route)
    rules = workflow.rules("--dry-run", versions={stage: STAGES[stage] + 1})
    order = ["dixon_shard", "landmarks_shard", "crops_shard", "segment_shard", "volumes_shard"]
    assert first in rules
    before = order[: order.index(first)] if first in order else order
    assert not rules & {*before, "cohort", "manifest"}
    assert rules >= set(order[order.index(first) :] if first in order else [])
    assert {"figures", "report"} <= rules


def test_every_key_runs_what_the_page_of_reruns_says(tmp_path):
    """The page is generated; `make config-docs` writes it anew."""
    assert page(measure(tmp_path)) == (ROOT / "docs/reruns.md").read_text()


def test_how_the_work_is_done_runs_no_stage_of_the_images():
    text = (ROOT / "docs/reruns.md").read_text()
    for key in keys():
        if key.startswith("run.") and key != "run.keep":
            rows = (line for line in text.splitlines() if line.startswith("| `"))
            (row,) = (row for row in rows if f"`{key}`" in row.split("|")[1])
            assert not {f"`{rule}`" for rule in SHARD | NETWORK} & set(row.split("|")[2].split())


def test_a_shard_that_changed_runs_alone_and_what_was_trained_on_stays(trained):
    """A withdrawal, say, of somebody without annotation in a shard with annotations."""
    trained.world["shards"]["r-0001"] |= {"participants": 2, "digest": "one less"}
    trained.change("withdrawals", ["w1_20260101.csv"])
    jobs = trained.jobs()
    ran = {job.split()[0] for job in jobs}
    assert ran >= {"cohort", *SHARD, "folds", *ENDS}
    assert not ran & (NETWORK - {"segment_shard"})
    assert not [job for job in jobs if "r-0002" in job]
    assert NOTHING in trained.call()


def test_a_shards_manifest_holds_its_rows_of_the_cohorts(trained):
    for number, shard in enumerate(("r-0001", "r-0002")):
        rows = (trained.results / f"shards/{shard}/manifest.tsv").read_text().splitlines()
        assert rows == ["eid\tinstance\tshard", f"{1000001 + number}\t2\t{shard}"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zips/1000001_20201_2_0.zip", "a new zip"),
        ("zips/1000001_20201_2_0.zip", "downloaded again"),
        ("annotations/1000001_2.nii.gz", "a new mask"),
        ("annotations/1000001_2.nii.gz", "a corrected mask"),
    ],
)
def test_a_file_that_came_or_was_replaced_is_noticed(trained, name, content):
    (trained.folder / name).write_text(content)
    assert "cohort" in trained.rules()
    assert NOTHING in trained.call()


def test_another_tools_mask_that_was_replaced_is_noticed(trained):
    (trained.folder / "masks/1000002_2.nii.gz").write_text("a mask")
    trained.change("other_methods", [{"name": "tool", "folder": "masks"}])
    trained.call()
    assert NOTHING in trained.call()
    (trained.folder / "masks/1000002_2.nii.gz").write_text("a better mask")
    jobs = trained.jobs()
    assert [job for job in jobs if job.startswith("other_masks_shard") and "r-0002" in job]
    assert not [job for job in jobs if job.startswith("other_masks_shard") and "r-0001" in job]
    assert [job for job in jobs if job.startswith("methods_shard") and "r-0002" in job]
    assert {"qc_flags", "statistics"} <= {job.split()[0] for job in jobs}
    assert not {job.split()[0] for job in jobs} & {"cohort", *SHARD, *NETWORK}
    assert NOTHING in trained.call()


def test_a_tool_with_a_command_draws_its_masks_shard_by_shard(trained):
    tool = {"name": "drawn", "folder": "results/drawn", "command": "draw {input} {output}"}
    trained.change("other_methods", [tool])
    jobs = trained.jobs("--resources", "gpu=1")
    for shard in ("r-0001", "r-0002"):
        drawn, measured, compared = (
            next(n for n, job in enumerate(jobs) if job.startswith(rule) and shard in job)
            for rule in ("tool_shard", "other_masks_shard", "methods_shard")
        )
        assert drawn < measured < compared
    assert not {job.split()[0] for job in jobs} & {"cohort", *SHARD, *NETWORK}
    assert NOTHING in trained.call()
    trained.change("other_methods", [tool | {"command": "draw --better {input} {output}"}])
    rules = trained.rules()
    assert rules >= {"tool_shard", "other_masks_shard", "other_volumes", "qc_flags"}
    assert NOTHING in trained.call()
    trained.change("other_methods", [])
    trained.call()


def test_an_added_shard_runs_alone(trained):
    trained.world["shards"]["r-0003"] = {"participants": 1, "annotated": 0, "digest": "three"}
    trained.change("cohort.size", 4999)
    jobs = trained.jobs()
    assert [job for job in jobs if "r-0003" in job]
    assert not [job for job in jobs if "r-0001" in job or "r-0002" in job]
    assert not {job.split()[0] for job in jobs} & {"train", "validate", "quality_rows"}
    assert NOTHING in trained.call()


def test_a_changed_annotation_trains_again_and_segments_everybody(trained):
    trained.world["shards"]["r-0001"]["digest"] = "a corrected mask"
    trained.world["trained_on"] = ["a", "b corrected"]
    trained.change("cohort.size", 4998)
    jobs = trained.jobs()
    assert {job.split()[0] for job in jobs} >= {"folds", "train", "validate", "quality_rows"}
    assert len([job for job in jobs if job.startswith("segment_shard")]) == 3
    assert not [job for job in jobs if job.startswith("dixon_shard shard=r-0002")]
    assert NOTHING in trained.call()


def test_with_images_not_kept_few_shards_are_in_work_and_crops_go(tmp_path):
    workflow = StubWorkflow(tmp_path / "work")
    workflow.change("segmentation.weights", "weights.h5")
    workflow.change("run", {"keep": "results", "shards_in_work": 1})
    for number in (3, 4):
        workflow.world["shards"][f"r-000{number}"] = {
            "participants": 1,
            "annotated": 0,
            "digest": str(number),
        }
    jobs = workflow.jobs()
    for number in (2, 3, 4):
        removed = jobs.index(f"remove_images shard=r-000{number - 1}")
        assert removed < jobs.index(f"dixon_shard shard=r-000{number}")
    assert not list(workflow.results.glob("shards/*/crops.h5"))
    assert NOTHING in workflow.call()


def test_image_stages_and_the_network_share_a_machine(tmp_path):
    workflow = StubWorkflow(tmp_path / "work")
    workflow.change("segmentation.weights", "weights.h5")
    printed = workflow.call("--cores", "8")
    threads = {}
    for block in printed.split("\n\n"):
        rule = next((line.split()[1] for line in block.splitlines() if "rule " in line[:11]), None)
        found = [line.split()[1] for line in block.splitlines() if "threads:" in line]
        if rule and found:
            threads[rule.rstrip(":")] = int(found[0])
    assert threads["dixon_shard"] + threads["segment_shard"] <= 8
    assert threads["dixon_shard"] >= 4


def test_a_calibrated_threshold_judges_the_folds_and_segments_again(trained):
    trained.change("segmentation.threshold", "calibrated")
    again = {"validate", "quality_rows", "segment_shard", "volumes_shard", "cross_validation"}
    rules = trained.rules()
    assert rules >= {"threshold_curve", "calibrate"} | again | ENDS
    assert not rules & {"cohort", "dixon_shard", "crops_shard", "folds", "train"}
    assert NOTHING in trained.call()
    trained.change("segmentation.threshold", None)
    assert trained.rules() >= again
    assert NOTHING in trained.call()


@pytest.mark.parametrize("late", ["manifests.tsv", "shards.tsv", "dixon.tsv", "crops.tsv"])
def test_what_a_network_disk_shows_seconds_late_is_waited_for(tmp_path, late):
    """Every file that a job reads is the declared output of another."""
    workflow = StubWorkflow(tmp_path / "work")
    workflow.change("segmentation.weights", "weights.h5")
    workflow.world["late"] = [late]
    workflow.call("volumes", "--latency-wait", "20")
    assert NOTHING in workflow.call("volumes")


TARGETS = {
    "annotation": "export_for_annotation",
    "qc/review": "qc",
    "egress": "egress",
    "individual_level/bids": "export_bids",
    "individual_level/phenotypes": "export_phenotypes",
}


@pytest.mark.parametrize("folder", TARGETS)
def test_what_people_put_beside_our_files_stays(trained, folder):
    """Snakemake empties a folder that is an output; so none of them is one."""
    target = TARGETS[folder]
    trained.call(target)
    mine = trained.results / folder / "my_mask.nii.gz"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("hours of work")
    trained.change("training.to_annotate", 7)
    trained.change("qc.review_sample", 3)
    trained.call(target, "--forceall")
    assert mine.read_text() == "hours of work"


def test_exports_are_made_when_asked_for_and_follow_their_settings(trained):
    trained.call("export_bids", "export_phenotypes")
    assert NOTHING in trained.call("export_bids", "export_phenotypes")
    trained.change("export.ids", "eids")
    assert trained.rules("export_bids", "export_phenotypes") == {"export_bids"}
    trained.change("export.measures", ["total_ml"])
    assert trained.rules() == {"summary", "report"}, "the configuration is written down"
    assert trained.rules("export_bids", "export_phenotypes") == {"export_phenotypes"}


def test_no_rule_declares_a_folder_as_output():
    for path in Path(ROOT / "workflow").rglob("*.smk"):
        assert "directory(" not in path.read_text(), path.name
