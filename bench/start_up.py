"""What the extension adds to the WebUI's start: its script, its tab, its routes; with gradio, torch and fastapi loaded.

Run it in the WebUI's versions (`.venv-webui/bin/python bench/start_up.py`), twice: the first run compiles.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastapi
import gradio
import torch  # noqa: F401 (the WebUI has it loaded by then, and what comes with it)
import transformers  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))


def script() -> None:
    """What scripts/tinv.py imports."""
    import tinv_ext.webui  # noqa: F401


def tab() -> None:
    """What `webui.tabs` makes, and what it adds to the WebUI's own gr.Blocks and to its config."""
    from tinv_ext.ui import page
    from tinv_ext.ui.context import PageContext

    page.Page(PageContext()).render()
    WEBUI.get_config_file()


def routes() -> None:
    """What `webui.add_routes` adds; the routes, and what they work on, are made when they are asked."""
    from tinv_ext.server import api
    from tinv_ext.server.late import late

    def never() -> Any:
        raise AssertionError("made while the program starts")

    api.add_routes(
        fastapi.FastAPI(),
        late(never),
        True,
        None,
        lambda values: never(),
        None,
        "token",
        library=late(never),
        preparations=late(never),
    )


def timed(work: Callable[[], None]) -> str:
    """Milliseconds by the clock and of processor time."""
    gc.collect()
    gc.freeze()  # what torch, transformers and gradio have made is not ours to look through
    clock, processor = time.perf_counter(), time.process_time()
    work()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return f"{work.__name__}: {1000 * clock:.0f} ms, of processor time {1000 * processor:.0f} ms"


if __name__ == "__main__":
    WEBUI = gradio.Blocks(analytics_enabled=False)
    WEBUI.__enter__()
    WEBUI.get_config_file()
    print("\n".join(timed(work) for work in (script, tab, routes)))
