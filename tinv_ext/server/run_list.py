"""The runs of a log directory as the page and the API list them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.run.beginnings import named_time
from tinv_ext.run.run_folder import RunFolder, find_runs
from tinv_ext.run.run_lock import owner_of

log = logging.getLogger(__name__)


def listed(folders: Iterable[RunFolder], jobs: Collection[str | None]) -> list[dict[str, Any]]:
    """Of each run its id, name, status, steps and when it began. No paths.

    `jobs` are the folders of the jobs of this program. A run whose status says that it is in progress, but which is no
    job here, is "elsewhere" if another program has it; else it was "interrupted": by a crash, or because the program
    ended.
    """
    entries = []
    for folder in folders:
        try:
            name, status = folder.config().name, folder.last_status()
        except TinvError as error:
            log.warning("%s", error)
            continue
        here = str(folder.path) in jobs
        elsewhere = not here and owner_of(folder.path) is not None
        shown = "elsewhere" if elsewhere else status.status if here or status.over else "interrupted"
        can_resume = folder.can_resume and not (here or elsewhere)
        entry = {"id": folder.id, "name": name, "status": shown, "steps": status.steps, "total": status.total}
        facts = {"can_resume": can_resume, "reason": status.reason, "started": started(folder.id)}
        entries.append({**entry, **facts, "file": Path(status.file).name if status.file else None})
    return entries


def started(id: str) -> str | None:  # noqa: A002 (the word for it)
    """When a run began, local time in ISO 8601, as its id says it."""
    named = named_time(Path(id))
    return named[0].isoformat() if named else None


def run_of(log: Path, id: str, called: str) -> RunFolder:  # noqa: A002
    """The run of this id in a log directory, which the client called so. `InputError` if there is none."""
    folder = next((folder for folder in find_runs(log) if folder.id == id), None)
    if folder is None:
        raise InputError(
            message(
                "server.no_run",
                'There is no run "{run}" in the log directory "{output}". Refresh the list of runs.',
                run=id,
                output=called,
            )
        )
    return folder
