"""Fixtures every test folder shares."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # `make test` is no parent of a test's own make
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of public reference data beside the project; optional."""
    folder = ROOT.parent / "shared" / "reference"
    if not folder.is_dir():
        pytest.skip("../shared/reference is absent: real reference data not tested")
    return folder
