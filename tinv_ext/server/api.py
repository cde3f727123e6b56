"""The HTTP routes under /tinv/v1: look at jobs, and, for whom the owner allows it, start and control them.

Looking shows no paths, and needs no login, as with the WebUI's own /internal/progress, unless the page does
(--gradio-auth). Who may change anything, `routes/access.py` says: the page, and programs where the owner has opened the
API to them. No route answers to another page in the user's browser, and a body must say that it is JSON, which no other
page can say unasked. Sentences are English unless the request asks for another language.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from fastapi import FastAPI

from tinv_ext.server.routes import (
    embedding_changes,
    embeddings,
    generation,
    history,
    images,
    outlook,
    page,
    preparing,
    presets,
    queue_order,
    settings,
    templates,
    training,
    watch,
)
from tinv_ext.server.routes.access import Access
from tinv_ext.server.routes.route import Route, Served

if TYPE_CHECKING:
    from tinv_ext.library.library import Library
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.preparations import Preparations

ROOT = "/tinv/v1"
SUBJECTS = (
    training,
    watch,
    settings,
    page,
    embeddings,
    embedding_changes,
    generation,
    history,
    queue_order,
    presets,
    preparing,
    images,
    outlook,
    templates,
)
"""Files of routes: each has a function `routes`."""


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

    `changing`: whether programs may change anything, with `credentials` if there are any. `allowed_origin` says which
    other pages the owner trusts. `token` is the page's own way in. `more` are routes of rooms above this one; without
    a `library` there are none for embeddings, and without `preparations` none for these.
    """
    from tinv_ext.server.openapi import described

    app.router.routes[:] = [route for route in app.router.routes if not getattr(route, "path", "").startswith(ROOT)]
    access = Access(changing, credentials, allowed_origin, token)
    served = Served(queue, allowed_paths, library, preparations)
    for route in [*(route for subject in SUBJECTS for route in subject.routes(served)), *more]:
        app.add_api_route(
            ROOT + route.path,
            route.answer,
            dependencies=access.checks(app, route),
            include_in_schema=route.described and (changing or not route.changing),
            **described(route.method, route.path),
        )
