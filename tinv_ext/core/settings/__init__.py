"""The settings of a run: values, limits, labels and help; from here come flags, page, config.json and their checks."""

from __future__ import annotations

from tinv_ext.core.settings.aliases import ALIASES, current_names, facts_by_current_names, overridden
from tinv_ext.core.settings.config import DEFAULTS, GROUPS, SETTINGS, TrainConfig

__all__ = [
    "ALIASES",
    "DEFAULTS",
    "GROUPS",
    "SETTINGS",
    "TrainConfig",
    "current_names",
    "facts_by_current_names",
    "overridden",
]
