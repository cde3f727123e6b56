"""The HTTP routes under /tinv/v1: look at jobs, and, where the owner allows it, start and control them.

Looking shows no paths, and needs no login, as with the WebUI's own /internal/progress, unless the page does
(--gradio-auth). Routes that change anything are only made when `changing` is set, and ask for the owner's credentials
where there are any, else for the page's login. No route answers to another page in the user's browser, and a body must
say that it is JSON, which no other page can say unasked. Sentences are English unless the request asks for another
language.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, language_of, message, translated
from tinv_ext.core.settings import DEFAULTS, SETTINGS

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.queued_run import Job

Route = Callable[..., Any]
ROOT = "/tinv/v1"
MAX_BODY = 64 * 1024  # bytes of settings; a request with more is refused
BODY_SECONDS = 20.0  # for the whole of it
_TURNS = ThreadPoolExecutor(1, "tinv-turns")
COMMANDS = ("stop", "pause", "snapshot", "preview")  # those that have a route of their own


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
    public = {"/status": status_route(queue), "/schema": schema, "/labels": labels, "/picture": picture_route(queue)}
    for path, route in public.items():
        app.add_api_route(ROOT + path, route, dependencies=look, **described("GET", path))
    if not changing:
        return
    for path, route in {"/jobs": jobs_route(queue), "/runs": runs_route(queue, allowed_paths)}.items():
        app.add_api_route(ROOT + path, route, dependencies=change, **described("GET", path))
    changes = {
        "/train": train_route(queue, allowed_paths),
        "/check": check_route(queue, allowed_paths),
        "/resume": resume_route(queue, allowed_paths),
        **{f"/{command}": command_route(queue, command) for command in COMMANDS},
    }
    json_only = [*change, Depends(_json_only)]
    for path, route in changes.items():
        app.add_api_route(ROOT + path, route, dependencies=json_only, **described("POST", path))


async def language_asked(request: Request, language: str = "") -> str:
    """The language to answer in: the query's, else the one that the Accept-Language header prefers, else English."""
    from tinv_ext.server.language import accepted_language

    return language_of(language) if language else accepted_language(request.headers.get("accept-language"))


Language = Depends(language_asked)


def schema(language: str = Language) -> JSONResponse:
    """Every setting with its label, help, limits and default."""
    from tinv_ext.server.language import page_labels

    texts = page_labels(language)
    described = {}
    for name, about in SETTINGS.items():
        known = {item.name: getattr(about, item.name) for item in fields(about) if item.name != "check"}
        known |= {key: list(known[key]) for key in ("choices", "suggestions")}  # of a table, the names of its rows
        facts = {
            key: texts.get(value, value) if key in ("label", "help") else value
            for key, value in known.items()
            if not (value is None or value is False or value in ([], {}))
        }
        described[name] = {**facts, "default": DEFAULTS[name], "type": type(DEFAULTS[name]).__name__}
    return JSONResponse(described)


def labels(language: str = Language) -> JSONResponse:
    """The page's fixed labels by their English, for a page that nobody else translates; none in English."""
    from tinv_ext.server.language import page_labels

    return JSONResponse(dict(page_labels(language)))


def status_route(queue: JobQueue) -> Route:
    """GET /status."""
    from tinv_ext.server import live_texts
    from tinv_ext.server.language import all_translated

    def status(job: str = "", since: int = 0, language: str = Language) -> JSONResponse:
        """The job of this id, or the one being carried out, else the last.

        Of the curve the first rows after step `since`; `more` says that others follow them.
        """
        try:
            shown = queue.get(job) if job else queue.current()
        except InputError as error:
            raise _refused(error, language, 404) from error
        queued = [other.config.name for other in queue.all() if other.status == "queued"]
        interrupted = queue.interrupted()
        texts: dict[str, Any] = {key: translated(label, language) for key, label in live_texts.LABELS.items()}
        texts["interrupted"] = all_translated(map(live_texts.interrupted, interrupted), language)
        view = None
        if shown:
            view = _view(shown, language, since)
            texts["title"] = translated(live_texts.title(view["name"], view["status"], queued), language)
            texts["figures"] = all_translated(live_texts.figures(shown, view), language)
        answer = {"job": view, "queued": queued, "interrupted": interrupted}
        return JSONResponse({**answer, "language": language, "texts": texts})

    return status


def picture_route(queue: JobQueue) -> Route:
    """GET /picture."""

    def picture(job: str, index: int, language: str = Language) -> FileResponse:
        """A preview of a job, by its place in the list that the status shows."""
        try:
            previews = queue.get(job).previews
        except InputError as error:
            raise _refused(error, language, 404) from error
        if not 0 <= index < len(previews):
            missing = message("api.no_preview", "There is no preview {index}.", index=index)
            raise HTTPException(404, translated(missing, language))
        return FileResponse(previews[index][1], media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    return picture


def jobs_route(queue: JobQueue) -> Route:
    """GET /jobs."""

    def jobs(language: str = Language) -> JSONResponse:
        """The jobs since the program was started, oldest first, without their curves."""
        return JSONResponse([{**_view(job, language, job.steps), "path": job.file} for job in queue.all()])

    return jobs


def runs_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Route:
    """GET /runs."""
    from tinv_ext.server.failures import errors_told

    def runs(output: str = DEFAULTS["output"], language: str = Language) -> JSONResponse:
        """The runs in a log directory, newest first; 422 for a directory that may not be looked into."""
        try:
            with errors_told():
                queue.check_paths({"output": queue.placed(output)}, allowed_paths)
                found = queue.runs(output)
        except TinvError as error:
            raise _refused(error, language) from error
        return JSONResponse([{**run, "reason": translated(run["reason"], language)} for run in found])

    return runs


def resume_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Route:
    """POST /resume."""

    async def resume(
        request: Request,
        job: str = "",
        run: str = "",
        output: str = DEFAULTS["output"],
        language: str = Language,
    ) -> JSONResponse:
        """Resume a paused job (`job`), or a stopped or interrupted run (`run`, with settings to change as body)."""
        if bool(job) == bool(run):
            either = message("api.job_or_run", "Name either a job (job) or a run (run) to resume.")
            raise _refused(InputError(either), language)
        changes = await _settings(request, language)

        def answer() -> JSONResponse:
            if job:
                commanded = queue.command(job, "resume")
                queue.obeyed(commanded, "resume")
                return JSONResponse({"status": commanded.status})
            return JSONResponse({"id": queue.resume(output, run, changes, allowed_paths).id}, 202)

        return await (_in_thread if job else _in_turn)(answer, language)

    return resume


def train_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Route:
    """POST /train."""

    async def train(request: Request, language: str = Language) -> JSONResponse:
        """Check the settings and queue a run: 202 and the job's id, or 422 and every problem."""
        values = await _settings(request, language)
        return await _in_turn(lambda: JSONResponse({"id": queue.submit(values, allowed_paths).id}, 202), language)

    return train


def check_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Route:
    """POST /check."""
    from tinv_ext.server.language import all_translated

    async def check(request: Request, language: str = Language) -> JSONResponse:
        """What a run of these settings would do, or 422 and every problem."""
        values = await _settings(request, language)

        def answer() -> JSONResponse:
            prepared = queue.examine(values, allowed_paths)
            notices = all_translated(prepared.notices, language)
            return JSONResponse({"notices": notices, "prompts": prepared.prompts(10)})

        return await _in_turn(answer, language)

    return check


def command_route(queue: JobQueue, command: str) -> Route:
    """POST /stop, /pause, /snapshot or /preview."""
    from tinv_ext.server.failures import errors_told

    def send(job: str, language: str = Language) -> JSONResponse:
        """Send the command to a job; 422 if it cannot carry it out. The status is that after it, if it obeys soon."""
        try:
            with errors_told():
                commanded = queue.command(job, command)
                queue.obeyed(commanded, command)
                return JSONResponse({"status": commanded.status})
        except TinvError as error:
            raise _refused(error, language) from error

    return send


def _view(job: Job, language: str, since: int) -> dict[str, Any]:
    """A job as JSON, its sentences in the language."""
    from tinv_ext.server.language import all_translated

    view = job.view(since)
    return {
        **view,
        "reason": translated(view["reason"], language),
        "notices": all_translated(view["notices"], language),
    }


async def _settings(request: Request, language: str) -> dict[str, Any]:
    """The request's JSON object. 413 if it is too large, 408 if it is too slow, 422 if it is not an object."""
    try:
        data = await asyncio.wait_for(_body(request, language), BODY_SECONDS)
    except asyncio.TimeoutError as error:
        problem = message("api.body_too_slow", "The settings did not arrive within {seconds} s.", seconds=BODY_SECONDS)
        raise _refused(InputError(problem), language, 408) from error
    try:
        values = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        problem = message("api.body_not_json", "The body is not JSON: {error}.", error=error)
        raise _refused(InputError(problem), language) from error
    if not isinstance(values, dict):
        problem = message("api.body_not_an_object", "The body must be a JSON object with settings by name.")
        raise _refused(InputError(problem), language)
    return values


async def _body(request: Request, language: str) -> bytes:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            large = message("api.body_too_large", "The settings are larger than {limit} bytes.", limit=MAX_BODY)
            raise HTTPException(413, translated(large, language))
    return data


async def _in_thread(work: Callable[[], JSONResponse], language: str) -> JSONResponse:
    """Work in another thread, so that the server goes on answering."""
    return await run_in_threadpool(_told, work, language)


async def _in_turn(work: Callable[[], JSONResponse], language: str) -> JSONResponse:
    """As `_in_thread`, one after the other: many who wait must not take all threads from those who only look."""
    return await asyncio.get_running_loop().run_in_executor(_TURNS, _told, work, language)


def _told(work: Callable[[], JSONResponse], language: str) -> JSONResponse:
    from tinv_ext.server.failures import errors_told

    try:
        with errors_told():
            return work()
    except TinvError as error:
        raise _refused(error, language) from error


def _refused(error: TinvError, language: str, code: int = 422) -> HTTPException:
    """Every problem as a sentence, and its id, by which a program can recognise it; 500 for a bug."""
    from tinv_ext.server.failures import UnexpectedError

    code = 500 if isinstance(error, UnexpectedError) else code
    problems = [translated(problem, language) for problem in error.problems]
    ids = [problem.id if isinstance(problem, Message) else None for problem in error.problems]
    return HTTPException(code, {"problems": problems, "ids": ids})


async def _json_only(request: Request, language: str = Language) -> None:
    """415 for a body, or a header, that does not say application/json: a form, or what a browser sends unasked."""
    headers = request.headers
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = headers.get("content-length", "0").strip() == "0" and "transfer-encoding" not in headers
    if kind != "application/json" and (kind or not empty):
        wrong = message("api.not_json_type", 'Send settings with the header "Content-Type: application/json".')
        raise _refused(InputError(wrong), language, 415)


def _own_page_check(allowed: Callable[[str], bool] | None) -> Callable[..., Any]:
    """403 for another page; here there may be a proxy or a tunnel (--share) in front."""
    from tinv_ext.server.same_origin import foreign_origin

    async def check(request: Request, language: str = Language) -> None:
        problem = foreign_origin(request.headers, request.method, allowed, behind_proxy=True)
        if problem:
            raise _refused(InputError(problem), language, 403)

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
