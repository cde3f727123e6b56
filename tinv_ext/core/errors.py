"""Everything that can go wrong, as sentences for the person who can fix it.

    TinvError
    ├── InputError        the input cannot be used; carries every problem found, nothing was started
    ├── FormatError       a file is not what its name says, or is damaged
    ├── NumericError      the loss, a gradient or the vectors stopped being finite
    ├── MemoryShortError  out of memory, with every fallback tried
    └── HostError         the model or the program around us cannot do what was asked
        └── NotNowError   it can as soon as something changes: a run pauses until then

Any other exception is a bug of ours and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable


class TinvError(Exception):
    """Base of every error that is meant to be read by a person.

    `problems` holds one whole sentence (a `core.messages.Message`) for each thing that is wrong: what, with which
    value, what to do.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class InputError(TinvError):
    """The input cannot be used; nothing was started."""


class FormatError(TinvError):
    """A file is not what its name says, or is damaged."""


class NumericError(TinvError):
    """The loss, a gradient or the vectors stopped being finite; the last good vectors were kept."""


class HostError(TinvError):
    """The model or the program around us cannot do what was asked."""


class MemoryShortError(TinvError):
    """Out of memory, although every fallback that keeps the result was tried."""


class NotNowError(HostError):
    """What was asked cannot be done now, but may be later: another model is loaded, or the disk is full.

    `mended()` says whether it can be done by now; where nobody can know, it is always False.
    """

    def __init__(self, text: str, mended: Callable[[], bool] = lambda: False) -> None:
        self.mended = mended
        super().__init__(text)
