"""Which paths a client from outside may name: only those in folders that the owner has opened to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinv_ext.core.data.captions import own_templates
from tinv_ext.core.messages import Message, message
from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings import SETTINGS, current_names

PathCheck = Callable[[Mapping[str, Any]], list[Message]]
PATHS = ("images", "init_embedding", "template", "output")  # the settings that are paths


def allow_only(roots: Sequence[Path]) -> PathCheck:
    """A check of settings: a sentence for each path that lies outside of `roots`, links followed."""
    real = [Path(os.path.realpath(root)) for root in roots]

    def problems(values: Mapping[str, Any]) -> list[Message]:
        values = current_names(values)  # the first of two names counts, as it does for the run
        given = {name: str(values.get(name) or "") for name in PATHS}
        if given["template"].removesuffix(".txt") in own_templates():
            given["template"] = ""
        return [
            message(
                "server.path_not_allowed",
                "{label} ({name}) is outside the folders that may be used from here. Use a folder below the WebUI's "
                "data folder, or one that its owner has opened with --tinv-folder.",
                label=SETTINGS[name].label,
                name=name,
            )
            for name, path in given.items()
            if path and not _inside(path, real)
        ]

    return problems


def _inside(text: str, roots: Sequence[Path]) -> bool:
    if path_problems(text):
        return False
    path = Path(os.path.realpath(os.path.expanduser(text.strip().strip("\"'"))))
    return any(path == root or root in path.parents for root in roots)
