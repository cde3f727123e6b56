"""What the extension adds to the WebUI's start: its script, its tab, its routes; with gradio, torch and fastapi loaded.

Run it in the WebUI's versions (`.venv-webui/bin/python bench/start_up.py`), twice: the first run compiles.
"""

from __future__ import annotations

import gc
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import fastapi
import gradio
import torch  # noqa: F401 (the WebUI has it loaded by then, and what comes with it)
import transformers  # noqa: F401

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def callbacks() -> ModuleType:
    """In place of modules/script_callbacks.py: looks for where a callback comes from as that of v1.10.1 does."""

    def register(_: Callable[..., Any]) -> None:
        inspect.stack()

    made = ModuleType("modules.script_callbacks")
    for name in ("on_ui_tabs", "on_app_started", "on_script_unloaded"):
        setattr(made, name, register)
    return made


def script(depth: int = 8) -> None:
    """What scripts/tinv.py does, called through as many functions as in the WebUI (launch.py to `load_module`)."""
    if depth:
        return script(depth - 1)
    spec: Any = importlib.util.spec_from_file_location("tinv.py", ROOT / "scripts" / "tinv.py")
    return spec.loader.exec_module(importlib.util.module_from_spec(spec))


def tab() -> None:
    """What `webui.tabs` makes, and what it adds to the WebUI's own gr.Blocks and to its config."""
    from tinv_ext.core.messages import language_of
    from tinv_ext.ui import page
    from tinv_ext.ui.context import PageContext

    page.Page(PageContext(language_of("None"))).render()
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
    modules = sys.modules["modules"] = ModuleType("modules")
    modules.script_callbacks = sys.modules["modules.script_callbacks"] = callbacks()  # type: ignore[attr-defined]
    WEBUI = gradio.Blocks(analytics_enabled=False)
    WEBUI.__enter__()
    WEBUI.get_config_file()
    print("\n".join(timed(work) for work in (script, tab, routes)))
