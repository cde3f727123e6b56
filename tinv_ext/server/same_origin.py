"""Who may ask: programs and our own page, but no other page that is open in the same browser.

A browser lets any web page send requests to this machine. It says which page asks (Origin, RFC 6454; Sec-Fetch-Site,
W3C Fetch Metadata), and no page can change that. Programs send neither. A name of the stranger's own that leads to this
machine (DNS rebinding) is told by Host. Only what ASGI itself gives is used here, so it stands in front of any server.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.language import accepted_language

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
BODY_SECONDS = 30.0  # between two parts of a body
_OWN = ("same-origin", "none")  # Sec-Fetch-Site: our page, or the user by the address bar
# What gradio makes available under its own temporary folder comes from anybody: it is saved, never shown.
_AS_FILE = (
    (b"content-type", b"application/octet-stream"),
    (b"content-disposition", b"attachment"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox"),
)
_NO_FRAME = (b"content-security-policy", b"frame-ancestors 'self'")


def foreign_host(headers: Mapping[str, str], hosts: Collection[str]) -> Message | None:
    """What to say where the request asks for a host by another name than one of `hosts`; the port may be any."""
    host = headers.get("host", "").lower()
    name = re.sub(r":\d*$", "", host)
    if name in hosts:
        return None
    return message(
        "server.foreign_host",
        'This server does not answer as "{host}". Open the address that it printed, or start it with '
        "--allow-host {host}.",
        host=name[:100],
    )


def foreign_origin(
    headers: Mapping[str, str],
    method: str = "GET",
    allowed: Callable[[str], bool] | None = None,
    behind_proxy: bool = False,
) -> Message | None:
    """What to say where another page asks.

    Our page's origin is that of Host. Behind a proxy it may also be that of X-Forwarded-Host, which no page can send to
    another without asking first (CORS), or what Sec-Fetch-Site says. `allowed(origin)`: those that the owner trusts.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is None:
        link = (method, headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("GET", "navigate", "document")
        if site is None or site in _OWN or link or allowed:
            return None
        return _foreign(site)
    hosts = [headers.get("host", "")]
    if behind_proxy:
        hosts += headers.get("x-forwarded-host", "").split(",")
    scheme, _, host = origin.lower().partition("://")
    own = scheme in ("http", "https") and host in [name.strip().lower() for name in hosts if name.strip()]
    if own or (behind_proxy and site == "same-origin") or (allowed and allowed(origin)):
        return None
    return _foreign(origin)


def _foreign(origin: str) -> Message:
    return message(
        "server.foreign_origin",
        'Another page ("{origin}") asked for this. Only this program\'s own page may, and programs that are no page.',
        origin=origin[:100],
    )


class SameOrigin:
    """ASGI middleware in front of a whole server; `hosts` are the names it answers to, `uploads` gradio's files."""

    def __init__(self, app: App, hosts: Collection[str], uploads: str) -> None:
        self.app = app
        self.hosts = {*LOOPBACK, *(host.lower() for host in hosts)}
        self.uploads = os.path.realpath(uploads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse strangers with 403; else let the app answer."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        served = _file_asked(scope["path"])
        problem = foreign_host(headers, self.hosts) or foreign_origin(headers, scope.get("method", ""))
        if problem is None and served is not None and not self._may_serve(served):
            problem = message("server.file_not_served", "This file is not one that the page made or was given.")
        if problem is not None:
            await _refuse(scope, send, translated(problem, accepted_language(headers.get("accept-language"))))
        elif scope["type"] == "websocket":
            await self.app(scope, receive, send)
        else:
            await self.app(scope, _in_time(receive), _safer(send, served is not None))

    def _may_serve(self, path: str) -> bool:
        """Whether it is a file below gradio's temporary folder: no address, nothing of another machine's."""
        local = os.path.isabs(path) and not path.replace("\\", "/").startswith("//")
        return local and os.path.realpath(path).startswith(self.uploads + os.sep)


def _file_asked(path: str) -> str | None:
    """What gradio's routes /file=, /file/ and /proxy= would be asked for; None for every other address."""
    name = path.lstrip("/")
    for prefix in ("file=", "file/", "proxy="):
        if name.startswith(prefix):
            return "" if prefix == "proxy=" else name[len(prefix) :]
    return None


async def _refuse(scope: Scope, send: Send, sentence: str) -> None:
    if scope["type"] == "websocket":  # closed before it is accepted: the server answers 403
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"detail": {"problems": [sentence]}}, ensure_ascii=False).encode("utf-8")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})


def _in_time(receive: Receive) -> Receive:
    """`receive`, where a body that stops coming counts as a client that went away."""
    whole = False

    async def timed() -> MutableMapping[str, Any]:
        nonlocal whole
        if whole:
            return await receive()
        try:
            part = await asyncio.wait_for(receive(), BODY_SECONDS)
        except asyncio.TimeoutError:
            return {"type": "http.disconnect"}
        whole = not part.get("more_body", False)
        return part

    return timed


def _safer(send: Send, is_file: bool) -> Send:
    """`send` with the headers that keep other pages from framing ours, and files from being shown as pages."""
    added = _AS_FILE if is_file else (_NO_FRAME,)
    names = {name for name, _ in added}

    async def sent(event: MutableMapping[str, Any]) -> None:
        if event["type"] == "http.response.start":
            kept = [(name, value) for name, value in event.get("headers", []) if name.lower() not in names]
            event = {**event, "headers": [*kept, *added]}
        await send(event)

    return sent
