"""The page's script and styles, the same way in every program.

A WebUI serves an extension's files by itself, but a browser would mix those of before and after an update: the modules
import each other without the number that a WebUI adds to an address. Here the version is a part of the path.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# A wheel has them inside the package (setup.py); a clone has them where WebUIs look for scripts.
ASSETS = _PACKAGE / "assets" if (_PACKAGE / "assets").is_dir() else _PACKAGE.parent
FOLDER = ASSETS / "javascript" / "tinv"
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}  # as Windows' registry may not say


def files() -> dict[str, Path]:
    """Every file of the page's script by its path below `FOLDER`; nothing else is ever served."""
    found = (path for path in sorted(FOLDER.rglob("*")) if path.suffix in TYPES and path.is_file())
    return {path.relative_to(FOLDER).as_posix(): path for path in found}


def version() -> str:
    """Another text whenever one of the files is another."""
    written = "".join(f"{name} {path.stat().st_mtime_ns}\n" for name, path in files().items())
    return hashlib.sha256(written.encode()).hexdigest()[:16]


def modules(part: str) -> list[str]:
    """What a part begins with: its own modules, those of all parts and the libraries, by their paths as in `files`."""
    own = ("", part, "vendor")
    return [name for name in files() if name.endswith(".js") and name.rpartition("/")[0] in own]
