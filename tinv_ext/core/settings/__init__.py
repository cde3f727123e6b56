"""The settings of a run: values, limits, labels and help; from here come flags, page, config.json and their checks."""

from __future__ import annotations

from tinv_ext.core.settings.config import DEFAULTS, GROUPS, SETTINGS, TrainConfig

__all__ = ["DEFAULTS", "GROUPS", "SETTINGS", "TrainConfig"]
