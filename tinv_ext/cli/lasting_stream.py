"""A stream for tqdm that stays silent where nobody reads it any more: a closed terminal or pipe ends no run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import IO, Any

log = logging.getLogger(__name__)


class LastingStream:
    """`stream`, of which no write fails. The first that would is told in the log as the end of `what`.

    tqdm would have to be told otherwise while it holds the lock that all its bars share: `refresh` of tqdm 4.70.1
    (std.py) does not release it where writing raises, and every later bar in another thread waits for ever.
    """

    def __init__(self, stream: IO[str], what: str) -> None:
        self._stream, self._what = stream, what
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        """Whatever else tqdm asks of a stream."""
        return getattr(self._stream, name)

    @property
    def closed(self) -> bool:
        """Whether what is written is lost."""
        return self._lost or self._stream.closed

    def write(self, text: str) -> int:
        """Write, while somebody reads it."""
        self._while_open(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush, while somebody reads it."""
        self._while_open(self._stream.flush)

    def _while_open(self, act: Callable[[], object]) -> None:
        if self.closed:
            return
        try:
            act()
        except OSError as error:
            self._lost = True
            log.warning("%s cannot be shown any more: %s", self._what, error)
