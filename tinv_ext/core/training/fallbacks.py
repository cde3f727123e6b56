"""What a step does where memory or precision does not suffice: it gives way by one rung and is taken again.

No rung changes what is learnt, but for rounding: the draws of the step are the same, a batch in pieces has the same
gradient, and what is recomputed comes out as before. What a run had to give up it goes on without.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.errors import MemoryShortError, NumericError
from tinv_ext.core.model import MemoryControl, Model
from tinv_ext.core.training.state import State

T = TypeVar("T")
# What allocators say: CUDA, the CPU (Linux, Windows), DirectML and MPS. torch.OutOfMemoryError is not in torch 2.1.
_SAYINGS = ("out of memory", "can't allocate memory", "not enough memory", "could not allocate tensor")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, in any version of torch and on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(saying in str(error).lower() for saying in _SAYINGS)


def _silence(text: str) -> None:
    """Nobody wants to know."""


@dataclass
class Fallbacks:
    """What a run has given up so far; lives as long as the run. `tell` hears each rung as a sentence."""

    tell: Callable[[str], None] = _silence
    gradient_checkpointing: bool = False  # intermediate results are made anew for backward instead of kept
    pieces: int = 1  # that a batch is cut into
    precise: int = 0  # steps that the model was made more precise by

    def begin(self, model: MemoryControl) -> None:
        """Make a model that was just taken as frugal and as precise as the run has needed so far."""
        if self.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        for _ in range(self.precise):
            model.upcast()

    def attempt(self, state: State, model: MemoryControl, largest: int, act: Callable[[int], T]) -> T:
        """What `act` gives, told in how many pieces to compute a batch; if need be after giving way.

        `largest` is the batch size. The state is restored before each new try and on every error that leaves here.
        Raises MemoryShortError or NumericError when no rung is left.
        """
        released = False
        while True:
            backup = None
            try:
                backup = state.backup()
                return act(self.pieces)
            except NumericError as error:
                trouble, numeric = str(error), True
            except BaseException as error:
                if not is_out_of_memory(error):
                    if backup is not None:
                        state.restore(backup)
                    raise
                trouble, numeric = str(error), False
            if backup is not None:
                state.restore(backup)  # only now: the failed try's tensors hang on the exception, which is gone here
            free_memory(model)
            if numeric:
                self._upcast(state, model, trouble)
            elif released:
                self._more_frugal(state, model, largest, trouble)
            released = True

    def _upcast(self, state: State, model: MemoryControl, trouble: str) -> None:
        done = self._try_precision(model)
        if done is None:
            raise NumericError(trouble)
        self.precise += 1
        self.tell(f"Step {state.step + 1} gave numbers that are not finite; it is taken again with {done}.")

    def _try_precision(self, model: MemoryControl) -> str | None:
        try:
            return model.upcast()
        except Exception as error:  # the numbers are the trouble to be told, not that their remedy needs more memory
            if not is_out_of_memory(error):
                raise
            return None

    def _more_frugal(self, state: State, model: MemoryControl, largest: int, trouble: str) -> None:
        if not self.gradient_checkpointing:
            self.gradient_checkpointing = True
            model.enable_gradient_checkpointing()
            done = "intermediate results are computed twice instead of kept"
        elif self.pieces < largest:
            self.pieces = min(2 * self.pieces, largest)
            done = f"each batch is computed in {self.pieces} pieces, which gives the same gradient"
        else:
            raise MemoryShortError(
                f"Memory ran out at step {state.step + 1} ({trouble.splitlines()[0] if trouble else 'out of memory'}), "
                "though the batch is computed picture by picture and nothing is kept that can be computed again. "
                "Choose smaller pictures (width, height), or close other programs that use the device; then resume."
            )
        self.tell(f"Memory ran out at step {state.step + 1}: from here {done}.")


def free_memory(model: MemoryControl | None) -> None:
    """Free what is garbage and, where a model is at hand, what its allocator keeps for later."""
    gc.collect()
    if model is not None:
        model.release_memory()


def retry_after_freeing(model: MemoryControl | None, act: Callable[[], T]) -> T:
    """What `act` gives, tried a second time with all memory released if it ran out in the first."""
    try:
        return act()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    free_memory(model)
    return act()


def encode_with_retry(model: Model, pixels: Tensor) -> LatentDistribution:
    """Latents of one picture's pixels (1, 3, H, W). Raises MemoryShortError where memory does not suffice."""
    try:
        return retry_after_freeing(model, lambda: model.encode_images(pixels))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortError(
            f"Memory does not suffice to encode one picture of {pixels.shape[3]}×{pixels.shape[2]} pixels. "
            "Choose smaller pictures (width, height), or close other programs that use the device; then resume."
        ) from error
