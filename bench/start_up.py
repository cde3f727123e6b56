"""What the extension adds to the WebUI's start: its script, its tab, its routes; with gradio, torch and fastapi loaded.

Run it in the WebUI's versions (`.venv-webui/bin/python bench/start_up.py`), twice: the first run compiles.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fastapi
import gradio
import torch  # noqa: F401 (the WebUI has it loaded by then, and what comes with it)
import transformers  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))


def script() -> None:
    """What scripts/tinv.py imports."""
    import tinv_ext.webui  # noqa: F401


def tab() -> None:
    """What `webui.tabs` builds."""
    from tinv_ext.ui import page
    from tinv_ext.ui.context import PageContext

    with gradio.Blocks():
        page.build(PageContext())


def routes() -> None:
    """What `webui.add_routes` adds."""
    from tinv_ext.library.library import Library
    from tinv_ext.server import api
    from tinv_ext.server.allowed_paths import local_only
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.preparations import Preparations
    from tinv_ext.server.templates import Templates

    home = Path(tempfile.mkdtemp())
    queue = JobQueue(lambda: None, home, Templates(home / "templates"), lambda: False)
    library = Library(home / "embeddings", lambda: None, queue.logs)
    preparations = Preparations(list)
    api.add_routes(
        fastapi.FastAPI(),
        queue,
        True,
        None,
        local_only([]),
        None,
        "token",
        library=library,
        preparations=preparations,
    )


def timed(work: Callable[[], None]) -> str:
    """Milliseconds by the clock and of processor time."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return f"{work.__name__}: {1000 * clock:.0f} ms, of processor time {1000 * processor:.0f} ms"


if __name__ == "__main__":
    print("\n".join(timed(work) for work in (script, tab, routes)))
