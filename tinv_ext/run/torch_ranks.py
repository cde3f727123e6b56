"""The processes of a run as torchrun and `accelerate launch` start them, connected by torch.distributed.

Everything between them goes through gloo and the CPU: it is some kilobytes a step, and a process that has died is
noticed at once. (NCCL would take some hundred megabytes of every GPU, and its kernels wait for the dead.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from tinv_ext.core.errors import HostError, NumericError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.core.training.fallbacks import first_sentence, is_out_of_memory
from tinv_ext.core.training.state import State, save_state

TRY, QUIT = "try", "quit"
"""What rank 0 asks of the others, beside tasks by their names (`Ranks.also`): one try of a step; to be done."""
_MEET = timedelta(minutes=10)  # in which all must have been started
_WAIT = timedelta(days=365)  # for what comes next: a run may be paused, and a process that has died is noticed at once
_BY_TREE = 2**18  # numbers of all ranks together that are put together by rank 0, which takes the fewest steps
_MEMORY, _NUMERIC, _OTHER = 1, 2, 3  # what has failed, the worst last


class LostError(HostError):
    """Another process of the run is gone."""


@dataclass
class TorchRanks:
    """`core/training/ranks.py: Ranks` over a process group of torch.distributed.

    `stop` is what rank 0 does where any of them was asked to end (`asked_to_stop`).
    """

    rank: int
    count: int
    stop: Callable[[], None] = lambda: None
    asked_to_stop: bool = False
    _group: Any = None
    _settled: bool = False  # whether all know already that this try has failed
    _in_step: bool = False  # whether the others wait for what rank 0 asks of them next
    _known: tuple[object, int] | None = None  # optimizer and step of the state that the others have

    @classmethod
    def meet(cls, rank: int, count: int) -> TorchRanks:
        """Wait for all others, as the launcher's environment variables say where. HostError where they do not come."""
        try:
            distributed.init_process_group("gloo", timeout=_MEET)
            group = distributed.new_group(backend="gloo", timeout=_WAIT)
        except (RuntimeError, ValueError, OSError) as error:
            raise HostError(
                message(
                    "ranks.not_met",
                    "The {count} processes of this run did not find each other ({reason}). Start them all with "
                    "accelerate launch or torchrun, with the same address and port.",
                    count=count,
                    reason=first_sentence(str(error)),
                )
            ) from error
        return cls(rank, count, _group=group)

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def ask_to_stop(self) -> None:
        """This process was told to end: rank 0 hears it after the step at hand."""
        self.asked_to_stop = True

    def share(self, examples: int) -> range:
        return range(self.rank * examples // self.count, (self.rank + 1) * examples // self.count)

    def exchange(self, value: Any) -> list[Any]:
        """What every rank has given, by rank."""
        found: list[Any] = [None] * self.count
        with self._noticing_losses():
            distributed.all_gather_object(found, value, group=self._group)
        return found

    # --- what rank 0 asks of the others ----------------------------------------------------------------------------

    @contextmanager
    def together(self, state: State, given_up: Mapping[str, int]) -> Iterator[None]:
        """One try; the state goes with it where the others do not have it as it is."""
        known = (state.optimizer, state.step)
        self._ask(TRY, dict(given_up), None if known == self._known else state_bytes(state))
        self._known = None
        with self.agreed():
            yield
        self._known = (state.optimizer, state.step)

    def also(self, task: str, act: Callable[[], None], basis: Any = None) -> None:
        self._ask(task, basis)
        with self.agreed():
            act()

    def begin(self) -> None:
        """From here on the others wait for what rank 0 asks."""
        self._in_step = True

    def _ask(self, *request: Any) -> None:
        with self._noticing_losses():
            distributed.broadcast_object_list([request], src=0, group=self._group)

    def next_request(self) -> tuple[Any, ...]:
        """What rank 0 asks next: its name, and what belongs to it."""
        received: list[Any] = [None]
        with self._noticing_losses():
            distributed.broadcast_object_list(received, src=0, group=self._group)
        request: tuple[Any, ...] = received[0]
        return request

    def quit(self) -> None:
        """Rank 0 lets the others go. Where they wait for something else, they notice that it is gone."""
        if self.leads and self._in_step:
            with suppress(LostError):
                self._ask(QUIT)

    def part(self) -> None:
        """Close the connection, where all have come to the end: with one of them in trouble this could wait for ever.

        A thread of gloo may still hold a tensor; to free it while Python is being shut down ends the process by
        SIGABRT (torch's pull request 179291).
        """
        self._group = None
        distributed.destroy_process_group()

    # --- agreeing on how it went -----------------------------------------------------------------------------------

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """What is done in here ends in the same way on all ranks: where it raises on one, it raises on all."""
        self._settled, self._in_step = False, False
        try:
            yield
        except Exception as error:
            if not isinstance(error, LostError):
                if not self._settled:
                    self._agree(error)
                self._in_step = True
            raise
        self._agree(None)
        self._in_step = True

    def sum(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        self._agree(None)
        with self._noticing_losses():
            if flat.numel() * self.count <= _BY_TREE:
                flat = torch.stack(self._gathered(flat)).sum(0)
            else:
                distributed.all_reduce(flat, group=self._group)
        sizes = [tensor.numel() for tensor in tensors]
        return [part.view_as(tensor) for part, tensor in zip(torch.split(flat, sizes), tensors)]

    def _gathered(self, mine: Tensor) -> list[Tensor]:
        """What all ranks have, by rank: directly to rank 0, from there along a tree."""
        table = torch.zeros(self.count, *mine.shape, dtype=mine.dtype)
        distributed.gather(mine, list(table) if self.leads else None, dst=0, group=self._group)
        distributed.broadcast(table, src=0, group=self._group)
        return list(table)

    def _agree(self, error: Exception | None) -> None:
        """Tell all how it went here. Raises where it failed anywhere: `error` itself, or what it is elsewhere."""
        with self._noticing_losses():
            everyone = self._gathered(torch.tensor([_kind_of(error), int(self.asked_to_stop)]))
        kinds, wishes = zip(*(one.tolist() for one in everyone))
        if self.leads and any(wishes):
            self.stop()
        worst = max(kinds)
        if not worst:
            return
        self._settled, self._in_step = True, True
        told = self.exchange(_said(error))
        if error is not None and kinds[self.rank] == worst:
            raise error
        where = kinds.index(worst)
        raise self._error_of(worst, where, told[where])

    def _error_of(self, kind: int, rank: int, reason: str) -> Exception:
        text = message(
            "ranks.failed", "Process {number} of {count}: {reason}", number=rank + 1, count=self.count, reason=reason
        )
        if kind == _MEMORY:
            return MemoryError(text)
        return NumericError(text) if kind == _NUMERIC else HostError(text)

    @contextmanager
    def _noticing_losses(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._in_step = False
            raise LostError(
                message(
                    "ranks.lost",
                    "Another of the {count} processes of this run has ended ({reason}), so process {number} ends, "
                    "too. What was saved can be resumed, also with another number of processes.",
                    number=self.rank + 1,
                    count=self.count,
                    reason=first_sentence(str(error).partition("] ")[2] or str(error)),
                )
            ) from error


def _kind_of(error: Exception | None) -> int:
    if error is None:
        return 0
    if is_out_of_memory(error):
        return _MEMORY
    return _NUMERIC if isinstance(error, NumericError) else _OTHER


def _said(error: Exception | None) -> str:
    if isinstance(error, TinvError):
        return error.problems[0]
    return f"{type(error).__name__}: {first_sentence(str(error))}" if error else ""


def state_bytes(state: State) -> bytes:
    """A state as its file has it."""
    with tempfile.TemporaryDirectory() as folder:
        save_state(state, Path(folder) / _FILE, {})
        return (Path(folder) / _FILE).read_bytes()


_FILE = "state.safetensors"
