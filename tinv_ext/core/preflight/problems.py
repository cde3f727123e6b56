"""Collecting the problems of a run, so that one does not hide the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from tinv_ext.core.data.images import ImageScan
from tinv_ext.core.errors import InputError
from tinv_ext.core.settings import TrainConfig

P = ParamSpec("P")
T = TypeVar("T")
Scanner = Callable[[Path, TrainConfig], ImageScan]
"""Looks at a folder as the settings of its subset say."""


@dataclass
class Problems:
    """The problems found so far."""

    found: list[str]

    def attempt(self, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What `check` gives, or None, with its problems kept."""
        try:
            return check(*args, **kwargs)
        except InputError as error:
            self.found += error.problems
            return None
