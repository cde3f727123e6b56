"""The HTTP routes under /tinv/v1: look at jobs, and, where the owner allows it, start and steer them.

Looking needs no login, as with the WebUI's own /internal/progress, and shows no paths. Routes that change anything are
only made when `changing` is set, and ask for the owner's credentials where there are any.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.settings import DEFAULTS, SETTINGS

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue

ROOT = "/tinv/v1"
BODY = 64 * 1024  # bytes of settings; a request with more is refused


def add_routes(
    app: FastAPI, jobs: JobQueue, changing: bool, credentials: Mapping[str, str] | None, confine: PathCheck | None
) -> None:
    """Add the routes to a program's app, those of an earlier load of the extension taken out first."""
    app.router.routes[:] = [route for route in app.router.routes if not getattr(route, "path", "").startswith(ROOT)]
    for path, view in {"/status": _status(jobs), "/schema": schema, "/picture": _picture(jobs)}.items():
        app.add_api_route(ROOT + path, view, methods=["GET"])
    if not changing:
        return
    guard = [Depends(_guard(credentials))] if credentials else []
    for path, view in {"/jobs": _jobs(jobs), "/runs": _runs(jobs, confine)}.items():
        app.add_api_route(ROOT + path, view, methods=["GET"], dependencies=guard)
    changes = {"/train": _train(jobs, confine), "/check": _check(jobs, confine), "/resume": _resume(jobs, confine)}
    changes.update({f"/{wish}": _wish(jobs, wish) for wish in ("stop", "pause", "snapshot", "preview")})
    for path, view in changes.items():
        app.add_api_route(ROOT + path, view, methods=["POST"], dependencies=guard)


def schema() -> JSONResponse:
    """Every setting with its label, help, limits and default."""
    said = {}
    for name, about in SETTINGS.items():
        facts = {
            key: value
            for key, value in asdict(about).items()
            if key != "check" and not (value is None or value is False or value == ())
        }
        said[name] = {**facts, "default": DEFAULTS[name], "type": type(DEFAULTS[name]).__name__}
    return JSONResponse(said)


def _status(jobs: JobQueue) -> Callable[..., JSONResponse]:
    def status(job: str = "", since: int = 0) -> JSONResponse:
        """The job of this id, or the one being carried out, else the last; the curve after step `since`."""
        try:
            one = jobs.get(job) if job else jobs.current()
        except InputError as error:
            raise _refused(error, 404) from error
        queued = [other.config.name for other in jobs.all() if other.status == "queued"]
        found = {"job": one.view(since) if one else None, "queued": queued}
        return JSONResponse({**found, "interrupted": jobs.interrupted()})

    return status


def _picture(jobs: JobQueue) -> Callable[..., FileResponse]:
    def picture(job: str, index: int) -> FileResponse:
        """A preview of a job, by its place in the list that the status shows."""
        try:
            previews = jobs.get(job).previews
        except InputError as error:
            raise _refused(error, 404) from error
        if not 0 <= index < len(previews):
            raise HTTPException(404, f"There is no preview {index}.")
        return FileResponse(previews[index][1], media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    return picture


def _jobs(jobs: JobQueue) -> Callable[[], JSONResponse]:
    def all_jobs() -> JSONResponse:
        """The jobs since the program was started, oldest first, without their curves."""
        return JSONResponse([{**one.view(since=one.steps), "path": one.file} for one in jobs.all()])

    return all_jobs


def _runs(jobs: JobQueue, confine: PathCheck | None) -> Callable[[str], JSONResponse]:
    def runs(output: str = DEFAULTS["output"]) -> JSONResponse:
        """The runs in a log directory, newest first; 422 for a directory that may not be looked into."""
        outside = confine({"output": jobs.placed(output)}) if confine else []
        if outside:
            raise _refused(InputError(outside))
        return JSONResponse(jobs.runs(output))

    return runs


def _resume(jobs: JobQueue, confine: PathCheck | None) -> Callable[..., Any]:
    async def resume(request: Request, job: str = "", run: str = "", output: str = DEFAULTS["output"]) -> JSONResponse:
        """Go on with a paused job (`job`), or with a stopped or interrupted run (`run`, settings to change as body)."""
        if bool(job) == bool(run):
            raise HTTPException(422, {"problems": ["Say which job or which run is to go on, one of the two."]})
        changes = await _body(request)

        def act() -> JSONResponse:
            if job:
                return JSONResponse({"status": jobs.wish(job, "resume").status})
            return JSONResponse({"id": jobs.resume(output, run, changes, confine).id}, 202)

        return await _aside(act)

    return resume


def _train(jobs: JobQueue, confine: PathCheck | None) -> Callable[[Request], Any]:
    async def train(request: Request) -> JSONResponse:
        """Check the settings and queue a run: 202 and the job's id, or 422 and every problem."""
        values = await _body(request)
        return await _aside(lambda: JSONResponse({"id": jobs.submit(values, confine).id}, 202))

    return train


def _check(jobs: JobQueue, confine: PathCheck | None) -> Callable[[Request], Any]:
    async def check(request: Request) -> JSONResponse:
        """What a run of these settings would do, or 422 and every problem."""
        values = await _body(request)

        def look() -> JSONResponse:
            found = jobs.examine(values, confine)
            return JSONResponse({"notices": list(found.notices), "prompts": found.prompts(10)})

        return await _aside(look)

    return check


def _wish(jobs: JobQueue, wish: str) -> Callable[[str], JSONResponse]:
    def ask(job: str) -> JSONResponse:
        """Ask this of a job; 422 if it cannot be had."""
        try:
            return JSONResponse({"status": jobs.wish(job, wish).status})
        except InputError as error:
            raise _refused(error) from error

    return ask


async def _body(request: Request) -> dict[str, Any]:
    """The request's JSON object. 413 if it is too large, 422 if it is none."""
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > BODY:
            raise HTTPException(413, f"The settings are larger than {BODY} bytes.")
    try:
        values = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, {"problems": [f"The body is not JSON: {error}"]}) from error
    if not isinstance(values, dict):
        raise HTTPException(422, {"problems": ["The body must be a JSON object of settings by name."]})
    return values


async def _aside(work: Callable[[], JSONResponse]) -> JSONResponse:
    """Do what reads pictures in a thread of its own, so that the server goes on answering."""
    try:
        return await run_in_threadpool(work)
    except TinvError as error:
        raise _refused(error) from error


def _refused(error: TinvError, code: int = 422) -> HTTPException:
    return HTTPException(code, {"problems": list(error.problems)})


def _guard(credentials: Mapping[str, str]) -> Callable[[Request], None]:
    """HTTP Basic, as the WebUI's own --api-auth asks for it; compared in constant time."""

    def check(request: Request) -> None:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name, password = "", ""
        known = credentials.get(name, "")
        right = hmac.compare_digest(known.encode(), password.encode())
        if kind.lower() != "basic" or name not in credentials or not right:
            raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    return check
