"""The page without a WebUI: the same page and routes on a server of our own, with the diffusers host behind them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.same_origin import SameOrigin
from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext

PACKAGE = Path(__file__).parent
# A wheel has the page's script and style inside the package (setup.py); a clone has them where WebUIs look for them.
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else PACKAGE.parent
SCRIPTS = sorted(path.name for path in (ASSETS / "javascript").glob("*.js"))  # uplot… after tinv: loaded in reverse
HEAD_SECONDS = 10.0  # for a request's line and headers


def app_for(host: Host, hosts: Collection[str] = ()) -> FastAPI:
    """The server's app: page at /, routes under /tinv/v1, which may also change things.

    It answers to the names of this machine alone, and to `hosts`, and only programs and its own page.
    """
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
    app = gr.mount_gradio_app(app, blocks, path="/")
    app.add_middleware(SameOrigin, hosts=hosts, uploads=_uploads())
    return app


def _uploads() -> str:
    """Where gradio keeps what it was given and what it offers: routes.py of 3.41.2, utils.get_upload_folder of 4."""
    return os.environ.get("GRADIO_TEMP_DIR") or os.path.join(tempfile.gettempdir(), "gradio")


def serve(host: Host, port: int, hosts: Collection[str] = ()) -> None:
    """Answer on 127.0.0.1 until the process is stopped."""
    address = f"http://127.0.0.1:{port}/"
    print(message("webui.page_address", "Open {address} in a browser. Ctrl+C ends the program.", address=address))
    http: Any = timed_protocol  # a function in place of the class that it makes an object of
    uvicorn.run(app_for(host, hosts), host="127.0.0.1", port=port, log_level="warning", http=http)


def timed_protocol(**settings: Any) -> H11Protocol:
    """uvicorn's protocol, closed where a request's head takes longer than `HEAD_SECONDS`, twice that at most."""
    protocol = H11Protocol(**settings)
    asyncio.get_running_loop().call_later(HEAD_SECONDS, _look, protocol, True, None)
    return protocol


def _look(protocol: H11Protocol, waited: bool, cycle: Any) -> None:
    """`waited`: whether it waited for a head at the last look, too; then `cycle` was the request before that."""
    if protocol.transport.is_closing() or protocol.transport.get_protocol() is not protocol:  # gone, or a websocket
        return
    waits = str(protocol.conn.their_state) == "IDLE"
    if waits and waited and protocol.cycle is cycle:
        protocol.transport.close()
        return
    asyncio.get_running_loop().call_later(HEAD_SECONDS, _look, protocol, waits, protocol.cycle)


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
