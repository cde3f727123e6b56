"""Watches how long steps take, and says so once when they have become far slower."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from tinv_ext.core.messages import Message, message
from tinv_ext.core.training.trainer import Step

FIRST = 20  # steps that tell how long one takes
LAST = 5  # steps whose median is compared with theirs: one slow step is no news
FACTOR = 3.0


@dataclass
class SlowdownWatch:
    """Times the steps of one run. `tell` hears once when they take three times as long as at the beginning."""

    tell: Callable[[str], None]
    device: str  # the type of torch's device: "cuda", "cpu" …
    clock: Callable[[], float] = time.perf_counter
    _first: list[float] = field(default_factory=list)
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    _warned: bool = False

    def timed(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The same steps; what is done between them is not counted."""
        while True:
            started = self.clock()
            try:
                step = next(steps)
            except StopIteration:
                return
            self.took(self.clock() - started)
            yield step

    def took(self, seconds: float) -> None:
        """Count a step that took so long."""
        if len(self._first) < FIRST:
            self._first.append(seconds)
            return
        self._last.append(seconds)
        usual, now = median(self._first), median(self._last)
        if self._warned or len(self._last) < LAST or now <= FACTOR * usual:
            return
        self._warned = True
        self.tell(
            message(
                "run.slow",
                "A step takes {now:.2g} seconds now; the first ones took {usual:.2g}. {cause}",
                now=now,
                usual=usual,
                cause=_cause(self.device),
            )
        )


def _cause(device: str) -> Message:
    if device != "cuda":
        return message("run.slow_machine", "Another program may be using the machine.")
    return message(
        "run.slow_gpu",
        "The driver may be using system memory because the GPU's is full (on Windows: NVIDIA's \"CUDA - Sysmem "
        'Fallback Policy"), or another program may be using the GPU. Close other programs that use it, or choose '
        "a smaller batch.",
    )
