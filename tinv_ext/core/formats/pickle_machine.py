"""The state of a pickle being read: bytes, stack, marks and memo, with a bound on each way to grow."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinv_ext.core.errors import FormatError
from tinv_ext.core.messages import message

MAX_COPIED = 1 << 24
PersistentLoad = Callable[[object], object]


@dataclass
class Machine:
    """One pickle being read: the bytes, the position in them, the stack, and the stacks put aside at marks."""

    data: memoryview
    position: int
    persistent_load: PersistentLoad
    stack: list[Any] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    copied: int = 0

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if count < 0 or count > len(self.data) - self.position:
            raise FormatError(
                message(
                    "formats.pickle_ends",
                    "The pickle ends in the middle of a value at byte {position}. The file is truncated or damaged.",
                    position=self.position,
                )
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, layout: str) -> int:
        """The next integer, in one of `struct`'s layouts."""
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def text(self, layout: str) -> str:
        """The next text: its length in `layout`, then UTF-8 (lone surrogates as Python writes them)."""
        return str(self.take(self.number(layout)), "utf-8", "surrogatepass")

    def line(self) -> str:
        """The next line of a name; names are short."""
        window = bytes(self.data[self.position : self.position + 256])
        end = window.find(b"\n")
        if end < 0:
            raise FormatError(
                message(
                    "formats.pickle_endless_name",
                    "The pickle has a name without an end at byte {position}. The file is damaged.",
                    position=self.position,
                )
            )
        self.position += end + 1
        return str(window[:end], "utf-8")

    def pop_mark(self) -> list[Any]:
        """All values since the last mark."""
        values, self.stack = self.stack, self.marks.pop()
        return values

    def charge(self, values: object) -> None:
        """Count what a call copies: a large value in the memo could be copied by every few bytes of the file."""
        for value in values if isinstance(values, tuple) else (values,):
            self.copied += len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 1
        if self.copied > MAX_COPIED:
            raise FormatError(
                message(
                    "formats.pickle_copies",
                    "The pickle copies the same values over and over. It is malicious; nothing in it was run.",
                )
            )
