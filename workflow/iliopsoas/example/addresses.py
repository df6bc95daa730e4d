"""Where the example's files are, and what they must be: config/example.yaml."""

from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator

from iliopsoas.config import Section
from iliopsoas.status import InputError


class Address(Section):
    """One file to fetch."""

    url: str = Field(description="Address, http or https.")
    name: str | None = Field(None, description="Name in the folder; default: the address's.")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = Field(
        None, description="SHA-256 that the file must have."
    )
    bytes: Annotated[int, Field(ge=1)] | None = Field(None, description="Its size.")

    @field_validator("url")
    @classmethod
    def _is_web(cls, url):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("expected an address that begins with http:// or https://")
        return url

    @property
    def filename(self) -> str:
        """Base name in the folder."""
        return Path(self.name or unquote(urlsplit(self.url).path)).name


class Files(Section):
    """The scan, the weights, and what was published of that person."""

    scan: Address
    weights: Address
    left: Address
    right: Address
    landmarks: Address
    water: Address
    fat: Address
    body: Address


class Example(Section):
    """config/example.yaml."""

    folder: str = Field("resources/example", description="Where the files are kept.")
    files: Files

    def addresses(self) -> dict[str, Address]:
        """Role to address."""
        return dict(self.files)

    def path(self, role: str) -> Path:
        """Where the file of a role is kept."""
        return Path(self.folder) / self.addresses()[role].filename


def load(path) -> Example:
    """Read config/example.yaml.

    Raises
    ------
    InputError
        It is absent, is no YAML, or a key is wrong; the message names it.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected YAML; {error}") from None
    try:
        example = Example.model_validate(content)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, item['loc']))}: {item['msg']} (found {item['input']!r:.80})"
            for item in error.errors()
        ]
        raise InputError(f"{path} cannot be used:\n" + "\n".join(lines)) from None
    names = [address.filename for address in example.addresses().values()]
    if len(set(names)) < len(names):
        raise InputError(f"{path}: two files have the same name; give one another with `name`")
    return example
