"""`python -m tinv_ext …` as one of several processes, of which some have something go wrong: for torchrun.

FAULT='{"rank": 1, "call": 2, "error": "memory"}' torchrun --nproc-per-node 2 tests/ranks/program.py train …
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tinv_ext.cli.main import main
from tinv_ext.core.training import trainer


def out_of_memory() -> None:
    """As CUDA says it."""
    raise RuntimeError("CUDA out of memory. Tried to allocate 8.09 GiB")


def bug() -> None:
    """What nobody has thought of."""
    raise ValueError("something that nobody has thought of")


def killed() -> None:
    """By the system, say."""
    os.kill(os.getpid(), signal.SIGKILL)


def told_to_end() -> None:
    """By somebody who logs in there."""
    os.kill(os.getpid(), signal.SIGTERM)


FAULTS: dict[str, Callable[[], None]] = {
    "memory": out_of_memory,
    "bug": bug,
    "killed": killed,
    "told to end": told_to_end,
}


def have_fail(fault: dict[str, Any]) -> None:
    """Have something go wrong at certain calls of `where`, which computes this process's share of a step.

    Where that is clip_gradients, all have put their shares together by then.
    """
    name, calls = fault.get("where", "assemble"), count(1)
    act, due = getattr(trainer, name), range(fault["call"], fault["call"] + fault.get("times", 1))

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(calls) in due:
            FAULTS[fault["error"]]()
        return act(*args, **kwargs)

    setattr(trainer, name, failing)


if __name__ == "__main__":
    given = json.loads(os.environ.get("FAULT", "{}"))
    if given and given["rank"] == int(os.environ["RANK"]):
        sys.argv += given.get("settings", [])
        if "error" in given:
            have_fail(given)
    sys.exit(main())
