"""The settings of a run: values, limits, labels and help; from here come flags, page, config.json and their checks."""

from __future__ import annotations

from tinv_ext.core.settings.config import ABOUT, DEFAULTS, GROUPS, TrainConfig

__all__ = ["ABOUT", "DEFAULTS", "GROUPS", "TrainConfig"]
