"""Who may use a route: programs by credentials or login, the page by its token, and no other page of the browser.

Whoever may see the page may look. To change something needs the page's token or, where the owner has opened the API to
programs, its credentials, or the page's login if there are none.

The token is a random text of this process. Only the page's own HTML carries it, and gradio gives that to nobody who has
not logged in. No other page can read it there, or send it unasked: a header of one's own needs CORS's permission.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message, translated
from tinv_ext.server.routes.route import FILE, Language, Route, refused

TOKEN_HEADER = "X-Tinv-Page"
TYPES = {"json": "application/json", "file": FILE}


@dataclass(frozen=True)
class Access:
    """What the owner has allowed.

    `programs`: whether programs may change anything, `credentials` which names and passwords they then need.
    `allowed_origin` says which other pages the owner trusts. `token` is the page's; nobody has an empty one.
    """

    programs: bool = False
    credentials: Mapping[str, str] | None = None
    allowed_origin: Callable[[str], bool] | None = None
    token: str = ""

    def checks(self, app: FastAPI, route: Route) -> list[Any]:
        """The dependencies of a route in `app`, which may have a login."""
        login = page_login(app)
        right = _change_check(self, login) if route.changing else _login_check(self.credentials or {}, login)
        body = [Depends(_body_check(route.takes))] if route.method == "POST" else []
        return [Depends(_own_page_check(self.allowed_origin)), Depends(right), *body]


def page_login(app: FastAPI) -> Callable[[Request], None]:
    """gradio's own check, if this is its app: in its routes.py, /user says who asks, /login_check raises 401."""
    own = {getattr(route, "path", ""): getattr(route, "endpoint", None) for route in app.router.routes}
    user, check = own.get("/user"), own.get("/login_check")
    return lambda request: check(user(request)) if user and check else None


def _body_check(takes: str) -> Callable[..., Any]:
    """415 for a body, or a header, that does not say what the route takes: a form, or what a browser sends unasked."""

    async def check(request: Request, language: str = Language) -> None:
        headers = request.headers
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        empty = headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers
        if kind != TYPES[takes] and (kind or not empty):
            wrong = message(
                "api.not_json_type", 'Send the body with the header "Content-Type: {type}".', type=TYPES[takes]
            )
            raise refused(InputError(wrong), language, 415)

    return check


def _own_page_check(allowed: Callable[[str], bool] | None) -> Callable[..., Any]:
    """403 for another page; here there may be a proxy or a tunnel (--share) in front."""
    from tinv_ext.server.same_origin import foreign_origin

    async def check(request: Request, language: str = Language) -> None:
        problem = foreign_origin(request.headers, request.method, allowed, behind_proxy=True)
        if problem:
            raise refused(InputError(problem), language, 403)

    return check


def _login_check(credentials: Mapping[str, str], login: Callable[[Request], None]) -> Callable[..., None]:
    """The page's login, or the API's credentials in its place."""

    def check(request: Request) -> None:
        if not _knows(credentials, request):
            login(request)

    return check


def _change_check(access: Access, login: Callable[[Request], None]) -> Callable[..., None]:
    """The page's token, and its login; else what the owner asks of programs, for whom the route may not exist (404)."""

    def check(request: Request, language: str = Language) -> None:
        given = request.headers.get(TOKEN_HEADER)
        if given is not None:
            if not access.token or not hmac.compare_digest(access.token.encode(), given.encode("utf-8", "replace")):
                outdated = message(
                    "api.page_outdated",
                    "This page is from before the program was restarted. Reload it; a run that is in progress goes on.",
                )
                raise refused(InputError(outdated), language, 403)
            login(request)
        elif not access.programs:
            raise HTTPException(404)
        elif not access.credentials:
            login(request)
        elif not _knows(access.credentials, request):
            wrong = message("api.wrong_credentials", "Incorrect username or password.")
            raise HTTPException(401, translated(wrong, language), headers={"WWW-Authenticate": "Basic"})

    return check


def _knows(credentials: Mapping[str, str], request: Request) -> bool:
    """Whether the request has one of the names with its password (HTTP Basic); compared in constant time."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    right = hmac.compare_digest(credentials.get(name, "").encode(), password.encode())
    return scheme.lower() == "basic" and name in credentials and right
