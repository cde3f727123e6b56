"""Fuzzing of the unpickler, PNG and layout readers, guided by coverage: python -m tests.hostile.fuzzing --seconds 600

Each reader is fuzzed by atheris in a process of its own, beginning with the good files of `corpus`. Any exception but a
FormatError, more than 20 seconds or 2 GB of memory is a crash, whose input is kept. Exits with 1 if there is one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.hostile.corpus import good_files
from tests.paths import ROOT

TARGETS = ("unpickler", "png", "layouts")


def target_of(name: str, folder: Path) -> Callable[[bytes], None]:
    """What is called with the bytes of one input."""
    from tinv_ext.core.errors import FormatError
    from tinv_ext.core.formats import read_all
    from tinv_ext.core.formats.image_read import read_image_values
    from tinv_ext.core.formats.torch_read import read_torch

    file = folder / f"{name}.file"

    def once(data: bytes) -> None:
        try:
            if name == "unpickler":
                read_torch(data)
                return
            file.write_bytes(data)
            if name == "png":
                read_image_values(file)
            else:
                read_all(file)
        except FormatError:  # the sentence that is wanted
            return

    return once


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one reader in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["tinv_ext.core.formats", "tinv_ext.core.embedding"]):
        import tinv_ext.core.formats  # noqa: F401
    inputs = folder / f"{name}-inputs"
    inputs.mkdir()
    for kind, data in good_files(folder / f"{name}-good").items():
        if kind.startswith(("embedding", "checkpoint")):
            (inputs / kind.replace(" ", "-")).write_bytes(data)
    flags = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-max_len=65536",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={ROOT}/fuzz-{name}-", str(inputs)], target_of(name, folder))
    atheris.Fuzz()


def main() -> int:
    """Fuzz every reader for its part of the time, and say how many inputs each was given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--only", choices=TARGETS)
    options = parser.parse_args()
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            fuzz(options.only, options.seconds, Path(folder))
        return 0
    crashed = False
    for name in TARGETS:
        command = [sys.executable, "-m", "tests.hostile.fuzzing", "--only", name]
        ran = subprocess.run(
            [*command, "--seconds", str(options.seconds // len(TARGETS))], cwd=ROOT, capture_output=True, text=True
        )
        executed = re.search(r"number_of_executed_units:\s*(\d+)", ran.stderr)
        crashed |= ran.returncode != 0
        print(f"{name}: {executed[1] if executed else 'no'} inputs, {'CRASHED' if ran.returncode else 'no crash'}")
        if ran.returncode:
            print(ran.stderr[-3000:])
    return int(crashed)


if __name__ == "__main__":
    sys.exit(main())
