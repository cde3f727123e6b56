"""The HTTP routes under /tinv/v1: look at jobs, and, for whom the owner allows it, start and control them.

Looking shows no paths, and needs no login, as with the WebUI's own /internal/progress, unless the page does
(--gradio-auth). Who may change anything, `routes/access.py` says: the page, and programs where the owner has opened the
API to them. No route answers to another page in the user's browser, and a body must say that it is JSON, which no other
page can say unasked. Sentences are English unless the request asks for another language.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI, Response
from starlette.routing import BaseRoute

from tinv_ext.server.routes.late_routes import LateRoutes

if TYPE_CHECKING:
    from tinv_ext.library.library import Library
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.preparations import Preparations
    from tinv_ext.server.routes.route import Route

ROOT = "/tinv/v1"


def add_routes(
    app: FastAPI,
    queue: JobQueue,
    changing: bool,
    credentials: Mapping[str, str] | None,
    allowed_paths: PathCheck | None,
    allowed_origin: Callable[[str], bool] | None = None,
    token: str = "",
    more: Iterable[Route] = (),
    library: Library | None = None,
    preparations: Preparations | None = None,
) -> None:
    """Add the routes to a program's app, after removing those of an earlier load of the extension.

    They are built when the first of them is asked.

    `changing`: whether programs may change anything, with `credentials` if there are any. `allowed_origin` says which
    other pages the owner trusts. `token` is the page's own way in. `more` are routes of rooms above this one; without
    a `library` there are none for embeddings, and without `preparations` none for these.
    """
    more = tuple(more)
    app.router.routes[:] = [route for route in app.router.routes if not getattr(route, "path", "").startswith(ROOT)]

    def build() -> list[BaseRoute]:
        """All of them, as `app` would make them, but not yet in it."""
        from tinv_ext.server.openapi import described
        from tinv_ext.server.routes.access import TYPES, Access
        from tinv_ext.server.routes.route import Served
        from tinv_ext.server.routes.subjects import SUBJECTS

        access = Access(changing, credentials, allowed_origin, token)
        served = Served(queue, allowed_paths, library, preparations)
        router = copy.copy(app.router)
        built: list[BaseRoute] = []
        router.routes = built
        for route in [*(route for subject in SUBJECTS for route in subject.routes(served)), *more]:
            router.add_api_route(
                ROOT + route.path,
                route.answer,
                dependencies=access.checks(app, route),
                include_in_schema=route.described and (changing or not route.changing),
                **described(route.method, route.path, TYPES[route.takes], route.gives),
                **({"response_class": Response} if route.gives else {}),
            )
        return built

    LateRoutes(app, ROOT, build).add()
