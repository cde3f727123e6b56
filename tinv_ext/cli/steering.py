"""A training that other programs follow and steer: by a file of what happens, and by lines on standard input."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinv_ext.run.events import Report, RunControls

log = logging.getLogger(__name__)


def others(options: Mapping[str, Any], controls: RunControls) -> list[Report]:
    """Those who hear what happens, beside the person: the file of `--events`. With `--steered`, listen to them."""
    if options["steered"]:
        steered_by(sys.stdin, controls)
    if not options["events"]:
        return []
    from tinv_ext.scheduler.event_log import EVERY, EventLog

    return [EventLog(options["events"], 0 if options["steered"] else EVERY).report]


def steered_by(lines: Iterable[str], controls: RunControls) -> threading.Thread:
    """Obey commands, one a line, in a thread that waits for them. Where they end, the run is stopped and saved.

    A line that is none is told as a warning, and changes nothing.
    """
    obeyed: Mapping[str, Callable[[], None]] = {
        "stop": controls.stop.set,
        "pause": controls.pause.set,
        "resume": controls.pause.clear,
        "snapshot": controls.snapshot.set,
        "preview": controls.preview.set,
    }

    def listen() -> None:
        try:
            for line in lines:
                act = obeyed.get(line.strip())
                if act:
                    act()
                elif line.strip():
                    log.warning("There is no command %r. Send one of: %s.", line.strip(), ", ".join(obeyed))
        except (OSError, ValueError) as error:  # closed, or no text
            log.warning("No further command can be read (%s); the run is stopped and saved.", error)
        controls.stop.set()  # whoever steers it is gone

    thread = threading.Thread(target=listen, name="tinv-steered", daemon=True)
    thread.start()
    return thread
