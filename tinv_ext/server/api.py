"""The HTTP routes under /tinv/v1: look at jobs, and, where the owner allows it, start and control them.

Looking shows no paths, and needs no login, as with the WebUI's own /internal/progress, unless the page does
(--gradio-auth). Routes that change anything are only made when `changing` is set, and ask for the owner's credentials
where there are any, else for the page's login. No route answers to another page in the user's browser, and a body must
say that it is JSON, which no other page can say unasked. Sentences are English unless the request asks for another
language.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, HTTPException, Request

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import message, translated
from tinv_ext.server.routes import settings, training
from tinv_ext.server.routes.route import Language, Served, refused

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue

ROOT = "/tinv/v1"
SUBJECTS = (training, settings)
"""Files of routes: each has a function `routes`."""


def add_routes(
    app: FastAPI,
    queue: JobQueue,
    changing: bool,
    credentials: Mapping[str, str] | None,
    allowed_paths: PathCheck | None,
    allowed_origin: Callable[[str], bool] | None = None,
) -> None:
    """Add the routes to a program's app, after removing those of an earlier load of the extension.

    `allowed_origin` says which other pages the owner trusts.
    """
    from tinv_ext.server.openapi import described

    app.router.routes[:] = [route for route in app.router.routes if not getattr(route, "path", "").startswith(ROOT)]
    login = _page_login(app)
    look = [Depends(_own_page_check(allowed_origin)), Depends(_login_check(credentials or {}, login))]
    change = [look[0], Depends(_credentials_check(credentials)) if credentials else look[1]]
    served = Served(queue, allowed_paths)
    for route in [route for subject in SUBJECTS for route in subject.routes(served)]:
        if route.changing and not changing:
            continue
        needs = [*(change if route.changing else look), *([Depends(_json_only)] if route.method == "POST" else [])]
        about = described(route.method, route.path)
        app.add_api_route(ROOT + route.path, route.answer, dependencies=needs, **about)


async def _json_only(request: Request, language: str = Language) -> None:
    """415 for a body, or a header, that does not say application/json: a form, or what a browser sends unasked."""
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers
    if kind != "application/json" and (kind or not empty):
        wrong = message("api.not_json_type", 'Send settings with the header "Content-Type: application/json".')
        raise refused(InputError(wrong), language, 415)


def _own_page_check(allowed: Callable[[str], bool] | None) -> Callable[..., Any]:
    """403 for another page; here there may be a proxy or a tunnel (--share) in front."""
    from tinv_ext.server.same_origin import foreign_origin

    async def check(request: Request, language: str = Language) -> None:
        problem = foreign_origin(request.headers, request.method, allowed, behind_proxy=True)
        if problem:
            raise refused(InputError(problem), language, 403)

    return check


def _page_login(app: FastAPI) -> Callable[[Request], None]:
    """gradio's own check, if this is its app: in its routes.py, /user says who asks, /login_check raises 401."""
    own = {getattr(route, "path", ""): getattr(route, "endpoint", None) for route in app.router.routes}
    user, check = own.get("/user"), own.get("/login_check")
    return lambda request: check(user(request)) if user and check else None


def _login_check(credentials: Mapping[str, str], login: Callable[[Request], None]) -> Callable[..., None]:
    """The page's login, or the API's credentials in its place."""

    def check(request: Request) -> None:
        if not _knows(credentials, request):
            login(request)

    return check


def _credentials_check(credentials: Mapping[str, str]) -> Callable[..., None]:
    """HTTP Basic, as the WebUI's own --api-auth asks for it."""

    def check(request: Request, language: str = Language) -> None:
        if not _knows(credentials, request):
            wrong = message("api.wrong_credentials", "Incorrect username or password.")
            raise HTTPException(401, translated(wrong, language), headers={"WWW-Authenticate": "Basic"})

    return check


def _knows(credentials: Mapping[str, str], request: Request) -> bool:
    """Whether the request has one of the names with its password; compared in constant time."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return False
    right = hmac.compare_digest(credentials.get(name, "").encode(), password.encode())
    return scheme.lower() == "basic" and name in credentials and right
