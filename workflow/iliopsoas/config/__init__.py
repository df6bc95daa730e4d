"""Typed configuration: one model per section, the paper's values as defaults.

The key list in config/README.md is generated from these models (``make config-docs``); a test
fails where they drift. `load` is the one way in: what it returns is checked as a whole.
"""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError, model_validator

from iliopsoas import starter
from iliopsoas.config import consistency
from iliopsoas.config.other_tools import OtherMethod, Vertebrae, presets, vertebra_presets
from iliopsoas.config.section import Section
from iliopsoas.config.sections import (
    Cohort,
    Crops,
    Dixon,
    Egress,
    Export,
    Figures,
    Landmarks,
    Network,
    Phantom,
    QualityControl,
    Release,
    Run,
    Segmentation,
    Statistics,
    Training,
    Volumes,
)
from iliopsoas.config.values import LocalPath, ResultsPath, Tag, Unique
from iliopsoas.status import InputError

__all__ = [
    "Config",
    "OtherMethod",
    "QualityControl",
    "Release",
    "Run",
    "Section",
    "Vertebrae",
    "load",
    "presets",
    "vertebra_presets",
]


class Config(Section):
    """The whole configuration."""

    results: ResultsPath = Field("results", description="Folder of all outputs.")
    releases: list[Release] = Field(min_length=1, description="Data releases, oldest first.")
    release_tag: Tag | None = Field(
        None,
        description="Tag, a letter first, under which `snakemake freeze` keeps the results, and"
        " with which `snakemake drift` compares them.",
    )
    withdrawals: Unique[LocalPath] = Field([], description="UK Biobank withdrawal files (w*.csv).")
    phantom: Phantom | None = Field(None, description="Synthetic cohort; leave out for real data.")
    cohort: Cohort = Cohort()
    dixon: Dixon = Dixon()
    landmarks: Landmarks = Landmarks()
    crops: Crops = Crops()
    network: Network = Network()
    training: Training = Training()
    segmentation: Segmentation = Segmentation()
    volumes: Volumes = Volumes()
    vertebrae: Vertebrae | None = Field(
        None, description="Vertebra masks of another tool; leave out for levels of our landmarks."
    )
    qc: QualityControl = QualityControl()
    other_methods: list[OtherMethod] = Field(
        [], description="Masks of other tools, compared with this run's."
    )
    statistics: Statistics = Statistics()
    figures: Figures = Figures()
    egress: Egress = Egress()
    export: Export = Export()
    run: Run = Run()

    @model_validator(mode="after")
    def _fits_together(self):
        if complaints := consistency.complaints(self):
            raise ValueError("\n".join(complaints))
        return self

    @model_validator(mode="after")
    def _starter_where_nothing_else(self):
        """Name the starter network's file where it is asked for, or nothing else can be used."""
        weights = self.segmentation.weights
        if weights is None and not any(release.annotations for release in self.releases):
            weights = starter.NAME
        if weights == starter.NAME:
            if self.segmentation.ensemble:
                raise ValueError(
                    "segmentation.ensemble: expected annotations to train fold models on; without"
                    " them the starter network is used, which is one"
                )
            chosen = self.segmentation.model_copy(update={"weights": str(starter.WEIGHTS)})
            object.__setattr__(self, "segmentation", chosen)
        if weights and self.segmentation.threshold == "calibrated":
            raise ValueError(
                "segmentation.threshold: calibrated is chosen in cross-validation, but nothing is"
                " trained here; expected a number, or nothing for the weights' own"
            )
        return self


def load(source) -> Config:
    """Validate a configuration.

    Parameters
    ----------
    source : dict or path
        A mapping (Snakemake's ``config``) or a YAML file.

    Returns
    -------
    Config
        With every path in one form: ``~`` and environment variables resolved, no last slash.

    Raises
    ------
    InputError
        Naming every wrong key, what was found and what was expected.
    """
    if isinstance(source, str | Path):
        source = _read(source)
    if not isinstance(source, dict):
        raise InputError(
            f"The configuration cannot be used: expected keys and values, found {source!r:.80}"
        )
    try:
        return Config.model_validate(source)
    except ValidationError as error:
        lines = [line for item in error.errors() for line in _sentences(item)]
        raise InputError("The configuration cannot be used:\n" + "\n".join(lines)) from None


def _read(path):
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {path}: no YAML: {error}") from None


def _sentences(item) -> list[str]:
    """One complaint of Pydantic's, or several of `consistency`, as lines."""
    where = ".".join(str(part) for part in item["loc"])
    message, found = item["msg"].removeprefix("Value error, "), item["input"]
    if item["type"] == "extra_forbidden":
        message = "unknown key"
    elif item["type"] != "missing" and found is None:
        message = f"is empty: leave the key out for its default ({message})"
    if item["type"] == "missing" or isinstance(found, dict):
        shown = ""  # the message says what was found
    else:
        shown = f" (found {found!r:.80})"
    return [f"  {where}: {line}{shown}" if where else f"  {line}" for line in message.split("\n")]
