"""What the documentation says of the program is what the program says of itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.once


def test_generated_files_are_true() -> None:
    """`make docs` would change nothing: the tables of settings, and the settings' part of the page's Chinese."""
    tool = ROOT / "tools" / "docs.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False).returncode == 0
