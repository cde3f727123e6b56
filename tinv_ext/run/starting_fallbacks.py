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
    config: TrainConfig,
    tell: Callable[[str], None],
    before: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> Fallbacks:
    """The fallbacks that a run starts with; `before` are the facts of the state from which it resumes.

    A step in other pieces gives the same gradient but for rounding, so a run goes on in the pieces in which it
    stopped, unless its batches or their pieces are set anew. `device` is the type of torch's.
    """
    fallbacks = Fallbacks(
        tell,
        gradient_checkpointing=config.gradient_checkpointing == "on",
        offloaded=config.offload_weights == "on",
        pieces=_pieces(config, device),
        may_offload=config.offload_weights != "off",
        may_checkpoint=config.gradient_checkpointing != "off",
        measures=device == "cuda" and not config.micro_batch_size and config.gradient_accumulation_steps > 1,
    )
    by_hand = fallbacks.facts()
    _take_up(fallbacks, before or {}, config)
    if fallbacks.facts() != by_hand:
        told = [*settings_that_fit(fallbacks, config.examples_per_step), *([_PRECISION] if fallbacks.precise else [])]
        tell(message("run.as_it_stopped", "The run goes on with what it needed before: {settings:, }.", settings=told))
    return fallbacks


def _pieces(config: TrainConfig, device: str) -> int:
    """In how many a step begins: as set, else as few as is safe.

    Where memory is not measured (`core/training/memory_room.py`) and no error comes before it is full, as on a CPU that
    swaps, no more images go together than `_AT_ONCE`, which is where going together has brought most of what it can.
    """
    at_once = config.micro_batch_size or max(config.batch_size, _AT_ONCE if device == "cpu" else 0)
    return -(-config.examples_per_step // min(at_once, config.examples_per_step))


_AT_ONCE = 8

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
    if fallbacks.may_offload and kept.get("offloaded"):
        fallbacks.offloaded = True
    settings = {"gradient_accumulation_steps": config.gradient_accumulation_steps, **settings}
    if all(settings.get(name) == getattr(config, name) for name in _BATCHES):
        fallbacks.pieces = min(_kept_pieces(kept, config), config.examples_per_step)
        fallbacks.measures = False


_BATCHES = ("batch_size", "gradient_accumulation_steps", "micro_batch_size")


def _kept_pieces(kept: Mapping[str, int], config: TrainConfig) -> int:
    """Of a step, as the run stopped. Before version 0.3 every batch went alone, and its own pieces were kept."""
    of_batch = max(kept.get("pieces", 1), -(-config.batch_size // (config.micro_batch_size or config.batch_size)))
    return max(1, kept.get("pieces_of_step", of_batch * config.gradient_accumulation_steps))


def settings_that_fit(fallbacks: Fallbacks, examples: int) -> list[str]:
    """The settings with which a run, its steps of so many examples, begins as these fallbacks have left it."""
    settings = ["gradient_checkpointing=on"] if fallbacks.gradient_checkpointing else []
    settings += ["offload_weights=on"] if fallbacks.offloaded else []
    return settings + ([f"micro_batch_size={-(-examples // fallbacks.pieces)}"] if fallbacks.pieces > 1 else [])
