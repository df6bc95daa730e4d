"""Configuration: defaults, refusals, generated files."""

import inspect
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from iliopsoas import config
from iliopsoas.config import pages as config_pages
from iliopsoas.config import values
from iliopsoas.status import InputError

ROOT = Path(__file__).resolve().parents[2]
RELEASE = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}
OTHER = {"name": "other", "folder": "masks"}
PHANTOM = RELEASE | {"zips": "resources/phantom/zips"}


def load(**change):
    return config.load({"releases": [RELEASE]} | change)


def complaint(**change) -> str:
    with pytest.raises(InputError) as caught:
        load(**change)
    return str(caught.value)


def test_defaults_are_the_papers():
    settings = load()
    assert settings.cohort.size == 5000
    assert settings.cohort.age_groups == [(44, 53), (54, 63), (64, 72), (73, 82)]
    assert settings.training.folds == 6
    assert settings.training.epochs == 100
    assert settings.training.batch_size == 3
    assert settings.training.learning_rate == 1e-4
    assert settings.network.base_filters == 8
    assert settings.crops.coarsen == 1
    assert settings.phantom is None


@pytest.mark.parametrize("name", ["config.yaml", "ukbb.yaml"])
def test_shipped_configurations_are_valid(name):
    config.load(ROOT / "config" / name)


def test_the_template_for_real_data_has_the_published_sizes():
    settings = config.load(ROOT / "config" / "ukbb.yaml")
    reference = load()
    assert settings.network == reference.network
    assert settings.crops == reference.crops
    assert settings.training == reference.training
    assert settings.phantom is None


@pytest.mark.parametrize(
    ("change", "where", "said"),
    [
        # keys
        ({"traning": {}}, "traning", "unknown key"),
        ({"training": {"epoch": 5}}, "training.epoch", "unknown key"),
        ({"releases": []}, "releases", "at least 1 item"),
        ({"releases": [RELEASE | {"phenotypes": []}]}, "releases.0.phenotypes", "at least 1"),
        ({"cohort": None}, "cohort", "is empty: leave the key out"),
        # numbers
        ({"training": {"epochs": 0}}, "training.epochs", "found 0"),
        ({"training": {"epochs": True}}, "training.epochs", "found yes"),
        ({"cohort": {"size": "many"}}, "cohort.size", "found 'many'"),
        ({"cohort": {"seed": -1}}, "cohort.seed", "greater than or equal to 0"),
        ({"qc": {"max_loose_percent": float("nan")}}, "qc.max_loose_percent", "finite"),
        ({"qc": {"max_loose_percent": -1}}, "qc.max_loose_percent", "found -1"),
        ({"qc": {"min_volume_ml": 900}}, "qc", "less than max_volume_ml, found 900 and 900"),
        ({"segmentation": {"threshold": 0}}, "segmentation.threshold", "greater than 0"),
        ({"crops": {"coarsen": 4}}, "crops.coarsen", "1, 2, 3 or 6"),
        ({"figures": {"dpi": 100_000}}, "figures.dpi", "found 100000"),
        # age groups
        ({"cohort": {"age_groups": [[54, 63], [63, 72]]}}, "cohort.age_groups", "54-63 before 63-"),
        ({"cohort": {"age_groups": [[53, 44]]}}, "cohort.age_groups", "found 53-44"),
        ({"cohort": {"age_groups": [[64, 72], [44, 53]]}}, "cohort.age_groups", "young to old"),
        ({"cohort": {"age_groups": []}}, "cohort.age_groups", "at least 1 item"),
        # visits
        ({"cohort": {"instances": []}}, "cohort.instances", "at least 1 item"),
        ({"cohort": {"instances": [2, 2]}}, "cohort.instances", "found 2 more than once"),
        ({"cohort": {"instances": [3]}}, "statistics.instance", "found 2, a visit that nobody"),
        ({"statistics": {"repeat_instance": 2}}, "statistics", "found 2 twice"),
        # names
        ({"releases": [RELEASE | {"name": "no spaces"}]}, "releases.0.name", "'no spaces'"),
        ({"release_tag": "../x"}, "release_tag", "expected a letter"),
        (
            {"statistics": {"flag_severities": ["serius"]}},
            "flag_severities.0",
            "'review' or 'note'",
        ),
        ({"run": {"retry": ["timelimit"]}}, "run.retry.0", "time_limit"),
        ({"run": {"retry": ["ok"]}}, "run.retry", "found ok"),
        ({"segmentation": {"weights_sha256": "abc"}}, "weights_sha256", "found 3 characters"),
        # what excludes each other
        (
            {"segmentation": {"weights": "w.h5", "ensemble": True}},
            "segmentation",
            "leave one of the two out",
        ),
        (
            {"segmentation": {"weights": "w.h5", "threshold": "calibrated"}},
            "segmentation.threshold",
            "nothing is trained here",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(change, where, said):
    text = complaint(**change)
    assert where in text
    assert said in text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "found nothing"),
        ("  ", "found nothing"),
        ("a\nb", "cannot be printed"),
        ("data/{eid}", "Snakemake's wildcards, found {"),
        ("s3://bucket/zips", "found an address"),
        ("$ILIOPSOAS_NOT_SET/x", "$ILIOPSOAS_NOT_SET is not set"),
        ("${ILIOPSOAS_NOT_SET}/x", "is not set"),
        ("~nobody_of_this_name/x", "no home folder"),
    ],
)
@pytest.mark.parametrize(
    "key",
    ["results", "releases.zips", "phantom.folder", "segmentation.weights", "landmarks.atlas",
     "withdrawals", "cohort.exclusions", "egress.folder", "qc.decisions"],
)  # fmt: skip
def test_a_path_that_cannot_be_one_is_refused_everywhere(key, path, said):
    section, _, name = key.rpartition(".")
    several = name in ("withdrawals", "exclusions")
    value = {name: [path] if several else path}
    if section == "releases":
        text = complaint(releases=[RELEASE | value])
    else:
        text = complaint(**({section: value} if section else value))
    assert name in text
    assert said in text


def test_paths_have_one_form(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("DATA", "/data")
    release = RELEASE | {"zips": "$DATA//zips/", "phenotypes": ["~/t.csv"], "annotations": "./a/"}
    settings = load(results="results/", releases=[release], egress={"folder": "${DATA}/out/"})
    assert settings.results == "results"
    assert settings.releases[0].zips == "/data/zips"
    assert settings.releases[0].phenotypes == ["/home/me/t.csv"]
    assert settings.releases[0].annotations == "a"
    assert settings.egress.folder == "/data/out"


def test_paths_of_a_node_are_resolved_there():
    assert load(run={"scratch": "$ILIOPSOAS_NOT_SET"}).run.scratch == "$ILIOPSOAS_NOT_SET"
    assert "run.scratch" in complaint(run={"scratch": ""})


def test_a_sha256_is_compared_in_lower_case():
    assert load(segmentation={"weights_sha256": "AB" * 32}).segmentation.weights_sha256 == "ab" * 32


@pytest.mark.parametrize("results", [".", "..", "/", "../..", str(Path.home())])
def test_results_are_a_folder_of_their_own(results, monkeypatch):
    monkeypatch.chdir(Path.home())
    text = complaint(results=results)
    assert "results" in text
    assert "expected a folder of its own" in text


R2 = RELEASE | {"name": "r2", "zips": "zips2"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"releases": [RELEASE, R2 | {"name": "R1"}]}, "expected different names"),
        ({"releases": [RELEASE, R2 | {"zips": "./zips/"}]}, "found zips for r1 and r2"),
        ({"releases": [RELEASE, R2 | {"zips": "zips/new"}]}, "lie in each other"),
        ({"releases": [RELEASE | {"phenotypes": ["a.csv", "./a.csv"]}]}, "a.csv more than once"),
        ({"other_methods": [OTHER, OTHER]}, "expected different names"),
        ({"results": "zips"}, "results: zips is an input, or inside one: the zips of r1"),
        ({"results": "zips/results"}, "inside one: the zips of r1"),
        ({"other_methods": [OTHER], "results": "masks/r"}, "inside one: the masks of other"),
        ({"results": "d", "releases": [RELEASE | {"zips": "d/zips"}]}, "the zips of r1 lies in it"),
        ({"results": "d", "withdrawals": ["d/w1.csv"]}, "d/w1.csv, lies in it"),
        ({"egress": {"folder": "zips"}}, "egress.folder: zips is an input"),
        ({"egress": {"folder": "results"}}, "does not hold the results"),
        ({"results": "a/results", "egress": {"folder": "a"}}, "does not hold the results"),
        ({"egress": {"also": ["../../secret/*"]}}, "below the results folder"),
        ({"phantom": {}}, "phantom: makes synthetic participants in resources/phantom/zips"),
        ({"phantom": {}, "releases": [PHANTOM, R2]}, "do not mix"),
    ],
)
def test_folders_that_get_in_each_other_s_way_are_refused(change, said):
    assert said in complaint(**change)


def test_masks_and_decisions_may_lie_beside_the_results():
    release = RELEASE | {"annotations": "results/annotation"}
    load(releases=[release], qc={"decisions": "results/decided"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"faults": ["swaped:4"]}, "unknown fault; known: body_part"),
        ({"faults": ["missing"]}, "expected missing:station"),
        ({"faults": ["missing:7"]}, "a station from 1 to 6"),
        ({"faults": ["truncated:0.5:1"]}, "expected truncated:[share]"),
        ({"participants": 5, "annotated": 3}, "need at least 7 participants, found 5"),
        ({"participants": 14, "repeats": 11}, "at most the 10 participants without a fault"),
    ],
)
def test_a_synthetic_cohort_that_cannot_be_made_is_refused(change, said):
    assert said in complaint(releases=[PHANTOM], phantom=change)


def test_the_faults_are_those_that_can_be_planted():
    from iliopsoas.phantom import faults

    assert set(values.FAULTS) == {*faults.FAULTS, *faults.ACQUISITION_FAULTS}
    for name, function in faults.FAULTS.items():
        parameters = list(inspect.signature(function).parameters.values())[2:]
        usage = " ".join(
            item.name if item.default is inspect.Parameter.empty else f"[{item.name}]"
            for item in parameters
        )
        assert values.FAULTS[name] == usage, name


def test_the_severities_are_those_of_the_flags():
    from iliopsoas.qc.registry import SEVERITIES

    settings = load(statistics={"flag_severities": list(SEVERITIES)})
    assert settings.statistics.flag_severities == list(SEVERITIES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"left_file": "l/{subject}.nii", "right_file": "r/{subject}.nii"}, "too, found the def"),
        ({"left_labels": [1], "right_labels": [1]}, "must differ"),
        ({"left_file": "left.nii.gz"}, "expected {subject}"),
        ({"left_file": "../{subject}.nii.gz"}, "without .."),
        ({"left_file": "/masks/{subject}.nii.gz"}, "below the folder"),
    ],
)
def test_masks_of_another_tool_that_would_lack_a_side_are_refused(change, said):
    assert said in complaint(other_methods=[OTHER | change])


def test_everything_wrong_is_said_at_once():
    text = complaint(results="zips", phantom={}, cohort={"instances": [3]})
    assert all(word in text for word in ("results:", "phantom:", "statistics.instance:"))
    text = complaint(figures={"dpi": 1}, training={"folds": 1})
    assert "figures.dpi" in text
    assert "training.folds" in text


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "found None"), (b"- a", "found ['a']"), (b"a: [", "no YAML"), (b"a: \xff", "no YAML")],
)
def test_a_file_that_is_no_configuration_is_named(content, said, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        config.load(path)
    assert said in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        config.load(tmp_path / "none.yaml")


def test_generated_files_are_current():
    assert (ROOT / "config/README.md").read_text(encoding="utf-8") == config_pages.markdown(), (
        "run make config-docs"
    )


def test_every_key_has_a_description():
    def walk(model):
        for name, item in model.model_fields.items():
            section = config_pages.section_of(item.annotation)
            if section:
                walk(section)
            else:
                assert item.description, f"{model.__name__}.{name}"

    walk(config.Config)
    walk(config.Release)


def test_template_keys_are_real_yaml():
    assert yaml.safe_load((ROOT / "config/ukbb.yaml").read_text())["network"]["base_filters"] == 8


def test_a_preset_brings_its_labels_and_contradictions_are_refused():
    method = config.OtherMethod(name="mm", folder="masks", preset="musclemap_2")
    assert (method.left_labels, method.right_labels) == ([5121, 6141], [5122, 6142])
    assert config.OtherMethod(name="mine", folder="masks").left_labels == [1]
    today, before = (
        config.presets()[name]
        for name in (
            "totalsegmentator_total_mr",
            "totalsegmentator_total_mr_before_2024_10",
        )
    )
    assert (today["left"], before["left"]) == ([48], [46])
    with pytest.raises(ValidationError, match="contradicts preset"):
        config.OtherMethod(name="v", folder="m", preset="vibesegmentator_100", left_labels=[60])
    with pytest.raises(ValidationError, match="expected one of"):
        config.OtherMethod(name="v", folder="m", preset="vibesegmentator")


def test_every_preset_stands_in_the_documentation():
    page = (Path(__file__).resolve().parents[2] / "docs/other-tools.md").read_text()
    for name, row in config.presets().items():
        (line,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[4] == ", ".join(map(str, row["left"]))
        assert cells[5] == ", ".join(map(str, row["right"]))
