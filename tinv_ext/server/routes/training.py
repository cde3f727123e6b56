"""Runs: checked, started, watched, steered, resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import message, translated
from tinv_ext.core.paths import LOG_DIRECTORY
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread, in_turn, json_body, refused

if TYPE_CHECKING:
    from tinv_ext.server.allowed_paths import PathCheck
    from tinv_ext.server.job_queue import JobQueue
    from tinv_ext.server.queued_run import Job

COMMANDS = ("stop", "pause", "snapshot", "preview")  # those that have a route of their own


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    queue, allowed_paths = served.queue, served.allowed_paths
    return [
        Route("GET", "/status", status_route(queue), changing=False),
        Route("GET", "/picture", picture_route(queue), changing=False, gives=("image/png",)),
        Route("GET", "/jobs", jobs_route(queue)),
        Route("GET", "/devices", devices_route(queue)),
        Route("GET", "/runs", runs_route(queue, allowed_paths)),
        Route("POST", "/train", train_route(queue, allowed_paths)),
        Route("POST", "/check", check_route(queue, allowed_paths)),
        Route("POST", "/resume", resume_route(queue, allowed_paths)),
        *(Route("POST", f"/{command}", command_route(queue, command)) for command in COMMANDS),
    ]


def status_route(queue: JobQueue) -> Answer:
    """GET /status."""

    def status(job: str = "", since: int = 0, language: str = Language) -> JSONResponse:
        """The job of this id, or the one being carried out, else the last.

        Of the curve the first rows after step `since`; `more` says that others follow them.
        """
        from tinv_ext.server import live_texts
        from tinv_ext.server.language import all_translated

        try:
            shown = queue.get(job) if job else queue.current()
        except InputError as error:
            raise refused(error, language, 404) from error
        queued = [other.config.name for other in queue.all() if other.status == "queued" and other is not shown]
        interrupted = queue.left.interrupted()
        texts: dict[str, Any] = {key: translated(label, language) for key, label in live_texts.LABELS.items()}
        texts["interrupted"] = all_translated(map(live_texts.interrupted, interrupted), language)
        view = None
        if shown:
            view = _view(shown, language, since)
            texts["title"] = translated(live_texts.title(view["name"], view["status"], queued), language)
            texts["figures"] = all_translated(live_texts.figures(shown, view), language)
        answer = {"job": view, "queued": queued, "interrupted": interrupted, "waited": queue.left.waited()}
        return JSONResponse({**answer, "language": language, "texts": texts})

    return status


def picture_route(queue: JobQueue) -> Answer:
    """GET /picture."""

    def picture(job: str, index: int, language: str = Language) -> FileResponse:
        """A preview of a job, by its place in the list that the status shows."""
        try:
            previews = queue.get(job).previews
        except InputError as error:
            raise refused(error, language, 404) from error
        if not 0 <= index < len(previews):
            missing = message("api.no_preview", "There is no preview {index}.", index=index)
            raise HTTPException(404, translated(missing, language))
        return FileResponse(previews[index][1], media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    return picture


def jobs_route(queue: JobQueue) -> Answer:
    """GET /jobs."""

    def jobs(language: str = Language) -> JSONResponse:
        """The jobs since the program was started, oldest first, without their curves."""
        return JSONResponse([{**_view(job, language, job.steps), "path": job.file} for job in queue.all()])

    return jobs


def runs_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """GET /runs."""

    def runs(output: str = LOG_DIRECTORY, language: str = Language) -> JSONResponse:
        """The runs in a log directory, newest first; 422 for a directory that may not be looked into."""
        from tinv_ext.server.failures import errors_told

        try:
            with errors_told():
                queue.check_paths({"output": queue.placed(output)}, allowed_paths)
                found = queue.runs(output)
        except TinvError as error:
            raise refused(error, language) from error
        return JSONResponse([_told(run, language) for run in found])

    return runs


def resume_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """POST /resume."""

    async def resume(
        request: Request,
        job: str = "",
        run: str = "",
        output: str = LOG_DIRECTORY,
        device: str = "",
        language: str = Language,
    ) -> JSONResponse:
        """Resume a paused job (`job`), or a stopped or interrupted run (`run`, with settings to change as body).

        Of a job that is over (`job`, too) the run that it has left is resumed by a new one.
        `device`: as for /train.
        """
        from tinv_ext.server.live_texts import taken_on

        if bool(job) == bool(run):
            either = message("api.job_or_run", "Name either a job (job) or a run (run) to resume.")
            raise refused(InputError(either), language)
        changes = await json_body(request, language)

        def answer() -> JSONResponse:
            before = queue.get(job) if job else None
            if before and (left := before.left):
                return queued(queue.resume(left.log_directory, left.id, changes, allowed_paths, before.device))
            if job:
                commanded = queue.command(job, "resume")
                queue.obeyed(commanded, "resume")
                return JSONResponse({"status": commanded.status})
            return queued(queue.resume(output, run, changes, allowed_paths, device))

        def queued(again: Job) -> JSONResponse:
            return JSONResponse({"id": again.id, "said": translated(taken_on(again, queue), language)}, 202)

        return await (in_thread if job else in_turn)(answer, language)

    return resume


def devices_route(queue: JobQueue) -> Answer:
    """GET /devices."""

    async def listed(language: str = Language) -> JSONResponse:
        """Name and text of each device, beside the program's own, on which a copy of the model can be trained."""
        return await in_thread(lambda: JSONResponse(devices(queue)), language)

    return listed


def devices(queue: JobQueue) -> list[dict[str, str]]:
    """As `JobQueue.other_devices`, for an answer."""
    return [{"name": one.name, "text": one.text} for one in queue.other_devices()]


def train_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """POST /train."""

    async def train(request: Request, device: str = "", language: str = Language) -> JSONResponse:
        """Check the settings and queue a run: 202 and the job's id, or 422 and every problem.

        `device`: one of those that /outlook tells, where a copy of the model is trained; else the program's own model.
        """
        from tinv_ext.server.live_texts import taken_on

        values = await json_body(request, language)

        def answer() -> JSONResponse:
            job = queue.submit(values, allowed_paths, device)
            return JSONResponse({"id": job.id, "said": translated(taken_on(job, queue), language)}, 202)

        return await in_turn(answer, language, values)

    return train


def check_route(queue: JobQueue, allowed_paths: PathCheck | None) -> Answer:
    """POST /check."""

    async def check(request: Request, device: str = "", language: str = Language) -> JSONResponse:
        """What a run of these settings would do, or 422 and every problem. `device`: as for /train."""
        from tinv_ext.server.language import all_translated

        values = await json_body(request, language)

        def answer() -> JSONResponse:
            prepared = queue.examine(values, allowed_paths, device)
            prompts = prepared.prompts(10)
            return JSONResponse(
                {
                    "notices": all_translated(prepared.notices, language),
                    "prompts": prompts,
                    "tokens": [prepared.reader.read(prompt).length for prompt in prompts],
                    "word": prepared.config.name,
                    "words": prepared.config.names,
                    "tags": translated(prepared.tag_table, language) if prepared.tag_table else None,
                }
            )

        return await in_turn(answer, language, values)

    return check


def command_route(queue: JobQueue, command: str) -> Answer:
    """POST /stop, /pause, /snapshot or /preview."""

    def send(job: str, language: str = Language) -> JSONResponse:
        """Send the command to a job; 422 if it cannot carry it out. The status is that after it, if it obeys soon."""
        from tinv_ext.server.failures import errors_told

        try:
            with errors_told():
                commanded = queue.command(job, command)
                queue.obeyed(commanded, command)
                return JSONResponse({"status": commanded.status})
        except TinvError as error:
            raise refused(error, language) from error

    return send


def _view(job: Job, language: str, since: int) -> dict[str, Any]:
    """A job as JSON, its sentences in the language."""
    from tinv_ext.server.language import all_translated

    view = job.view(since)
    return {
        **view,
        "reason": translated(view["reason"], language),
        "notices": all_translated(view["notices"], language),
        "noted": [{**notice, "text": translated(notice["text"], language)} for notice in view["noted"]],
    }


def _told(run: dict[str, Any], language: str) -> dict[str, Any]:
    """A run of the list, its sentences in the language."""
    from tinv_ext.server.live_texts import status_word

    words = {"reason": run["reason"], "status_word": status_word(run["status"])}
    return {**run, **{key: translated(text, language) for key, text in words.items()}}
