"""Fallbacks for a step that runs out of memory or precision: it gives up one thing more, and is taken again.

For memory, in this order: free it, the batches of a step one by one, gradient checkpointing (`hosts/checkpointing.py`)
unless that is not wanted, batches in pieces, weights kept in the machine's own memory (`hosts/offloading.py`). For
infinite numbers: more precision.
No fallback changes what is learned, but for rounding: the random numbers of the step are the same, a batch in pieces
has the same gradient, and what is recomputed comes out as before. A fallback stays for the rest of the run.
"""

from __future__ import annotations

import errno
import gc
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from tinv_ext.core.data.latents import LatentDistribution
from tinv_ext.core.errors import MemoryShortError, NumericError
from tinv_ext.core.messages import Message, message
from tinv_ext.core.model import MemoryControl, Model, Trainable
from tinv_ext.core.training.memory_room import batches_that_fit, begin_measuring
from tinv_ext.core.training.ranks import ALONE, Ranks
from tinv_ext.core.training.state import State, StateBackup

T = TypeVar("T")
NO_ENGINE = "unable to find an engine"
"""In what torch says where each of cuDNN's ways to compute a convolution has failed: for lack of memory, as a rule."""
# What says that memory ran out: allocators (CUDA, the CPU on Linux and Windows, DirectML, MPS), the libraries below
# them (oneDNN, cuBLAS, cuDNN, C++), and the system when a file is mapped or a thread begun. torch.OutOfMemoryError is
# not in torch 2.1.
_PHRASES = (
    "out of memory",
    "outofmemory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "could not allocate tensor",
    "unable to allocate",
    "failed to allocate",
    "could not create a primitive",
    "could not create a memory",
    "could not execute a primitive",
    NO_ENGINE,
    "alloc_failed",
    "bad_alloc",
    "bad allocation",
    "unable to mmap",
    "paging file is too small",
    "can't start new thread",
)
_ALLOCATORS_CHECK = re.compile(r"^\[enforce fail at [^\]]*\][^.]*\.\s*")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, in any version of torch and on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    told = isinstance(error, (RuntimeError, OSError, SafetensorError))
    return told and any(phrase in str(error).lower() for phrase in _PHRASES)


def first_sentence(text: str) -> str:
    """What a message of torch says at first; CUDA's goes on with sizes, settings and the processes on the device."""
    first = _ALLOCATORS_CHECK.sub("", text.strip()).partition("\n")[0].partition(". ")[0]
    return first.strip().rstrip(".")[:_LONGEST] or "out of memory"


_LONGEST = 200  # characters of such a sentence


def _no_listener(text: str) -> None:
    """For callers that need no notices."""


@dataclass
class Fallbacks:
    """What a run does without, by its settings or as something ran out; lives as long as the run.

    `tell` hears each fallback as a sentence. Where `may_checkpoint` is off, gradient checkpointing is none of them.

    `before` is the state from before the latest step: whoever ends the run before that step is on record takes it back.
    """

    tell: Callable[[str], None] = _no_listener
    gradient_checkpointing: bool = False  # intermediate results are recomputed in backward instead of kept
    offloaded: bool = False  # the frozen weights are in the machine's memory
    pieces: int = 1  # that a step is cut into
    precise: int = 0  # steps that the model was made more precise by
    may_checkpoint: bool = True
    may_offload: bool = True
    measures: bool = False  # the next step shows how few pieces there is memory for
    before: StateBackup | None = field(default=None, repr=False)

    def facts(self) -> dict[str, int]:
        """What is given up, as JSON can hold it: kept with the state, so that a run resumes as it stopped."""
        return {
            "gradient_checkpointing": int(self.gradient_checkpointing),
            "offloaded": int(self.offloaded),
            "pieces_of_step": self.pieces,
            "precise": self.precise,
        }

    def begin(self, model: MemoryControl) -> None:
        """Apply to a model that was just taken what the run has needed so far."""
        if self.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        if self.offloaded:
            self.offloaded = _offloads(model)
        for _ in range(self.precise):
            model.upcast()

    def attempt(
        self,
        state: State,
        model: Trainable,
        largest: int,
        act: Callable[[int], T],
        batches: int = 1,
        ranks: Ranks = ALONE,
    ) -> T:
        """What `act` returns, told in how many pieces to compute a step; if need be after a fallback.

        A step sees `largest` examples in so many `batches`. All `ranks` make each try together, and what is given up is
        decided by the first for all. The state is restored before each new try and on every error that leaves here.
        Raises MemoryShortError or NumericError when no fallback is left.
        """
        released = False
        while True:
            backup = self.before = None
            try:
                with ranks.together(state, self.facts()):
                    backup = self.before = state.backup()
                    bytes_before = begin_measuring(model.device) if self.measures else None
                    result = act(self.pieces)
                if bytes_before is not None:
                    self._join(batches_that_fit(model.device, bytes_before))
                return result
            except NumericError as error:
                trouble, numeric = error.problems[0], True
            except BaseException as error:
                if not is_out_of_memory(error):
                    if backup is not None:
                        state.restore(backup)
                    raise
                trouble, numeric = str(error), False
            if backup is not None:
                state.restore(backup)  # only now: the failed try's tensors hang on the exception, which is gone here
            free_memory(None if numeric else model)  # a model gives up more than its cache: CUDA graphs, too
            if numeric:
                self._raise_precision(state, model, trouble)
                continue
            if released:
                self._save_memory(state, model, largest, batches, trouble)
            released = True

    def _join(self, at_once: int) -> None:
        """Have so many of the pieces, as they were measured, go together from here on."""
        self.pieces, self.measures = -(-self.pieces // at_once), False

    def _raise_precision(self, state: State, model: MemoryControl, trouble: str) -> None:
        try:
            done = self._more_precise(model)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise NumericError(_no_memory_for_precision(trouble)) from error
        if done is None:
            raise NumericError(trouble)
        self.tell(
            message(
                "training.more_precise",
                "Step {step} gave numbers that are not finite; it is taken again with {what}.",
                step=state.step + 1,
                what=done,
            )
        )

    def upcast(self, model: MemoryControl) -> str | None:
        """Make the model one step more precise for the rest of the run: what was done, or None if no more can be."""
        try:
            return self._more_precise(model)
        except Exception as error:  # the numbers are the trouble to be told, not that their remedy needs more memory
            if not is_out_of_memory(error):
                raise
            return None

    def _more_precise(self, model: MemoryControl) -> str | None:
        done = model.upcast()
        self.precise += done is not None
        return done

    def _save_memory(self, state: State, model: MemoryControl, largest: int, batches: int, trouble: str) -> None:
        self.measures = False
        may_checkpoint = self.may_checkpoint and not self.gradient_checkpointing
        if self.pieces < (batches if may_checkpoint else largest):
            self.pieces = min(2 * self.pieces, batches if may_checkpoint else largest)
            done = message(
                "training.pieces",
                "Memory ran out at step {step}: each step is computed in {pieces} pieces from here (same gradient).",
                step=state.step + 1,
                pieces=self.pieces,
            )
        elif may_checkpoint:
            self.gradient_checkpointing = True
            model.enable_gradient_checkpointing()
            done = message(
                "training.checkpointing",
                "Memory ran out at step {step}: gradient checkpointing is on from here (slower, same gradient).",
                step=state.step + 1,
            )
        elif self.may_offload and not self.offloaded and _offloads(model):
            self.offloaded = True
            done = message(
                "training.offloaded",
                "Memory ran out at step {step}: the model's weights stay in the machine's own memory from here, and "
                "each is fetched where it is used (much slower, same gradient).",
                step=state.step + 1,
            )
        else:
            raise MemoryShortError(self._no_memory(state.step + 1, first_sentence(trouble)))
        self.tell(done)

    def _no_memory(self, step: int, reason: str) -> Message:
        if not self.gradient_checkpointing:
            return message(
                "training.no_memory_unchecked",
                "Memory ran out at step {step} ({reason}), even with one image at a time. Set gradient checkpointing "
                "(gradient_checkpointing) to auto, choose a smaller size (width, height), or close other programs that "
                "use the device; then resume.",
                step=step,
                reason=reason,
            )
        return message(
            "training.no_memory",
            "Memory ran out at step {step} ({reason}), even with gradient checkpointing and one image at a time. "
            "Choose a smaller size (width, height), or close other programs that use the device; then resume.",
            step=step,
            reason=reason,
        )


def _offloads(model: MemoryControl) -> bool:
    """Whether the weights are in the machine's own memory from here on; that may be short, too."""
    try:
        return model.offload_weights()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return False


def _no_memory_for_precision(trouble: str) -> Message:
    return message(
        "training.no_memory_for_precision",
        "{trouble} There is not enough memory to take the step in full precision, which may help, too: close other "
        "programs that use the device, then resume.",
        trouble=trouble,
    )


def free_memory(model: MemoryControl | None) -> None:
    """Free garbage and, where a model is given, what its allocator keeps for later."""
    gc.collect()
    if model is not None:
        model.release_memory()


def retry_after_freeing(model: MemoryControl | None, act: Callable[[], T]) -> T:
    """What `act` returns, tried a second time with all memory released if it ran out in the first."""
    try:
        return act()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    free_memory(model)
    return act()


def one_by_one_without_room(model: MemoryControl | None, act: Callable[[int], T], at_once: int) -> T:
    """`act(at_once)`, or `act(1)` where memory does not suffice for so many at once, also once it was released."""
    try:
        return retry_after_freeing(model, lambda: act(at_once))
    except Exception as error:
        if at_once == 1 or not is_out_of_memory(error):
            raise
    free_memory(model)
    return act(1)


def encode_with_retry(model: Model, pixels: Tensor) -> LatentDistribution:
    """Latents of images' pixels (B, 3, H, W), one by one where memory does not suffice for all.

    Raises MemoryShortError where it does not suffice for one.
    """
    if len(pixels) > 1:
        try:
            return model.encode_images(pixels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(model)
        each = [encode_with_retry(model, one[None]) for one in pixels]
        return LatentDistribution(torch.cat([one.mean for one in each]), torch.cat([one.std for one in each]))
    try:
        return retry_after_freeing(model, lambda: model.encode_images(pixels))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryShortError(
            message(
                "training.no_memory_to_encode",
                "There is not enough memory to encode one image of {width}×{height} pixels. Choose a smaller size "
                "(width, height), or close other programs that use the device; then resume.",
                width=pixels.shape[3],
                height=pixels.shape[2],
            )
        ) from error
