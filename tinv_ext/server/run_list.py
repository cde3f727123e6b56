"""The runs of a log directory as the page and the API list them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from tinv_ext.core.errors import TinvError
from tinv_ext.run.run_folder import RunFolder
from tinv_ext.run.run_lock import owner_of

log = logging.getLogger(__name__)


def listed(folders: Iterable[RunFolder], jobs: Collection[str | None]) -> list[dict[str, Any]]:
    """Of each run its id, name, status and steps. No paths. `jobs` are the folders of the jobs of this program.

    A run whose status says that it is in progress, but which is no job here, is "elsewhere" if another program has it;
    else it was "interrupted": by a crash, or because the program ended.
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
        entries.append({**entry, "can_resume": can_resume, "reason": status.reason})
    return entries
