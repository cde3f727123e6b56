"""Preparations: images made ready for training, and what they looked like before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse, Response

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import encodable, message, translated
from tinv_ext.core.paths import path_given
from tinv_ext.server.routes import body
from tinv_ext.server.routes.route import Answer, Language, Route, Served, in_thread, json_body, late_thumbnails

if TYPE_CHECKING:
    from tinv_ext.prepare.plan import NewImage, Plan, PlannedImage
    from tinv_ext.prepare.preparation import Progress
    from tinv_ext.server.preparations import Preparations

_SHOWN = 1000  # images of an answer


def routes(served: Served) -> list[Route]:
    """Those of this file; none where nothing is prepared."""
    if served.preparations is None:
        return []
    return [
        Route("GET", "/prepare/form", form_route(served.preparations)),
        Route("GET", "/prepare", progress_route(served, served.preparations)),
        Route("GET", "/prepare/picture", picture_route(served, served.preparations), gives=("image/jpeg",)),
        Route("POST", "/prepare", prepare_route(served, served.preparations)),
        Route("POST", "/prepare/check", check_route(served)),
        Route("POST", "/prepare/stop", stop_route(served.preparations)),
        Route("POST", "/prepare/undo", undo_route(served, served.preparations)),
    ]


def form_route(preparations: Preparations) -> Answer:
    """GET /prepare/form."""

    def form(language: str = Language) -> JSONResponse:
        """Every option as a form needs it, in order: group, label, help, kind, limits, choices."""
        from tinv_ext.server.prepare_form import prepare_form

        return JSONResponse(prepare_form(preparations.captioners(), language))

    return form


def check_route(served: Served) -> Answer:
    """POST /prepare/check."""

    async def check(request: Request, language: str = Language) -> JSONResponse:
        """What would be done with each image, or 422 and every problem. Nothing is written."""
        from tinv_ext.prepare.plan import plan
        from tinv_ext.server.prepare_request import options_of

        given = await json_body(request, language)

        def answer() -> JSONResponse:
            with _named_by_labels():
                return JSONResponse(_described(plan(options_of(_values(given, served))), language))

        return await in_thread(answer, language)

    return check


def prepare_route(served: Served, preparations: Preparations) -> Answer:
    """POST /prepare."""

    async def prepare(request: Request, language: str = Language) -> JSONResponse:
        """Begin, and answer as the check does; 422 and every problem, also while another one is at work."""
        from tinv_ext.prepare.plan import plan
        from tinv_ext.server.prepare_request import captioners_of, options_of

        given = await json_body(request, language)

        def answer() -> JSONResponse:
            with _named_by_labels():
                values = _values(given, served)
                captioners, found = captioners_of(values, preparations.captioners()), plan(options_of(values))
            preparations.start(found, captioners)
            return JSONResponse(_described(found, language), 202)

        return await in_thread(answer, language)

    return prepare


@contextmanager
def _named_by_labels() -> Iterator[None]:
    """What is wrong with an option is told by the label of its control."""
    from tinv_ext.server.prepare_form import by_label

    try:
        yield
    except InputError as error:
        raise InputError([by_label(problem) for problem in error.problems]) from error


def progress_route(served: Served, preparations: Preparations) -> Answer:
    """GET /prepare."""

    def progress(language: str = Language) -> JSONResponse:
        """How far the preparation is, or the last one was: its folder, whether masks that it was to make are there,
        counts, sentences, and the names of new images with their originals, in the order of /prepare/picture."""
        at_work = preparations.at_work  # before what it says: a count that is not the last one is of one at work
        now, error, plan = preparations.progress, preparations.error, preparations.plan
        sentences = [now.sentence(preparations.folder), *now.problems] if now else []
        made = _images(served, preparations)
        return JSONResponse(
            {
                "at_work": at_work,
                "folder": encodable(str(preparations.folder)) if plan else "",
                "masks": bool(plan and now and _has_masks(plan, now)),
                "done": now.done if now else 0,
                "total": now.total if now else 0,
                "sentences": [translated(text, language) for text in sentences],
                "problems": [translated(text, language) for text in (error.problems if error else ())],
                "images": [[encodable(image.name), encodable(new.path.name)] for image, new in made[:_SHOWN]],
            }
        )

    return progress


def _has_masks(plan: Plan, progress: Progress) -> bool:
    """Whether masks were asked for, and an image has one now: a new one or its own."""
    own = any(image.source.mask for image in plan.used)
    return plan.options.mask_backgrounds and (own or bool(progress.masks))


def picture_route(served: Served, preparations: Preparations) -> Answer:
    """GET /prepare/picture."""
    thumbnails = late_thumbnails()

    def picture(index: int = 0, before: bool = False, language: str = Language) -> Response:
        """A new image, or the one that it was made of (`before`), as a small JPEG. 404 where there is none."""
        made = _images(served, preparations)
        content = None
        if 0 <= index < len(made):
            image, new = made[index]
            content = thumbnails.of(image.source.path if before else new.path)
        if content is None:
            missing = message("api.no_prepared_image", "There is no prepared image {index}.", index=index)
            raise HTTPException(404, translated(missing, language))
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, no-cache"})

    return picture


def _images(served: Served, preparations: Preparations) -> list[tuple[PlannedImage, NewImage]]:
    """New images with their originals; none where whoever asks may not name their folders."""
    from tinv_ext.server.allowed_paths import local_only

    options = preparations.plan.options if preparations.plan else None
    paths = {"source": str(options.source), "target": str(options.folder)} if options else {}
    return [] if (served.allowed_paths or local_only())(paths) else preparations.images()


def stop_route(preparations: Preparations) -> Answer:
    """POST /prepare/stop."""

    def stop(language: str = Language) -> JSONResponse:
        """Have it stop after the image at hand; what is written stays, and can be undone."""
        preparations.stop()
        return JSONResponse({"at_work": preparations.at_work})

    return stop


def undo_route(served: Served, preparations: Preparations) -> Answer:
    """POST /prepare/undo."""

    async def undo(request: Request, language: str = Language) -> JSONResponse:
        """Take back the last preparation of the folder `target`, or of `source` where captions were written there."""
        from tinv_ext.prepare.undo import undo_last

        given = await json_body(request, language)

        def answer() -> JSONResponse:
            values = _values({"source": given.get("target"), **given}, served)
            folder = path_given(values["target"] or values["source"])
            told = undo_last(folder).sentences()
            preparations.forget(folder)
            return JSONResponse({"sentences": [translated(text, language) for text in told]})

        return await in_thread(answer, language)

    return undo


def _values(given: Mapping[str, Any], served: Served) -> dict[str, Any]:
    """The values of a request, each of the kind that it has by default. `InputError` with what is wrong."""
    from tinv_ext.server.prepare_request import NAMES, checked_paths

    problems: list[str] = []
    values: dict[str, Any] = {}
    for name in given:
        if name not in NAMES:
            problems.append(
                message("api.unknown_name", '"{name}" is not known. Names are {names:, }.', name=name, names=[*NAMES])
            )
            continue
        try:
            values[name] = _KINDS[type(NAMES[name])](given, name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return checked_paths(values, served.allowed_paths)


_KINDS: Mapping[type, Any] = {
    str: lambda given, name: body.text(given, name) if given.get(name) is not None else "",
    int: body.whole,
    float: body.number,
    bool: body.flag,
    tuple: body.texts,
}


def _described(found: Plan, language: str) -> dict[str, Any]:
    """A plan as JSON: of each image what is found and what becomes of it."""
    images = [
        {
            "name": encodable(image.name),
            "width": image.source.width,
            "height": image.source.height,
            "becomes": translated(image.outcome(), language),
            "left_out": image.left_out,
            "findings": {kind: translated(text, language) for kind, text in image.findings.items()},
            "caption": image.source.caption.text if image.source.caption.source else "",
        }
        for image in found.images[:_SHOWN]
    ]
    sentences = [translated(text, language) for text in (*found.summary(), *found.skipped)]
    return {"images": images, "count": len(found.images), "sentences": sentences}
