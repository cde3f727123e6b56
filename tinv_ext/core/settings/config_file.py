"""What config.json in the folder of a run holds, and how one that an older version wrote is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.core.settings.aliases import current_names, facts_by_current_names

if TYPE_CHECKING:
    from tinv_ext.core.settings.config import TrainConfig

VERSION = 2
BEFORE_PRESETS = "classic"
"""What a run began with where its file names no preset: settings that it does not have were at these values."""
BEFORE_SETTINGS = {"ema_inv_gamma": 9.0, "downweight_odd_images": False, "name_background": False}
"""What held for every run, whatever its preset, before there was such a setting."""


def to_file(config: TrainConfig, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The content of config.json: version, settings, and what was known when the run began."""
    return {"version": VERSION, "settings": config.to_dict(), "facts": dict(facts)}


def version_of(content: Mapping[str, Any]) -> int:
    """The version of a config.json, 1 where it names none. ValueError if what it names is no number."""
    version = content.get("version", 1)
    try:
        return int(version)
    except (TypeError, ValueError, OverflowError) as error:  # 1e400 is infinite
        raise ValueError(f"its version is no number but {version!r}") from error


def from_file(content: Any) -> dict[str, Any]:
    """The content of a config.json of any version as `to_file` would write it now.

    `InputError` if a newer version wrote it; ValueError if it is something else.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("settings"), Mapping):
        raise ValueError("it has no settings")
    version = version_of(content)
    if version > VERSION:
        raise InputError(
            message(
                "settings.config_too_new",
                "This config.json is of version {version}, which a newer tinv wrote; this one reads up to version "
                "{known}. Update tinv.",
                version=version,
                known=VERSION,
            )
        )
    settings, facts = dict(content["settings"]), content.get("facts")
    facts = dict(facts) if isinstance(facts, Mapping) else {}
    settings = {"preset": BEFORE_PRESETS, **BEFORE_SETTINGS, **settings} if settings else {}
    if version == 1:
        settings, facts = current_names(settings), facts_by_current_names(facts)
    return {**content, "version": VERSION, "settings": settings, "facts": facts}
