"""Runs of before: what each was and looked like, the room that they take, thrown away and brought back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.core.paths import LOG_DIRECTORY
from tinv_ext.server.routes.body import text, texts
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread, json_body, late_thumbnails, refused

if TYPE_CHECKING:
    from tinv_ext.library.library import Library
    from tinv_ext.library.run_trash import RunTrash
    from tinv_ext.run.run_folder import RunFolder


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [
        Route("GET", "/runs/about", about_route(served)),
        Route("GET", "/runs/preview", preview_route(served), gives=("image/png", "image/jpeg")),
        Route("GET", "/runs/deleted", deleted_route(served)),
        Route("POST", "/runs/delete", delete_route(served)),
        Route("POST", "/runs/restore", restore_route(served)),
        Route("POST", "/runs/empty", empty_route(served)),
        *([Route("POST", "/runs/bring_back", bring_back_route(served, served.library))] if served.library else []),
    ]


def about_route(served: Served) -> Answer:
    """GET /runs/about."""

    async def about(run: str, output: str = LOG_DIRECTORY, language: str = Language) -> JSONResponse:
        """Settings, model, curve of at most 300 points, evaluations, snapshots, previews and sizes in bytes."""
        from tinv_ext.library.run_trash import sizes
        from tinv_ext.server.run_history import history

        def answer() -> JSONResponse:
            folder = served.queue.run(output, run, served.allowed_paths)
            return JSONResponse({**history(folder), "sizes": sizes(folder.path)})

        return await in_thread(answer, language)

    return about


def preview_route(served: Served) -> Answer:
    """GET /runs/preview."""
    thumbnails = late_thumbnails()

    def picture(
        run: str,
        output: str = LOG_DIRECTORY,
        step: int | None = None,
        index: int = 0,
        small: bool = False,
        language: str = Language,
    ) -> Response:
        """An image of the preview at a step, or of the last one; a `small` one is a JPEG. 404 where there is none."""
        from tinv_ext.server.run_history import preview

        try:
            path = preview(served.queue.run(output, run, served.allowed_paths), step, index)
        except TinvError as error:
            raise refused(error, language, 404) from error
        content = thumbnails.of(path) if small else None
        if path is None or (small and content is None):
            missing = message("api.no_preview", "There is no preview {index}.", index=index)
            raise HTTPException(404, translated(missing, language))
        kept = {"Cache-Control": "private, max-age=600"}
        if content is None:
            return FileResponse(path, media_type="image/png", headers=kept)
        return Response(content, media_type="image/jpeg", headers=kept)

    return picture


def deleted_route(served: Served) -> Answer:
    """GET /runs/deleted."""

    async def deleted(output: str = LOG_DIRECTORY, language: str = Language) -> JSONResponse:
        """What was thrown away of the runs of a log directory, the last first, each with its size in bytes."""
        return await in_thread(lambda: JSONResponse(_trash(_trash_of(served, output))), language)

    return deleted


def delete_route(served: Served) -> Answer:
    """POST /runs/delete."""

    def delete(values: dict[str, Any], output: str) -> Message:
        from tinv_ext.server.sizes import size_of

        folder: RunFolder = served.queue.idle_run(output, text(values, "run"), served.allowed_paths)
        parts = texts(values, "parts")
        if {"run", "snapshots"} & set(parts):
            served.queue.tried.forget_run(folder.path)
        gone = _trash_of(served, output).add(folder, parts)
        return message(
            "ui.run_deleted",
            '{size} of "{run}" were moved to the trash. Empty the trash to free the room.',
            size=size_of(gone.size),
            run=gone.run,
        )

    return _changing(served, delete, "Move `parts` of a run to the trash: run for all of it, or snapshots, previews …")


def restore_route(served: Served) -> Answer:
    """POST /runs/restore."""

    def restore(values: dict[str, Any], output: str) -> Message:
        run = _trash_of(served, output).undelete(text(values, "id"))
        return message("ui.run_restored", '"{run}" was restored.', run=run)

    return _changing(served, restore, "Move what was thrown away as `id` back.")


def empty_route(served: Served) -> Answer:
    """POST /runs/empty."""

    def empty(values: dict[str, Any], output: str) -> Message:
        from tinv_ext.server.sizes import size_of

        freed = _trash_of(served, output).empty()
        return message("ui.runs_emptied", "{size} are free again.", size=size_of(freed))

    return _changing(served, empty, "Delete for good what was thrown away of the runs of a log directory.")


def bring_back_route(served: Served, library: Library) -> Answer:
    """POST /runs/bring_back."""

    async def bring_back(request: Request, output: str = LOG_DIRECTORY, language: str = Language) -> JSONResponse:
        """Put the embedding `file` back that a `run` has replaced; what is there now goes to the embeddings' trash."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            folder: RunFolder = served.queue.idle_run(output, text(values, "run"), served.allowed_paths)
            file, replaced = text(values, "file"), folder.replaced()
            backup = next((path for path, name in replaced if name == file), None)
            if backup is None:
                raise InputError(
                    message(
                        "server.not_replaced",
                        'The run "{run}" has not replaced "{file}".',
                        run=folder.id,
                        file=file,
                    )
                )
            before = len(library.deleted())
            library.restore_replaced(backup, file)
            said = [message("ui.brought_back", '"{file}" is again as it was before the run.', file=file)]
            if len(library.deleted()) > before:
                said.append(message("ui.brought_over", "What the run had made is in the trash, on the tab Embeddings."))
            return JSONResponse({"sentences": [translated(one, language) for one in said]})

        return await in_thread(answer, language)

    return bring_back


def _changing(served: Served, work: Callable[[dict[str, Any], str], Message], about: str) -> Answer:
    async def change(request: Request, output: str = LOG_DIRECTORY, language: str = Language) -> JSONResponse:
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            sentence = translated(work(values, output), language)
            return JSONResponse({"sentences": [sentence], "deleted": _trash(_trash_of(served, output))})

        return await in_thread(answer, language)

    change.__doc__ = f"{about} The answer has the trash as it is now."
    return change


def _trash_of(served: Served, output: str) -> RunTrash:
    from tinv_ext.library.run_trash import RunTrash

    log = served.queue.placed(output)
    served.queue.check_paths({"output": log}, served.allowed_paths)
    return RunTrash(Path(log))


def _trash(trash: RunTrash) -> list[dict[str, Any]]:
    return [
        {"id": one.id, "run": one.run, "parts": list(one.parts), "when": one.when, "size": one.size}
        for one in trash.items()
    ]
