"""What the documentation says of the program is what the program says of itself."""

from __future__ import annotations

import subprocess
import sys

from tests.paths import ROOT


def test_generated_tables_are_true() -> None:
    """`make docs` would change nothing."""
    tool = ROOT / "tools" / "docs.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False).returncode == 0
