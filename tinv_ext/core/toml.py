"""Reading TOML: of Python itself since 3.11, of a package before."""

from __future__ import annotations

from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message


def parse_toml(text: str) -> dict[str, Any]:
    """The table that a text holds. ValueError where it is no TOML, InputError where nothing here can read it."""
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[no-redef]
        except ImportError:
            raise InputError(
                message(
                    "files.no_toml",
                    "Reading TOML needs Python 3.11 or the package tomli. Install tomli, or use JSON.",
                )
            ) from None
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
