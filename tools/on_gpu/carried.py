"""Packages that a machine without a network lacks, carried along in a folder: diffusers, and what it imports besides.

    python -m tools.on_gpu.carried build/gpu-packages

copies them from the environment that runs this, without what training Stable Diffusion has no use for.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from pathlib import Path

FOLDER = Path("build") / "gpu-packages"
# What diffusers asks for when it is imported, and those ask for, beyond what transformers brings.
PACKAGES = ("diffusers", "importlib_metadata", "zipp", "requests", "charset-normalizer", "idna", "urllib3", "certifi")
# Folders of diffusers that are other models' or programs of its own; pipelines are kept by name.
_OMITTED = {"modular_pipelines", "commands", "experimental"}
_PIPELINES = {"stable_diffusion", "stable_diffusion_xl"}


def put_on_path(folder: Path) -> None:
    """Have Python look into the folder for packages that are not installed."""
    if folder.is_dir() and str(folder) not in sys.path:
        sys.path.append(str(folder.resolve()))


def carry(folder: Path) -> int:
    """Copy the packages, with the metadata that their importers ask for; bytes of the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in PACKAGES:
        found = importlib.metadata.distribution(name)
        for file in found.files or ():
            source = Path(str(found.locate_file(file)))
            if file.suffix in (".pyc", ".so", ".pyd") or ".." in file.parts or _omitted(file.parts):
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _omitted(parts: tuple[str, ...]) -> bool:
    if len(parts) < 3 or parts[0] != "diffusers":
        return False
    if parts[1] == "pipelines" and len(parts) > 3:
        return parts[2] not in _PIPELINES
    return parts[1] in _OMITTED


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    print(f"{given}: {carry(given) / 2**20:.1f} MB")
