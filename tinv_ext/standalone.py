"""The page without a WebUI: the same page and routes on a server of our own, with the diffusers host behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext

PACKAGE = Path(__file__).parent
# A wheel has the page's script and style inside the package (setup.py); a clone has them where WebUIs look for them.
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else PACKAGE.parent
SCRIPTS = sorted(path.name for path in (ASSETS / "javascript").glob("*.js"))  # uplot… after tinv: loaded in reverse


def app_for(host: Host) -> FastAPI:
    """The server's app: page at /, routes under /tinv/v1, which may also change things."""
    queue = JobQueue(lambda: host)
    app = FastAPI(title=page.TITLE)
    app.mount("/tinv/javascript", StaticFiles(directory=str(ASSETS / "javascript")))
    api.add_routes(app, queue, changing=True, credentials=None, allowed_paths=None)
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    with gr.Blocks(title=page.TITLE, css=style, analytics_enabled=False) as blocks:
        gr.Markdown(f"# {page.TITLE}")
        context = PageContext(choices={"preview_sampler": host.samplers})
        page.build(queue, host.embeddings_folder, lambda: host, context)
        blocks.load(fn=None, **{_js_name(): _loading(SCRIPTS)})
    blocks.queue()
    return gr.mount_gradio_app(app, blocks, path="/")


def serve(host: Host, port: int) -> None:
    """Answer on 127.0.0.1 until the process is stopped."""
    address = f"http://127.0.0.1:{port}/"
    print(message("webui.page_address", "Open {address} in a browser. Ctrl+C ends the program.", address=address))
    uvicorn.run(app_for(host), host="127.0.0.1", port=port, log_level="warning")


def _js_name() -> str:
    """gradio 4 calls it `js`, gradio 3 `_js`."""
    return "_js" if gr.__version__.startswith("3.") else "js"


def _loading(scripts: list[str]) -> str:
    """JavaScript that adds the scripts to the page, one after the other."""
    paths: Any = [f"tinv/javascript/{name}" for name in reversed(scripts)]
    return (
        f"async () => {{ for (const path of {paths!r}) await new Promise((done) => {{ "
        "const node = document.createElement('script'); node.src = path; node.onload = done; node.onerror = done; "
        "document.head.append(node); }); }"
    )
