"""Configuration: defaults, refusals, generated files."""

from pathlib import Path

import pytest
import yaml

from iliopsoas import config
from iliopsoas.config import pages as config_pages
from iliopsoas.status import InputError

ROOT = Path(__file__).resolve().parents[2]
RELEASE = {"name": "r1", "zips": "zips", "phenotypes": ["table.csv"]}


def test_defaults_are_the_papers():
    settings = config.load({"releases": [RELEASE]})
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
    reference = config.load({"releases": [RELEASE]})
    assert settings.network == reference.network
    assert settings.crops == reference.crops
    assert settings.training == reference.training
    assert settings.phantom is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"traning": {}}, "traning"),
        ({"training": {"epoch": 5}}, "training.epoch"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"releases": []}, "releases"),
        ({"releases": [RELEASE, RELEASE]}, "different names"),
        ({"releases": [RELEASE | {"name": "no spaces"}]}, "releases.0.name"),
        ({"cohort": {"size": "many"}}, "cohort.size"),
    ],
)
def test_a_wrong_key_is_named(change, complaint):
    with pytest.raises(InputError, match=complaint):
        config.load({"releases": [RELEASE]} | change)


def test_generated_files_are_current():
    assert (
        ROOT / "workflow/schemas/config.schema.json"
    ).read_text() == config_pages.json_schema(), "run make config-docs"
    assert (ROOT / "config/README.md").read_text() == config_pages.markdown(), (
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
