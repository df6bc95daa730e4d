"""The site builds without a warning, and every page is in its contents."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "."]
    built = tmp_path / "site"
    done = subprocess.run([*command, str(built)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (built / "docs" / "index.html").read_text()
    for name in (ROOT / "docs").glob("*.md"):
        assert (built / "docs" / name.with_suffix(".html").name).exists()
        assert name.stem == "index" or f'href="{name.stem}.html"' in page, f"{name.name} not listed"
    assert 'href="../config/README.html"' in page
    # nothing is fetched from elsewhere when a page is opened
    assert not re.search(r'<(script|link)[^>]*(src|href)="https?:', page)
