"""Masks of other tools: where they lie, and which label numbers each tool gives."""

import csv
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from iliopsoas.config import values
from iliopsoas.config.section import Section
from iliopsoas.config.values import Count, LocalPath


@cache
def presets() -> dict[str, dict]:
    """Tools whose label numbers are known: preset -> a row of presets.tsv, labels as lists."""
    return _presets("presets.tsv", ("left", "right"))


def _presets(name: str, numbers) -> dict[str, dict]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return {
        row["preset"]: row | {key: [int(n) for n in row[key].split(",")] for key in numbers}
        for row in rows
    }


@cache
def vertebra_presets() -> dict[str, dict]:
    """Tools whose numbers of L3 to L5 are known: preset -> a row of vertebra_presets.tsv."""
    return _presets("vertebra_presets.tsv", ("L3", "L4", "L5"))


class Vertebrae(Section):
    """Vertebra masks of another tool, for the levels L3 to L4/5 in place of our landmarks."""

    folder: LocalPath = Field(description="Folder of the tool's results.")
    file: str = Field(
        "{subject}.nii.gz",
        description="Label image below the folder; {subject} stands for <EID>_<instance>, {eid} and"
        " {instance} for its parts. Who has none keeps the levels of the landmarks.",
    )
    preset: str | None = Field(
        None,
        description="Tool whose label numbers are used, a name of"
        " iliopsoas/config/vertebra_presets.tsv such as totalspineseg; else the labels below.",
    )
    l3: list[Count] = Field([], description="Label values that are L3.")
    l4: list[Count] = Field([], description="Label values that are L4.")
    l5: list[Count] = Field([], description="Label values that are L5.")

    @property
    def labels(self) -> dict[str, list[int]]:
        """Vertebra to its label values."""
        if self.preset:
            return {name: vertebra_presets()[self.preset][name] for name in ("L3", "L4", "L5")}
        return {"L3": self.l3, "L4": self.l4, "L5": self.l5}

    @field_validator("file")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        return values.file_pattern(pattern)

    @model_validator(mode="after")
    def _known_labels(self):
        given = {name: numbers for name in ("l3", "l4", "l5") if (numbers := getattr(self, name))}
        if self.preset:
            if self.preset not in vertebra_presets():
                raise ValueError(
                    f"preset: expected one of {sorted(vertebra_presets())}, found {self.preset!r}"
                )
            if given:
                raise ValueError(f"expected a preset or labels, found both: {sorted(given)}")
        elif len(given) < 3:
            raise ValueError(f"expected a preset, or l3, l4 and l5, found {sorted(given)}")
        elif len(set().union(*given.values())) < sum(map(len, given.values())):
            raise ValueError(f"l3, l4 and l5: expected different labels, found {given}")
        return self


class OtherMethod(Section):
    """Iliopsoas masks of another tool, measured and judged like this run's."""

    name: Annotated[str, AfterValidator(values.method_name)] = Field(
        description="Name in tables and folders, such as totalsegmentator."
    )
    folder: LocalPath = Field(
        description="Folder of the tool's results; with a command it is filled."
    )
    command: Annotated[str, AfterValidator(values.tool_command)] | None = Field(
        None,
        description="Shell command that draws the masks: {input} and {output} stand for one"
        " participant's image and mask (or folder of masks, where the sides have files of their"
        " own), or {inputs} and {outputs} for folders of many. Empty: the masks are there.",
    )
    contrast: Literal["water", "fat", "in_phase", "fat_fraction"] = Field(
        "water",
        description="Image that the command gets; the last two need `dixon: contrasts`.",
    )
    left_file: str = Field(
        "{subject}.nii.gz",
        description="File below the folder that holds the left muscle; {subject} stands for "
        "<EID>_<instance>, {eid} and {instance} for its parts.",
    )
    right_file: str = Field(
        "{subject}.nii.gz", description="Likewise the right muscle; the same file or another."
    )
    preset: str | None = Field(
        None,
        description="Tool and version whose label numbers are used, a name of "
        "iliopsoas/config/presets.tsv such as vibesegmentator_100; instead of the labels below.",
    )
    left_labels: list[Count] = Field(
        [1], min_length=1, description="Label values that are the left iliopsoas."
    )
    right_labels: list[Count] = Field(
        [2], min_length=1, description="Label values that are the right iliopsoas."
    )

    @model_validator(mode="before")
    @classmethod
    def _labels_of_preset(cls, given):
        name = given.get("preset") if isinstance(given, dict) else None
        if name is None:
            return given
        if name not in presets():
            raise ValueError(f"preset: expected one of {sorted(presets())}, found {name!r}")
        labels = {f"{side}_labels": presets()[name][side] for side in ("left", "right")}
        for key, numbers in labels.items():
            if given.get(key, numbers) != numbers:
                raise ValueError(
                    f"{key}: {given[key]} contradicts preset {name}, which has {numbers}"
                )
        return given | labels

    @field_validator("left_file", "right_file")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        return values.file_pattern(pattern)

    @model_validator(mode="after")
    def _sides_differ(self):
        if self.left_file == self.right_file:
            if both := set(self.left_labels) & set(self.right_labels):
                raise ValueError(
                    "left_labels and right_labels must differ where both muscles are in one file, "
                    f"found {sorted(both)} in both"
                )
        elif not {"left_labels", "right_labels"} <= self.model_fields_set:
            raise ValueError(
                "left_file and right_file are two files: expected left_labels and right_labels "
                "too, found the default of one file with both muscles (a file of one muscle "
                "usually holds label 1)"
            )
        return self
