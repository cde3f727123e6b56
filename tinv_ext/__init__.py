"""tinv_ext: textual inversion for Stable Diffusion, in the WebUI, from the command line and from Python."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
__all__ = ["Embedding", "RunControls", "TinvError", "Trained", "inspect", "load", "resume", "save", "train"]


def __getattr__(name: str) -> Any:
    """The names of `tinv_ext.python_api`, which imports torch and the rest: only where one is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tinv_ext.python_api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
