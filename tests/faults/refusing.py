"""An operating system that refuses to open some files for writing."""

from __future__ import annotations

import builtins
import io
import os
from pathlib import Path
from typing import Any

import pytest

from tinv_ext.run import curve


class Refusing:
    """While patched in, a file whose path holds `part` cannot be opened for writing until it is `mended`."""

    def __init__(self, patch: pytest.MonkeyPatch, part: str, code: int) -> None:
        self.part, self.code, self.refused = part, code, 0
        real, files = builtins.open, curve.FileIO

        def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            self.look(path, mode)
            return real(path, mode, *args, **kwargs)

        def file_io(path: Any, mode: str = "r") -> Any:
            self.look(path, mode)
            return files(path, mode)

        patch.setattr(builtins, "open", opened)
        patch.setattr(io, "open", opened)  # which Path.open calls
        patch.setattr(curve, "FileIO", file_io)

    def look(self, path: Any, mode: str) -> None:
        """Raise if this is what is refused."""
        if self.part and mode[:1] in "wxa" and self.part in Path(str(path)).as_posix():
            self.refused += 1
            raise OSError(self.code, os.strerror(self.code), str(path))

    def mend(self) -> None:
        """Refuse nothing any more."""
        self.part = ""
