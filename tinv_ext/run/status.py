"""How a run stands: the one value that page, API, command line, status.json and log show."""

from __future__ import annotations

from dataclasses import dataclass

STATUSES = ("queued", "preparing", "training", "paused", "stopping", "finished", "stopped", "failed")
OVER = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Status:
    """`status` is one of `STATUSES`; `steps` are optimizer steps really done, of `total`.

    `file` is the embedding really written, with the vectors of `file_step`; `reason` says why the run is paused or
    stopped or has failed, or how it ended.
    """

    status: str
    steps: int
    file: str | None = None
    reason: str = ""
    total: int = 0
    file_step: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in OVER
