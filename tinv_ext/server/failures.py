"""What goes wrong, as whoever asked is told it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from tinv_ext.core.errors import HostError, TinvError
from tinv_ext.core.messages import message
from tinv_ext.run.runner import failure

log = logging.getLogger(__name__)


class UnexpectedError(HostError):
    """What nobody has foreseen: a bug, or a machine that fails."""


@contextmanager
def errors_told() -> Iterator[None]:
    """Inside, every error becomes one with sentences for people; what nobody has foreseen is logged as it was."""
    try:
        yield
    except TinvError:
        raise
    except Exception as error:
        log.exception("unexpected")
        raise UnexpectedError(
            message(
                "server.unexpected",
                "Something went wrong that should not have: {error}. The program's log has the details.",
                error=failure(error),
            )
        ) from error
