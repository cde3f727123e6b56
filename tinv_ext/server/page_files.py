"""The page's script and styles, the same way in every program.

A WebUI serves an extension's files by itself, but a browser would mix those of before and after an update: the modules
import each other without the number that a WebUI adds to an address. Here the version is a part of the path.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel has them inside the package (setup.py); a clone has them where WebUIs look for scripts.
ASSETS = _PACKAGE / "assets" if (_PACKAGE / "assets").is_dir() else _PACKAGE.parent
FOLDER = ASSETS / "javascript" / "tinv"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}  # as Windows' registry may not say


_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


def files() -> dict[str, Path]:
    """Every file of the page's script by its path below `FOLDER`, in their order; nothing else is ever served."""
    root, found = str(FOLDER), {}
    for folder, _, names in os.walk(root):  # quicker than pathlib, and the WebUI's start waits for it
        for name in names:
            if os.path.splitext(name)[1] in TYPES:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, root).replace(os.sep, "/")] = Path(path)
    return dict(sorted(found.items()))


def file_at(path: str) -> Path | None:
    """One of `files` without a look at the others, None where there is none."""
    parts = path.split("/")
    file = FOLDER.joinpath(*parts)
    if all(map(_NAME.fullmatch, parts)) and file.suffix in TYPES and file.is_file():
        return file
    return None


def version(found: Mapping[str, Path]) -> str:
    """Another text whenever one of the files is another."""
    written = "".join(f"{name} {os.stat(path).st_mtime_ns}\n" for name, path in found.items())
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def modules(part: str, found: Mapping[str, Path]) -> list[str]:
    """What a part begins with: its own modules, those of all parts and the libraries, by their paths as in `files`."""
    own = ("", part, "vendor")
    return [name for name in found if name.endswith(".js") and name.rpartition("/")[0] in own]
