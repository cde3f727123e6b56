"""What one of several words has of its own, beside its name, its images and how it begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinv_ext.core.messages import message
from tinv_ext.core.settings.setting import Setting

OWN: Mapping[str, Any] = {"lr_factor": 1.0, "learning_rate": "", "train": True, "stop_training_after": 0}
"""What only a word has, with its defaults."""


def _rate(text: str) -> list[str]:
    """What is wrong with the learning rate of a single word."""
    try:
        rate = float(text) if text.strip() else 1.0
    except ValueError:
        rate = math.nan
    if rate > 0 and math.isfinite(rate):
        return []
    return [message("settings.rate_of_a_word", "it must be one number above 0, not {rate}.", rate=text)]


ABOUT_OWN: Mapping[str, Setting] = {
    "lr_factor": Setting(
        message("settings.lr_factor", "Factor of the learning rate"),
        message("settings.lr_factor_help", "Its steps are so many times as long as those of the run."),
        minimum=0.0,
        maximum=1000.0,
    ),
    "learning_rate": Setting(
        message("settings.word_rate", "Learning rate of the word"),
        message("settings.word_rate_help", "As a number, beside a run with one constant rate. Empty: that of the run."),
        check=_rate,
    ),
    "train": Setting(
        message("settings.word_train", "Train"), message("settings.word_train_help", "Off: it is not changed.")
    ),
    "stop_training_after": Setting(
        message("settings.stop_training_after", "Stop training after"),
        message("settings.stop_training_after_help", "From this step on it is not changed; 0 = to the end."),
        minimum=0,
    ),
}
"""What only a word has, as settings say of themselves; the defaults are in `OWN`."""
