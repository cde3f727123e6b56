"""The jobs that are not over, in their order, and that order changed; what an earlier program has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse

from tinv_ext.core.messages import translated
from tinv_ext.server.routes.body import texts
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread, in_turn, json_body

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    queue = served.queue
    return [
        Route("GET", "/queue", queue_route(queue), changing=False),
        Route("POST", "/queue/order", order_route(queue)),
        Route("GET", "/queue/left", left_route(queue, served.allowed_paths)),
        Route("POST", "/queue/again", again_route(queue, served.allowed_paths)),
        Route("POST", "/queue/forget", forget_route(queue)),
        Route("POST", "/runs/leave", leave_route(queue, served.allowed_paths)),
    ]


def queue_route(queue: JobQueue) -> Answer:
    """GET /queue."""

    def listed(over: int = 0, language: str = Language) -> JSONResponse:
        """Id, name, status and steps of each job that is not over, the one at work first.

        After them the last `over` jobs that are, the newest first, but for those that were taken out while they waited.
        """
        return JSONResponse(_listed(queue, language, over))

    return listed


def order_route(queue: JobQueue) -> Answer:
    """POST /queue/order."""

    async def order(request: Request, language: str = Language) -> JSONResponse:
        """Carry out the waiting jobs in the order of the ids in `jobs`. To take one out, stop it."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            queue.reorder(texts(values, "jobs"))
            return JSONResponse(_listed(queue, language))

        return await in_thread(answer, language)

    return order


def left_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """GET /queue/left."""

    async def left(run: str, language: str = Language) -> JSONResponse:
        """Settings of a run that waited when an earlier program ended, by its id in `waited` of /status."""
        return await in_thread(lambda: JSONResponse({"settings": queue.left.settings_of(run, allowed_paths)}), language)

    return left


def again_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """POST /queue/again."""

    async def again(run: str, language: str = Language) -> JSONResponse:
        """Queue a run that waited when an earlier program ended, by its id in `waited` of /status."""
        return await in_turn(lambda: JSONResponse({"id": queue.left.queue_again(run, allowed_paths).id}, 202), language)

    return again


def forget_route(queue: JobQueue) -> Answer:
    """POST /queue/forget."""

    async def forget(run: str, undo: bool = False, language: str = Language) -> JSONResponse:
        """Offer such a run no longer; with `undo`, until the program ends, it is offered again."""

        def answer() -> JSONResponse:
            queue.left.forget(run, not undo)
            return JSONResponse(queue.left.waited())

        return await in_thread(answer, language)

    return forget


def leave_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """POST /runs/leave."""

    async def leave(run: str, undo: bool = False, language: str = Language) -> JSONResponse:
        """Offer an interrupted run no longer, by its id in `interrupted` of /status; with `undo` again."""

        def answer() -> JSONResponse:
            queue.left.leave(run, not undo, allowed_paths)
            return JSONResponse(queue.left.interrupted())

        return await in_thread(answer, language)

    return leave


def _listed(queue: JobQueue, language: str, over: int = 0) -> list[dict[str, Any]]:
    from tinv_ext.server.live_texts import status_word

    active = queue.active()
    ended = [job for job in reversed(queue.all()) if job not in active and (job.folder or job.status != "stopped")]
    return [
        {
            "id": job.id,
            "name": job.config.name,
            "status": job.status,
            "status_word": translated(status_word(job.status), language),
            "steps": job.steps,
            "total": job.now.total,
            "over": job not in active,
        }
        for job in [*active, *ended[: max(0, over)]]
    ]
