"""Several command lines in one process, as a test that asks for many does: to import everything takes as long as most
commands. `python -m tests.many_commands` has them as JSON on its standard input, lists of arguments, each with the
environment that it adds; it answers with exit code, output and errors of each.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from tests.paths import ROOT

Ended = subprocess.CompletedProcess[str]


def many(
    commands: Sequence[tuple[Sequence[str], Mapping[str, str]]], folder: Path, environment: Mapping[str, str]
) -> list[Ended]:
    """Carry them out one after the other in a process of its own that works in a folder."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.many_commands"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        input=json.dumps([[list(arguments), dict(more)] for arguments, more in commands]),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    return [Ended(list(arguments), *one) for (arguments, _), one in zip(commands, told, strict=True)]


def main() -> None:
    """In that process."""
    from tinv_ext.cli.main import main as command_line

    told = []
    for arguments, more in json.load(sys.stdin):
        os.environ.update(more)
        with redirect_stdout(io.StringIO()) as output, redirect_stderr(io.StringIO()) as errors:
            code = command_line(arguments)
        told.append((code, output.getvalue(), errors.getvalue()))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
