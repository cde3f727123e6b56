"""The memory fallbacks that a run starts with: those its settings turn on, and those in use when it was stopped.

What happens when memory runs out on the way is in `core/training/fallbacks.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tinv_ext.core.messages import message
from tinv_ext.core.settings import TrainConfig
from tinv_ext.core.training.fallbacks import Fallbacks

KEPT = "given_up"
"""The fact of a state that holds `Fallbacks.facts`."""
_MOST_PRECISE = 8  # steps of precision that a file can ask for; no model has as many


def fallbacks_of(
    config: TrainConfig, tell: Callable[[str], None], before: Mapping[str, Any] | None = None
) -> Fallbacks:
    """The fallbacks that a run starts with; `before` are the facts of the state from which it resumes.

    A batch in other pieces gives the same gradient but for rounding, so a run goes on in the pieces in which it
    stopped, unless the batch or its pieces are set anew.
    """
    at_once = config.micro_batch_size or config.batch_size
    fallbacks = Fallbacks(
        tell,
        gradient_checkpointing=config.gradient_checkpointing == "on",
        pieces=-(-config.batch_size // at_once),
        may_checkpoint=config.gradient_checkpointing != "off",
    )
    by_hand = fallbacks.facts()
    _take_up(fallbacks, before or {}, config)
    if fallbacks.facts() != by_hand:
        told = [*settings_that_fit(fallbacks, config.batch_size), *([_PRECISION] if fallbacks.precise else [])]
        tell(message("run.as_it_stopped", "The run goes on with what it needed before: {settings:, }.", settings=told))
    return fallbacks


_PRECISION = message("run.higher_precision", "higher precision")


def _take_up(fallbacks: Fallbacks, before: Mapping[str, Any], config: TrainConfig) -> None:
    """Give up what the run had given up when its state was saved, where its settings leave that open."""
    kept = before.get(KEPT)
    kept = {key: value for key, value in kept.items() if type(value) is int} if isinstance(kept, Mapping) else {}
    settings = before.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    fallbacks.precise = min(max(0, kept.get("precise", 0)), _MOST_PRECISE)
    if fallbacks.may_checkpoint and kept.get("gradient_checkpointing"):
        fallbacks.gradient_checkpointing = True
    if all(settings.get(name) == getattr(config, name) for name in ("batch_size", "micro_batch_size")):
        fallbacks.pieces = min(max(fallbacks.pieces, kept.get("pieces", 1)), config.batch_size)


def settings_that_fit(fallbacks: Fallbacks, batch_size: int) -> list[str]:
    """The settings with which a run begins as these fallbacks have left it, as "name=value"."""
    settings = ["gradient_checkpointing=on"] if fallbacks.gradient_checkpointing else []
    return settings + ([f"micro_batch_size={-(-batch_size // fallbacks.pieces)}"] if fallbacks.pieces > 1 else [])
