"""Training images: shown, uploaded, captioned, turned, removed; and the folders that they can come from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from tinv_ext.core.errors import InputError, TinvError
from tinv_ext.core.messages import encodable, message, translated
from tinv_ext.core.paths import path_given, path_problems
from tinv_ext.server.late import late
from tinv_ext.server.routes.route import Language, Route, Served, in_thread, json_body, refused

if TYPE_CHECKING:
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.server.image_sets import ImageSets, ShownImage

Answer = Callable[..., Any]
MOST = 200  # images in one answer
_USUAL_SIZE = 512  # pixels, while no model is loaded
_FOREVER = {"Cache-Control": "private, max-age=604800, immutable"}


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    sets = late(lambda: _image_sets(served))
    return [
        Route("POST", "/images", _shown(served, sets)),
        Route("GET", "/images/thumbnail", _thumbnail(sets), changing=False, described=False),
        Route("GET", "/images/canvas", _canvas(sets), changing=False, described=False),
        Route("GET", "/images/mask", _mask(sets), changing=False, described=False),
        Route("GET", "/images/background", _background(sets), changing=False, described=False),
        Route("POST", "/images/new", _new(served, sets)),
        Route("PUT", "/images/upload", _upload(served), takes="file"),
        Route("POST", "/images/caption", _changed(served, sets, _write_caption)),
        Route("POST", "/images/turn", _changed(served, sets, _turn)),
        Route("POST", "/images/mask", _changed(served, sets, _paint)),
        Route("POST", "/images/remove", _changed(served, sets, _remove)),
        Route("POST", "/images/background", _mask_backgrounds(served, sets)),
        Route("POST", "/images/undo", _undo(served, sets)),
        Route("GET", "/folders", _folders(served, sets)),
    ]


def _check(served: Served, folder: str) -> Path:
    """The folder, if whoever asks may use it."""
    problems = path_problems(folder)
    if problems:
        raise InputError(problems)
    served.queue.check_paths({"images": folder}, served.allowed_paths)
    return path_given(folder)


def _image_sets(served: Served) -> ImageSets:
    from tinv_ext.server.image_sets import ImageSets
    from tinv_ext.server.odd_images import odd_images

    return ImageSets(served.queue.home, lambda: odd_images(served.queue.all()))


def _shown(served: Served, sets: ImageSets) -> Answer:
    async def images(
        request: Request, first: int = 0, count: int = MOST, only_remarkable: bool = False, language: str = Language
    ) -> JSONResponse:
        """The images that a run of these settings would have, from number `first` on: at most 200."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            config = settings_as_now(served, values)
            allow = partial(allow_source, served)
            found = sets.shown(config, allow, max(0, first), min(max(0, count), MOST), only_remarkable)
            return JSONResponse(
                {
                    "folder": encodable(found.folder),
                    "total": found.total,
                    "looked_at": found.looked_at,
                    "remarkable": found.remarkable,
                    "below": [encodable(name) for name in found.below],
                    "uses_captions": found.uses_captions,
                    "same_background": found.same_background,
                    "background": found.background,
                    "undo": _undoable(found.edited, found.edit, language) if found.edit else None,
                    "images": [_image(one, language) for one in found.images],
                }
            )

        return await in_thread(answer, language)

    return images


def _undoable(folder: str, edit: str, language: str) -> dict[str, str]:
    from tinv_ext.prepare.edits import edit_said

    return {"folder": encodable(folder), "what": encodable(translated(edit_said(edit), language))}


def settings_as_now(served: Served, values: Mapping[str, Any]) -> TrainConfig:
    """Settings with what is missing or wrong at its default, and the loaded model's size, if one is loaded."""
    from tinv_ext.core.settings import TrainConfig
    from tinv_ext.run.preflight import filled_in

    values = served.queue.with_places(values)
    served.queue.check_paths(values, served.allowed_paths)
    config, _ = TrainConfig.read(values)
    try:
        host = served.queue.loaded_host()
    except TinvError:  # told beside the name of the model
        host = None
    if host:
        return filled_in(config, host)
    return config.but(width=config.width or _USUAL_SIZE, height=config.height or _USUAL_SIZE)


def allow_source(served: Served, config: TrainConfig) -> None:
    """`InputError` where the settings of a source name a path that whoever asks may not open."""
    from tinv_ext.server.allowed_paths import PATHS

    paths = {name: getattr(config, name) for name in PATHS if name not in ("output", "template")}
    served.queue.check_paths(paths, served.allowed_paths)


def _image(shown: ShownImage, language: str) -> dict[str, Any]:
    """An image as JSON."""
    seen = shown.seen
    frame = seen.frame if seen else None
    return {
        "id": shown.id,
        "name": encodable(shown.name),
        "version": shown.version,
        "looked_at": seen is not None,
        "width": seen.image.width if seen and seen.image else None,
        "height": seen.image.height if seen and seen.image else None,
        "unusable": translated(seen.reason, language) if seen and seen.reason else None,
        "frame": list(frame.part) if frame else None,
        "trained": [frame.width, frame.height] if frame else None,
        "caption": encodable(shown.caption.text),
        "caption_file": encodable(shown.caption.source),
        "mask": shown.mask or None,
        "findings": [{"kind": kind, "text": translated(text, language)} for kind, text in shown.findings.items()],
    }


def _thumbnail(sets: ImageSets) -> Answer:
    def thumbnail(id: str, language: str = Language) -> Response:  # noqa: A002 (the word of the API)
        """A small JPEG of an image, by the id that POST /images told; `v` may be its version."""
        try:
            made = sets.gallery.thumbnail(sets.place(id)[1])
        except TinvError as error:
            raise refused(error, language, 404) from error
        if made is None:
            raise HTTPException(404, translated(message("server.no_thumbnail", "This is no image."), language))
        return Response(made, media_type="image/jpeg", headers=_FOREVER)

    return thumbnail


def _canvas(sets: ImageSets) -> Answer:
    def canvas(id: str, language: str = Language) -> Response:  # noqa: A002
        """An image to paint a mask on, as a JPEG, by the id that POST /images told; `v` may be its version."""
        from tinv_ext.prepare.painted_masks import canvas_of

        return _picture(sets, id, language, canvas_of, "image/jpeg")

    return canvas


def _mask(sets: ImageSets) -> Answer:
    def mask(id: str, language: str = Language) -> Response:  # noqa: A002
        """The mask beside an image as a grey PNG; `v` may be its version."""
        from tinv_ext.prepare.painted_masks import small_mask

        return _picture(sets, id, language, small_mask, "image/png")

    return mask


def _background(sets: ImageSets) -> Answer:
    def background(id: str, language: str = Language) -> Response:  # noqa: A002
        """A mask that would leave out the image's plain background, as a grey PNG; nothing is saved."""
        from tinv_ext.prepare.painted_masks import without_background

        return _picture(sets, id, language, without_background, "image/png")

    return background


def _picture(
    sets: ImageSets,
    id: str,  # noqa: A002
    language: str,
    make: Callable[[Path], bytes | None],
    kind: str,
) -> Response:
    from tinv_ext.server.failures import errors_told

    try:
        with errors_told():
            made = make(sets.place(id)[1])
    except TinvError as error:
        raise refused(error, language, 404) from error
    if made is None:
        raise HTTPException(404, translated(message("server.no_mask", "This image has no mask."), language))
    return Response(made, media_type=kind, headers=_FOREVER)


def _new(served: Served, sets: ImageSets) -> Answer:
    async def new(request: Request, language: str = Language) -> JSONResponse:
        """A new, empty folder for images: body {"name": what it is to be called}."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            _check(served, str(sets.home))
            return JSONResponse({"folder": str(sets.new_folder(str(values.get("name") or "")))})

        return await in_thread(answer, language)

    return new


def _upload(served: Served) -> Answer:
    async def upload(request: Request, folder: str, name: str, language: str = Language) -> JSONResponse:
        """An image, or a caption's text, as the body: written whole into the folder, or not at all."""
        from tinv_ext.prepare.uploads import Upload
        from tinv_ext.server.failures import errors_told

        try:
            with errors_told():
                place = _check(served, folder)
                if not place.is_dir():
                    raise InputError(
                        message(
                            "uploads.no_folder", 'There is no folder "{folder}". Choose another one.', folder=folder
                        )
                    )
                with Upload(place, name) as arriving:
                    async for part in request.stream():
                        arriving.write(part)
                    saved = await _finished(arriving.finish)
        except ClientDisconnect:
            raise HTTPException(400) from None  # nobody reads it
        except TinvError as error:
            raise refused(error, language) from error
        return JSONResponse({"name": encodable(saved.name)})

    return upload


async def _finished(finish: Callable[[], Path]) -> Path:
    saved: Path = await run_in_threadpool(finish)
    return saved


Edit = Callable[[Path, list[str], Mapping[str, Any]], None]


def _changed(served: Served, sets: ImageSets, edit: Edit) -> Answer:
    async def change(request: Request, language: str = Language) -> JSONResponse:
        """Body: the ids of images, as {"ids": [...]}, and what is to become of them."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            ids = values.get("ids")
            if not isinstance(ids, list) or not ids:
                raise InputError(message("server.no_images_named", "Name the images (ids)."))
            with sets.editing:
                placed = [sets.place(str(one)) for one in ids]
                folder = placed[0][0]
                _check(served, str(folder))
                names = [path.relative_to(folder).as_posix() for at, path in placed if at == folder]
                edit(folder, names, values)
            return JSONResponse({"changed": len(names)})

        return await in_thread(answer, language)

    return change


def _write_caption(folder: Path, names: list[str], values: Mapping[str, Any]) -> None:
    from tinv_ext.prepare.edits import write_caption

    write_caption(folder, names[0], str(values.get("text") or ""), str(values.get("suffix") or ""))


def _turn(folder: Path, names: list[str], values: Mapping[str, Any]) -> None:
    from tinv_ext.prepare.edits import turn

    turn(folder, names, str(values.get("how")))


def _paint(folder: Path, names: list[str], values: Mapping[str, Any]) -> None:
    """`mask` is a picture in base64; without one, the mask goes."""
    from tinv_ext.prepare.painted_masks import LARGEST, paint

    text = str(values.get("mask") or "")
    try:
        painted = base64.b64decode(text[: 2 * LARGEST], validate=True)
    except ValueError as error:
        raise InputError(message("server.mask_not_base64", "The mask is not a picture in base64.")) from error
    paint(folder, names[0], painted)


def _remove(folder: Path, names: list[str], values: Mapping[str, Any]) -> None:
    from tinv_ext.prepare.edits import remove

    remove(folder, names)


def _mask_backgrounds(served: Served, sets: ImageSets) -> Answer:
    async def mask_backgrounds(request: Request, language: str = Language) -> JSONResponse:
        """Masks for the images of a folder that have none yet and show a plain background: body {"folder": …,
        "recursive": whether those below it, too}."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            from tinv_ext.prepare.painted_masks import mask_backgrounds as mask_all

            folder = _check(served, str(values.get("folder") or ""))
            with sets.editing:
                return JSONResponse({"changed": mask_all(folder, bool(values.get("recursive")))})

        return await in_thread(answer, language)

    return mask_backgrounds


def _undo(served: Served, sets: ImageSets) -> Answer:
    async def undo(request: Request, language: str = Language) -> JSONResponse:
        """Undo the last change by hand in a folder: body {"folder": …}."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            from tinv_ext.prepare.edits import undo_edit

            with sets.editing:
                done = undo_edit(_check(served, str(values.get("folder") or "")))
            return JSONResponse({"said": [translated(text, language) for text in done.sentences()]})

        return await in_thread(answer, language)

    return undo


def _folders(served: Served, sets: ImageSets) -> Answer:
    def folders(path: str = "", language: str = Language) -> JSONResponse:
        """What is below a folder of the server; without a path, below the data folder."""
        from tinv_ext.prepare.browse import place
        from tinv_ext.server.failures import errors_told

        def may_open(folder: Path) -> bool:
            try:
                served.queue.check_paths({"images": str(folder)}, served.allowed_paths)
            except InputError:
                return False
            return True

        try:
            with errors_told():
                found = place(_check(served, path or str(served.queue.home.absolute())).absolute(), may_open)
        except TinvError as error:
            raise refused(error, language) from error
        shortcuts = [one for one in (sets.home.absolute(), served.queue.home.absolute(), Path.home()) if may_open(one)]
        return JSONResponse(
            {
                "path": encodable(str(found.path)),
                "above": encodable(str(found.above)) if found.above else None,
                "folders": [encodable(name) for name in found.folders],
                "images": found.images,
                "shortcuts": list(dict.fromkeys(encodable(str(one)) for one in shortcuts if one.is_dir())),
            }
        )

    return folders
