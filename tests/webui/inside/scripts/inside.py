"""For tests only: a route by which they ask something of the WebUI's own code, and may run tests in its process."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from modules import script_callbacks

if os.environ.get("TINV_ARCHITECTURES"):  # a folder with small OpenCLIP models, for checkpoints that have one
    import open_clip

    open_clip.add_model_config(os.environ["TINV_ARCHITECTURES"])

ASKED = Path(os.environ["TINV_REPOSITORY"]) / "tests" / "webui" / "inside" / "asked.py"


def add_route(_: Any, app: Any) -> None:
    """POST /inside/<name of a function in asked.py> with its arguments as a JSON object."""
    spec = importlib.util.spec_from_file_location("asked", ASKED)
    assert spec is not None
    assert spec.loader is not None
    asked = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(asked)

    async def answer(what: str, request: Request) -> Any:
        given = json.loads(await request.body() or b"{}")
        return await run_in_threadpool(lambda: getattr(asked, what)(**given))

    app.add_api_route("/inside/{what}", answer, methods=["POST"])


script_callbacks.on_app_started(add_route)
