"""What a route is, and how it answers: bodies read within bounds, refusals in sentences, in the language asked for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, language_of, message, translated
from tinv_ext.server.late import late

if TYPE_CHECKING:
    from tinv_ext.library.library import Library
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.preparations import Preparations

Answer = Callable[..., Any]
MAX_BODY = 64 * 1024  # bytes of settings; a request with more is refused
BODY_SECONDS = 20.0  # for the whole of it
FILE = "application/octet-stream"
"""The media type of a file of any kind."""
NO_VALUES: Mapping[str, Any] = {}
_TURNS = ThreadPoolExecutor(1, "tinv-turns")


@dataclass(frozen=True)
class Route:
    """One address below /tinv/v1: what answers it, and whether it is for the owner alone.

    `changing`: it starts or changes something, or tells paths. A POST takes JSON and nothing else, or, where it `takes`
    a "file", that as application/octet-stream; a page elsewhere can send neither without asking first (CORS).
    `described`: whether /openapi.json tells of it, which it does not where only the page has a use for it. `gives`: the
    media types of the file that it answers with; JSON where there are none.
    """

    method: str
    path: str
    answer: Answer
    changing: bool = True
    described: bool = True
    takes: str = "json"
    gives: tuple[str, ...] = ()


@dataclass(frozen=True)
class Served:
    """What the routes work on. `allowed_paths` are those that a client may name, None for every one of this machine.

    `library` has the finished embeddings; without one there are no routes for them, and without `preparations` none for
    these.
    """

    queue: JobQueue
    allowed_paths: PathCheck | None
    library: Library | None = None
    preparations: Preparations | None = None


async def language_asked(request: Request) -> str:
    """The language to answer in: the query's, else the one that the Accept-Language header prefers, else English.

    FastAPI would read a parameter of its own once for every check of every route, most of what building them took;
    `openapi.py` describes it.
    """
    from tinv_ext.server.language import accepted_language

    asked = request.query_params.get("language", "")
    return language_of(asked) if asked else accepted_language(request.headers.get("accept-language"))


Language = Depends(language_asked)


async def json_body(request: Request, language: str) -> dict[str, Any]:
    """The request's JSON object. 413 if it is too large, 408 if it is too slow, 422 if it is not an object."""
    try:
        data = await asyncio.wait_for(_body(request, language), BODY_SECONDS)
    except asyncio.TimeoutError as error:
        problem = message("api.body_too_slow", "The settings did not arrive within {seconds} s.", seconds=BODY_SECONDS)
        raise refused(InputError(problem), language, 408) from error
    try:
        values = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        problem = message("api.body_not_json", "The body is not JSON: {error}.", error=error)
        raise refused(InputError(problem), language) from error
    if not isinstance(values, dict):
        problem = message("api.body_not_an_object", "The body must be a JSON object with settings by name.")
        raise refused(InputError(problem), language)
    return values


async def _body(request: Request, language: str) -> bytes:
    data = b""
    try:
        async for part in request.stream():
            data += part
            if len(data) > MAX_BODY:
                large = message("api.body_too_large", "The settings are larger than {limit} bytes.", limit=MAX_BODY)
                raise HTTPException(413, translated(large, language))
    except ClientDisconnect:
        raise HTTPException(400) from None  # nobody reads it: the page takes a question back when somebody types on
    return data


async def in_thread(work: Callable[[], Response], language: str) -> Response:
    """Work in another thread, so that the server goes on answering."""
    return await run_in_threadpool(_told, work, language)


async def in_turn(work: Callable[[], Response], language: str, values: Mapping[str, Any] = NO_VALUES) -> Response:
    """As `in_thread`, one after the other: many who wait must not take all threads from those who only look.

    Where it is about settings (`values`), a refusal also tells what is wrong with each of several words.
    """
    return await asyncio.get_running_loop().run_in_executor(_TURNS, _told, work, language, values)


def _told(work: Callable[[], Response], language: str, values: Mapping[str, Any] = NO_VALUES) -> Response:
    from tinv_ext.server.failures import errors_told

    try:
        with errors_told():
            return work()
    except TinvError as error:
        raise refused(error, language, values=values) from error


def refused(error: TinvError, language: str, code: int = 422, values: Mapping[str, Any] = NO_VALUES) -> HTTPException:
    """Every problem as a sentence, and its id, by which a program can recognise it; 500 for a bug.

    Of settings (`values`) with several words, `words` are the problems of each.
    """
    from tinv_ext.server.failures import UnexpectedError
    from tinv_ext.server.word_problems import by_word

    code = 500 if isinstance(error, UnexpectedError) else code
    problems = [translated(problem, language) for problem in error.problems]
    ids = [problem.id if isinstance(problem, Message) else None for problem in error.problems]
    detail: dict[str, Any] = {"problems": problems, "ids": ids}
    if told := by_word(error.problems, values):
        detail["words"] = [[translated(text, language) for text in of_it] for of_it in told]
    return HTTPException(code, detail)


def late_thumbnails() -> Any:
    """Small copies of images (`library/thumbnails.py`), made when the first is asked for."""

    def make() -> Any:
        from tinv_ext.library.thumbnails import Thumbnails

        return Thumbnails()

    return late(make)
