"""How long steps take, and whether they have become far slower than they were."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from tinv_ext.core.training.trainer import Step

FIRST = 20  # steps that tell how long one takes
LAST = 5  # steps whose median is compared with theirs: one slow step is no news
FACTOR = 3.0


@dataclass
class SlowdownWatch:
    """Seconds of the steps of one run. `tell` hears once when they take three times as long as at the beginning."""

    tell: Callable[[str], None]
    device: str  # the type of torch's device: "cuda", "cpu" …
    clock: Callable[[], float] = time.perf_counter
    _first: list[float] = field(default_factory=list)
    _last: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    _told: bool = False

    def timed(self, steps: Iterator[Step]) -> Iterator[Step]:
        """The same steps; what is done between them is not counted."""
        while True:
            begun = self.clock()
            try:
                step = next(steps)
            except StopIteration:
                return
            self.took(self.clock() - begun)
            yield step

    def took(self, seconds: float) -> None:
        """Take in how long a step took."""
        if len(self._first) < FIRST:
            self._first.append(seconds)
            return
        self._last.append(seconds)
        usual, now = median(self._first), median(self._last)
        if self._told or len(self._last) < LAST or now <= FACTOR * usual:
            return
        self._told = True
        self.tell(f"A step takes {now:.2g} seconds now; the first took {usual:.2g}. {_remedy(self.device)}")


def _remedy(device: str) -> str:
    if device != "cuda":
        return "Another program may be using the machine."
    return (
        "The driver may be moving memory of the GPU into that of the machine (on Windows: NVIDIA's \"CUDA - Sysmem "
        'Fallback Policy"), or another program may be using the GPU. Close what else uses it, or take a smaller batch.'
    )
