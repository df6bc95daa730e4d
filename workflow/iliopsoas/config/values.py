"""Types of single values: what is refused or brought to one form wherever it stands."""

import re
import sys
from itertools import pairwise
from pathlib import PurePosixPath
from string import Formatter
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field

from iliopsoas import machine

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Visit = Literal[2, 3]
TOOL_PLACES = (("input", "output"), ("inputs", "outputs"))  # of a participant, of many
Item = TypeVar("Item")

# what the synthetic cohort can plant, with its arguments (iliopsoas.phantom); a test compares
FAULTS = {
    "swapped": "station [leg]",
    "exchanged": "station part",
    "moved": "station millimetres",
    "metal": "station side",
    "masked": "station",
    "body_part": "[part]",
    **dict.fromkeys(("noisy", "dim", "ghost", "missing", "repeated"), "station"),
    **dict.fromkeys(("missing_channel", "empty"), "station channel"),
    "drop_slice": "station channel [index]",
    "constant": "station channel [value]",
    "gap": "station [millimetres]",
    "unequal": "station [channel] [rows] [columns]",
    "flipped": "[axes]",
    "oblique": "[degrees]",
    "rescale": "[slope] [intercept]",
    "transfer_syntax": "name",
    "two_people": "[from_station]",
    "manifest": "[name]",
    "thousands": "[count]",
    "bomb": "[megabytes]",
    "truncated": "[share]",
    **dict.fromkeys(
        ("rotated", "coronal", "shuffled_numbers", "letter_case", "newer_software", "no_dixon"), ""
    ),
    "two_reconstructions": "",
    **dict.fromkeys(("wrong_body_part", "scouts", "report", "junk", "surplus", "traversal"), ""),
    **dict.fromkeys(("not_a_zip", "flipped_bytes"), ""),
}


def _printable(text: str) -> str:
    if not text.strip():
        raise ValueError("expected a path, found nothing")
    if not text.isprintable():
        raise ValueError("expected a path, found characters that cannot be printed")
    encoding = sys.getfilesystemencoding()
    if not text.isascii() and encoding != "utf-8":
        raise ValueError(
            f"file names are {encoding} in this locale, so this one would not be found: set the "
            "environment variable PYTHONUTF8=1"
        )
    if "://" in text:
        raise ValueError("expected a path on this machine, found an address")
    return text


def local_path(text: str) -> str:
    """A path in the one form that Snakemake and the package share.

    A leading ``~`` and environment variables are resolved, doubled and last slashes and a leading
    ``./`` go.
    """
    text = machine.expand(_printable(text))
    if found := re.search(r"[{}]", text):
        raise ValueError(f"expected a path without Snakemake's wildcards, found {found[0]}")
    return re.sub("^//", "/", str(PurePosixPath(text)))


def own_folder(text: str) -> str:
    """A folder that is nobody else's: not the working folder or one above it."""
    if set(PurePosixPath(text).parts) <= {".", "..", "/"}:
        raise ValueError(f"expected a folder of its own, such as results, found {text}")
    return text


def below_results(pattern: str) -> str:
    """A pattern of files below the results folder."""
    path = PurePosixPath(_printable(pattern))
    if path.is_absolute() or ".." in path.parts or pattern.startswith("~"):
        raise ValueError("expected a pattern below the results folder, without ..")
    return pattern


def file_pattern(pattern: str) -> str:
    """A participant's file below a folder, with ``{subject}``, or ``{eid}`` and ``{instance}``."""
    path = PurePosixPath(_printable(pattern))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("expected a path below the folder, without ..")
    try:
        one, other = (pattern.format(subject=s, eid=s, instance=s) for s in "ab")
    except (KeyError, IndexError, ValueError, AttributeError):
        one = other = ""
    if one == other or not ("{subject}" in pattern or "{eid}" in pattern):
        raise ValueError("expected {subject}, or {eid} and {instance}")
    return pattern


def tool_command(text: str) -> str:
    """A shell command with places for its input and its output."""
    known = {name: "" for pair in TOOL_PLACES for name in pair}
    found = {name for _, name, _, _ in _pieces(text) if name is not None}
    if found not in ({*pair} for pair in TOOL_PLACES) or not found <= set(known):
        raise ValueError(
            "expected {input} and {output}, or {inputs} and {outputs}, and other braces doubled; "
            f"found {sorted(found) or 'none of them'}"
        )
    return text


def _pieces(text: str) -> list:
    try:
        return list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"expected braces around names alone, other braces doubled: {error}")  # noqa: B904


def method_name(text: str) -> str:
    """Another method's name, which is part of the names of files and columns."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", text) or text in {"own", "iliopsoas"}:
        raise ValueError(
            "expected a lower-case letter, then letters, digits and underscores, and neither own "
            "nor iliopsoas, which are this run's"
        )
    return text


def tag(text: str) -> str:
    """A plain name, as of a folder."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,63}", text):
        raise ValueError("expected a letter, then letters, digits, dots, hyphens or underscores")
    return text


def sha256(text: str) -> str:
    """A SHA-256 in hexadecimal."""
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text.strip()):
        raise ValueError(
            f"expected the 64 hexadecimal digits of a SHA-256, found {len(text.strip())} characters"
        )
    return text.strip().lower()


def age_groups(groups: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Inclusive groups, youngest first, nobody in two of them."""
    for first, last in groups:
        if not 0 <= first <= last:
            raise ValueError(f"expected the younger age first, found {first}-{last}")
    for (first, last), (start, end) in pairwise(groups):
        if start <= last:
            raise ValueError(
                "expected groups from young to old that share no age, found "
                f"{first}-{last} before {start}-{end}"
            )
    return groups


def fault(text: str) -> str:
    """A fault of the synthetic cohort, ``name`` or ``name:argument:argument``."""
    name, *arguments = text.split(":")
    if name not in FAULTS:
        raise ValueError(f"unknown fault; known: {', '.join(sorted(FAULTS))}")
    names = FAULTS[name].split()
    least = sum(not item.startswith("[") for item in names)
    usage = ":".join([name, *names])
    if not least <= len(arguments) <= len(names):
        raise ValueError(f"expected {usage}")
    for item, argument in zip(names, arguments, strict=False):
        if "station" in item and argument not in set("123456"):
            raise ValueError(f"expected {usage} with a station from 1 to 6")
    return text


def _unique(items: list) -> list:
    twice = sorted({str(item) for item in items if items.count(item) > 1})
    if twice:
        raise ValueError(f"expected each once, found {', '.join(twice)} more than once")
    return items


LocalPath = Annotated[str, AfterValidator(local_path), "path"]
ResultsPath = Annotated[LocalPath, AfterValidator(own_folder)]
# resolved where it is used: a variable may differ between nodes
NodePath = Annotated[str, AfterValidator(_printable), "path"]
Tag = Annotated[str, AfterValidator(tag)]
Unique = Annotated[list[Item], AfterValidator(_unique)]
