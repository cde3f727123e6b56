"""Objects that are made when they are first used, so that the WebUI starts without the engine being imported."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Late:
    """Stands for an object: what is asked of it is asked of that, which `make` makes once, whoever comes first."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._making = threading.Lock()
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        """An attribute of the object. Not those of Python's own protocols: to copy this is not to use it."""
        if name.startswith("__"):
            raise AttributeError(name)
        if self._made is None:  # once it is made nobody waits: a signal handler may ask while its thread is in here
            with self._making:
                if self._made is None:
                    self._made = self._make()
        return getattr(self._made, name)


def late(make: Callable[[], Any]) -> Any:
    """What `make` makes, as soon as it is used."""
    return Late(make)


def was_made(thing: Any) -> bool:
    """Whether an object has been used, where it is one that is made late."""
    return not isinstance(thing, Late) or object.__getattribute__(thing, "_made") is not None
