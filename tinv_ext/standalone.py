"""The page without a WebUI: the same page and routes on a server of our own, with the diffusers host behind them."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext

Stop = Callable[[], None]
ADDRESS = "127.0.0.1"
_LINGER = 2  # seconds that open pages may take to let go when the server ends
PACKAGE = Path(__file__).parent
# A wheel has the page's script and style inside the package (setup.py); a clone has them where WebUIs look for them.
ASSETS = PACKAGE / "assets" if (PACKAGE / "assets").is_dir() else PACKAGE.parent
SCRIPTS = sorted(path.name for path in (ASSETS / "javascript").glob("*.js"))  # uplot… after tinv: loaded in reverse


def app_for(host: Host, queue: JobQueue | None = None) -> FastAPI:
    """The server's app: page at /, routes under /tinv/v1, which may also change things."""
    queue = queue or JobQueue(lambda: host)
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


def listen(port: int) -> socket.socket:
    """A socket of this machine alone. `InputError` where the port is impossible, taken or forbidden."""
    if not 1 <= port <= 65535:
        raise InputError(message("webui.no_port", "The port must be from 1 to 65535, not {port}.", port=port))
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let two programs have the same port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((ADDRESS, port))
        bound.listen()
    except OSError as error:
        bound.close()
        raise InputError(
            message(
                "webui.port_taken",
                "The port {port} cannot be used ({reason}). Choose another one with --port.",
                port=port,
                reason=error.strerror or str(error),
            )
        ) from error
    return bound


def serve(
    host: Host,
    bound: socket.socket,
    stopping: Callable[[Stop], AbstractContextManager[None]],
    tell: Callable[[str], None],
) -> bool:
    """Answer at a socket until the process is asked to end; whether runs were then stopped and saved.

    `stopping(stop)` is a context in which a wish to end calls `stop`. `tell` hears what a person should know.
    """
    queue = JobQueue(lambda: host)
    server = uvicorn.Server(
        uvicorn.Config(app_for(host, queue), log_level="warning", timeout_graceful_shutdown=_LINGER)
    )
    server.install_signal_handlers, server.capture_signals = (lambda: None), nullcontext  # they are ours: `stopping`
    address = f"http://{ADDRESS}:{bound.getsockname()[1]}/"
    tell(message("webui.page_address", "Open {address} in a browser. Ctrl+C ends the program.", address=address))

    def stop() -> None:
        server.should_exit = True

    with stopping(stop):
        try:
            server.run(sockets=[bound])
        finally:
            ended = queue.end()
    for job in ended:
        tell(message("webui.run_saved", '"{name}" was stopped at step {step}.', name=job.config.name, step=job.steps))
    return bool(ended)


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
