"""Settings as a person would have given them: without what follows from their preset and purpose."""

from __future__ import annotations

from typing import Any

from tinv_ext.core.settings.config import DEFAULTS, TrainConfig

_TOGETHER = ("optimizer", "learning_rate", "optimizer_args")  # of which none means anything without the others


def fewest(config: TrainConfig) -> dict[str, Any]:
    """The fewest settings by name of which `TrainConfig.from_dict` makes this config."""
    meant = {"preset": config.preset, "purpose": config.purpose}
    usual = TrainConfig.from_dict(meant).to_dict()
    values = config.to_dict()
    differing = {name for name, value in values.items() if value != usual[name]}
    if differing.intersection(_TOGETHER):
        differing.update(_TOGETHER)
        differing.add("preset")
    said = {name: value for name, value in meant.items() if name in differing or value != DEFAULTS[name]}
    return {**said, **{name: value for name, value in values.items() if name in differing}}
