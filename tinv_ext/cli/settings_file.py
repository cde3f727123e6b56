"""Settings from a file that somebody names with --config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.settings import config_file


def read_settings_file(path: Path) -> dict[str, Any]:
    """Settings by name from TOML or JSON; the config.json of a run is one too."""
    try:
        data = path.read_bytes()
        values = json.loads(data) if path.suffix.lower() == ".json" else _toml(data.decode("utf-8"))
        if isinstance(values, dict) and isinstance(values.get("settings"), dict):
            values = config_file.from_file(values)["settings"]
    except OSError as error:
        raise InputError(
            message(
                "cli.config_unreadable",
                'The settings file "{path}" cannot be read: {reason}.',
                path=path,
                reason=error.strerror or error,
            )
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(
            message(
                "cli.config_invalid",
                'The settings file "{path}" is not valid TOML or JSON: {error}.',
                path=path,
                error=error,
            )
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            message(
                "cli.config_no_names",
                'The settings file "{path}" must contain names with values, such as steps = 500.',
                path=path,
            )
        )
    return values


def _toml(text: str) -> Any:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[no-redef]
        except ImportError:
            raise InputError(
                message(
                    "cli.no_toml",
                    "Reading TOML needs Python 3.11 or the package tomli. Install tomli, or use JSON.",
                )
            ) from None
    return tomllib.loads(text)
