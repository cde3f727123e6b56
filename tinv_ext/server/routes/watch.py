"""What the page shows of a run: its chart, its previews with what they were made of, its snapshots to choose from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import FileResponse, JSONResponse, Response

from tinv_ext.core.errors import InputError
from tinv_ext.server.routes.route import FILE, Language, Route, Served, in_thread, in_turn, refused

if TYPE_CHECKING:
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.queued_run import Job


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [
        Route("GET", "/chart", chart_route(served.queue), changing=False),
        Route("GET", "/words", words_route(served.queue), changing=False),
        Route("GET", "/previews", previews_route(served.queue), changing=False),
        Route("GET", "/snapshots", snapshots_route(served.queue), changing=False),
        Route("GET", "/embedding", embedding_route(served.queue), gives=(FILE,)),
        Route("POST", "/use", use_route(served.queue)),
        Route("GET", "/tried", tried_route(served.queue), changing=False),
        Route("POST", "/tried/add", try_route(served.queue)),
        Route("POST", "/tried/forget", forget_route(served.queue)),
    ]


def chart_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /chart."""

    async def answer(job: str, points: int = 500, word: str = "", language: str = Language) -> Response:
        """The whole curve of a job in at most about so many points, as columns, with its best evaluation.

        `word`: that of one word of several alone, by the examples whose prompts have it.
        """
        from tinv_ext.server import job_steps
        from tinv_ext.server.chart import chart

        found = _found(queue, job, language)

        def drawn() -> Response:
            of = job_steps.curve(found, word)
            return JSONResponse(chart(of.curve, of.evaluations, points, of.best))

        return await in_thread(drawn, language)

    return answer


def words_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /words."""

    async def answer(job: str, language: str = Language) -> Response:
        """The words of a job: of each its name, the file where prompts find it, or null, and the step in that file."""
        from tinv_ext.server import job_steps

        found = _found(queue, job, language)
        return await in_thread(lambda: JSONResponse(job_steps.words(found)), language)

    return answer


def previews_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /previews."""

    def answer(job: str, language: str = Language) -> JSONResponse:
        """The previews of a job: `index` is that of /picture; of an image that was made again only the last."""
        from tinv_ext.run.preview_text import preview_text

        found = _found(queue, job, language)
        with found.lock:
            made = {path: (index, step) for index, (step, path) in enumerate(found.previews)}
        texts = {path: preview_text(Path(path)) for path in made}
        return JSONResponse(
            [
                {
                    "index": index,
                    "step": step,
                    "prompt": texts[path].prompt,
                    "negative_prompt": texts[path].negative_prompt,
                    "seed": texts[path].seed,
                }
                for path, (index, step) in made.items()
            ]
        )

    return answer


def snapshots_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /snapshots."""

    async def answer(job: str, word: str = "", language: str = Language) -> Response:
        """The snapshots of a job that there are still: step, file name, and the key for /image, by step.

        `word`: those of another word than the first.
        """
        from tinv_ext.server import job_steps

        found = _found(queue, job, language)
        return await in_thread(lambda: JSONResponse(job_steps.snapshots(found, word)), language)

    return answer


def embedding_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /embedding."""

    async def answer(job: str, step: int | None = None, word: str = "", language: str = Language) -> Response:
        """The file of a run's embedding, or of its snapshot at a step; `word`: of another word than the first."""
        from tinv_ext.server import job_steps

        found = _found(queue, job, language)

        def file() -> Response:
            path = job_steps.embedding_file(found, step, word)
            return FileResponse(path, media_type=FILE, filename=path.name)

        return await in_thread(file, language)

    return answer


def use_route(queue: JobQueue) -> Callable[..., Any]:
    """POST /use."""

    async def answer(job: str, step: int, word: str = "", language: str = Language) -> Response:
        """Make the snapshot of a step the embedding of a run that is over; `word`: of that word alone, else of all."""
        from tinv_ext.server import job_steps

        found = _found(queue, job, language)

        def use() -> Response:
            return JSONResponse({"file": job_steps.use(queue, found, step, word).name, "step": step})

        return await in_turn(use, language)

    return answer


def tried_route(queue: JobQueue) -> Callable[..., Any]:
    """GET /tried."""

    async def answer(language: str = Language) -> Response:
        """The steps that prompts know by a word of their own, without a file; `known` is whether they do now."""
        return await in_thread(lambda: JSONResponse(_tried(queue)), language)

    return answer


def try_route(queue: JobQueue) -> Callable[..., Any]:
    """POST /tried/add."""

    async def answer(job: str, step: int, word: str = "", language: str = Language) -> Response:
        """Have prompts know the snapshot of a step as "<name>-<step>", the `word` that is told; no file is written.

        `word`: that of another word of the run than the first.
        """
        from tinv_ext.server import job_steps

        found = _found(queue, job, language)

        def add() -> Response:
            known_as = job_steps.try_step(queue, found, step, word).word
            return JSONResponse({"word": known_as, "tried": _tried(queue)})

        return await in_turn(add, language)

    return answer


def forget_route(queue: JobQueue) -> Callable[..., Any]:
    """POST /tried/forget."""

    async def answer(word: str, language: str = Language) -> Response:
        """Have prompts forget such a word."""

        def forget() -> Response:
            queue.tried.forget(word)
            return JSONResponse({"tried": _tried(queue)})

        return await in_turn(forget, language)

    return answer


def _tried(queue: JobQueue) -> list[dict[str, object]]:
    told = queue.tried.all()
    return [{"word": one.word, "name": one.name, "step": one.step, "known": known} for one, known in told]


def _found(queue: JobQueue, job: str, language: str) -> Job:
    try:
        return queue.get(job)
    except InputError as error:
        raise refused(error, language, 404) from error
