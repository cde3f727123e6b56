"""Routes that are built when the first of them is asked: FastAPI reads each one's signature, which takes a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from starlette.routing import BaseRoute, Route

from tinv_ext.core.errors import TinvError

_REST = "tinv_rest"


class LateRoutes:
    """Stands in an app's list of routes for all below `root`, until the first request, which puts them in its place.

    `build` makes them: in a thread, so that the program goes on answering, and once, however many requests wait. What
    it raises is logged, and told to whoever asked; the next request tries again. Whoever wants the app's OpenAPI
    description has the routes built, too.
    """

    def __init__(self, app: FastAPI, root: str, build: Callable[[], list[BaseRoute]]) -> None:
        self._app, self._build = app, build
        self._described: Callable[[], dict[str, Any]] = app.openapi
        self._building = threading.Lock()
        self._built: list[BaseRoute] | None = None
        self._place = Route(f"{root}/{{{_REST}:path}}", self, include_in_schema=False)  # an ASGI app: of every method

    def add(self) -> None:
        """Put it into the app, behind the routes that are there."""
        self._app.router.routes.append(self._place)
        earlier = getattr(self._described, "__self__", None)
        if isinstance(earlier, LateRoutes):  # those of before a reload are to be forgotten
            self._described = earlier._described
        self._app.openapi = self.openapi  # FastAPI's own way to extend a description

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Have the request answered by the routes, as if they had been there from the beginning."""
        try:
            routes = await run_in_threadpool(self._routes)
        except TinvError as error:
            from tinv_ext.server.routes.route import language_asked, refused

            raise refused(error, await language_asked(Request(scope))) from error
        self._put(routes)
        scope["path_params"] = {name: value for name, value in scope["path_params"].items() if name != _REST}
        await self._app.router(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The app's description, with our routes in it; where they cannot be built, without: the log says why."""
        with suppress(TinvError):  # `_routes` has logged it
            self._put(self._routes())
        return self._described()

    def _routes(self) -> list[BaseRoute]:
        with self._building:
            if self._built is None:
                try:
                    self._built = self._build()
                except Exception:
                    from tinv_ext.server.failures import errors_told  # it brings the engine along

                    with errors_told():
                        raise
            return self._built

    def _put(self, routes: list[BaseRoute]) -> None:
        """In its place. Only in the thread of the event loop, which no request leaves while it looks for its route."""
        all_routes = self._app.router.routes
        if self._place in all_routes:  # neither replaced by another request nor removed by a reload
            at = all_routes.index(self._place)
            all_routes[at : at + 1] = routes
            self._app.openapi_schema = None  # made again: it may have been asked for while they could not be built
