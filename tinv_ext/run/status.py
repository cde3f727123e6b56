"""How a run stands: the one value that page, API, command line, status.json and log show."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any

from tinv_ext.core.messages import Message, put_together, taken_apart
from tinv_ext.core.printable import valid_json

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


def content_of(status: Status) -> dict[str, Any]:
    """What status.json holds. `said` is the reason taken apart, so that it can be told in another language later."""
    said = {"said": valid_json(taken_apart(status.reason))} if isinstance(status.reason, Message) else {}
    return {**asdict(status), **said}


def status_of(content: Any) -> Status:
    """The status that status.json holds. ValueError or TypeError where it holds something else."""
    if not isinstance(content, dict) or not {"status", "steps"} <= content.keys():
        raise ValueError("it has no status and steps")
    values = {name: value for name, value in content.items() if name != "said"}
    unknown = values.keys() - {one.name for one in fields(Status)}
    if unknown:
        raise ValueError(f"it has unknown values: {', '.join(sorted(unknown))[:80]}")
    if "reason" in values and "said" in content:
        values["reason"] = _said(values["reason"], content["said"])
    return _checked(Status(**values))


def _said(reason: Any, said: Any) -> Any:
    """The reason as the message that it was, if that is what was taken apart; else its text."""
    with suppress(ValueError, LookupError, TypeError, AttributeError, RecursionError):
        if not re.search(r"\d{4}|\{[^{}]*\{", str(_templates(said))):  # a width that would fill the memory
            found = put_together(said)
            return found if isinstance(found, Message) and found == reason else reason
    return reason


def _templates(said: Any) -> list[Any]:
    """Those of a message taken apart, and of the messages among its values."""
    if isinstance(said, dict):
        return [said["template"], *map(_templates, said["values"].values())] if "template" in said else []
    return [*map(_templates, said)] if isinstance(said, list) else []


def _checked(status: Status) -> Status:
    """The status, if its values are what they should be. ValueError or TypeError if not."""
    if status.status not in STATUSES:
        raise ValueError(f"no status {str(status.status)[:40]!r}")
    if not all(type(count) is int and 0 <= count < 1 << 48 for count in (status.steps, status.total)):
        raise ValueError("the steps are no counts")
    if status.file_step is not None and (type(status.file_step) is not int or status.file_step < 0):
        raise ValueError("the file's step is no count")
    if not isinstance(status.reason, str) or not isinstance(status.file, (str, type(None))):
        raise TypeError("the reason or the file is no text")
    (status.reason + (status.file or "")).encode("utf-8")  # ValueError for half a character
    return status
