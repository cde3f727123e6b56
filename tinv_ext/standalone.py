"""The page without a WebUI: the same page and routes on a server of our own, with the diffusers host behind them."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from uvicorn.protocols.http.h11_impl import H11Protocol

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message
from tinv_ext.hosts.base import Host
from tinv_ext.library.library import Library
from tinv_ext.server import api
from tinv_ext.server.job_queue import JobQueue
from tinv_ext.server.page_files import ASSETS
from tinv_ext.server.preparations import Preparations
from tinv_ext.server.same_origin import SameOrigin
from tinv_ext.ui import page
from tinv_ext.ui.context import PageContext

Stop = Callable[[], None]
ADDRESS = "127.0.0.1"
_LINGER = 2  # seconds that open pages may take to let go when the server ends
SCRIPTS = sorted(path.name for path in (ASSETS / "javascript").glob("*.js"))
_AT_ONCE = 16
HEAD_SECONDS = 10.0  # for a request's line and headers


def app_for(host: Host, queue: JobQueue | None = None, hosts: Collection[str] = ()) -> FastAPI:
    """The server's app: page at /, routes under /tinv/v1, which may also change things.

    It answers to the names of this machine alone, and to `hosts`, and only programs and its own page.
    """
    queue = queue or JobQueue(lambda: host)
    app = FastAPI(title=page.TITLE)
    app.mount("/tinv/javascript", StaticFiles(directory=str(ASSETS / "javascript")))
    token = secrets.token_urlsafe()
    library = Library(host.embeddings_folder, lambda: host, queue.logs)
    api.add_routes(
        app,
        queue,
        changing=True,
        credentials=None,
        allowed_paths=None,
        token=token,
        library=library,
        preparations=Preparations(),
    )
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    with _event_loop():
        with gr.Blocks(title=page.TITLE, css=style, analytics_enabled=False) as blocks:
            gr.Markdown(f"# {page.TITLE}")
            page.build(PageContext(token=token))
            blocks.load(fn=None, **{_js_name(): _loading(SCRIPTS)})
        blocks.queue(**{_at_once_name(): _AT_ONCE})
        app = gr.mount_gradio_app(app, blocks, path="/")
    app.add_middleware(SameOrigin, hosts=hosts, uploads=_uploads())
    return app


@contextmanager
def _event_loop() -> Iterator[None]:
    """See to it that this thread has an event loop, which `asyncio.run` takes away when it is done.

    Without one gradio 4 makes None of its queue's locks (utils.safe_get_lock), and no button of the page works.
    """
    try:
        asyncio.get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield


def _uploads() -> str:
    """Where gradio keeps what it was given and what it offers: routes.py of 3.41.2, utils.get_upload_folder of 4."""
    return os.environ.get("GRADIO_TEMP_DIR") or os.path.join(tempfile.gettempdir(), "gradio")


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
    hosts: Collection[str] = (),
) -> bool:
    """Answer at a socket until the process is asked to end; whether runs were then stopped and saved.

    `stopping(stop)` is a context in which a wish to end calls `stop`. `tell` hears what a person should know.
    """
    queue = JobQueue(lambda: host)
    http: Any = timed_protocol  # a function in place of the class that it makes an object of
    app = app_for(host, queue, hosts)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_LINGER, http=http)
    server = uvicorn.Server(config)
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
    if queue.left_waiting:
        tell(
            message(
                "webui.waiting_kept",
                "Runs that were waiting: {count}. They are kept; the page offers to queue them again the next time.",
                count=queue.left_waiting,
            )
        )
    return bool(ended)


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


def _at_once_name() -> str:
    """What gradio 3 and 4 call how many events may be at work at once; to follow a preparation is a long one."""
    return "concurrency_count" if gr.__version__.startswith("3.") else "default_concurrency_limit"


def _js_name() -> str:
    """gradio 4 calls it `js`, gradio 3 `_js`."""
    return "_js" if gr.__version__.startswith("3.") else "js"


def _loading(scripts: list[str]) -> str:
    """JavaScript that adds the scripts to the page, one after the other."""
    paths: Any = [f"tinv/javascript/{name}" for name in scripts]
    return (
        f"async () => {{ for (const path of {paths!r}) await new Promise((done) => {{ "
        "const node = document.createElement('script'); node.src = path; node.onload = done; node.onerror = done; "
        "document.head.append(node); }); }"
    )
