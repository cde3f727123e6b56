"""Finished embeddings: which there are, their pictures, what is known of each, and their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response

from tinv_ext.core.errors import TinvError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.routes.route import FILE, Answer, Language, Route, Served, in_thread, late_thumbnails, refused

if TYPE_CHECKING:
    from tinv_ext.library.library import Library


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    library = served.library
    if library is None:
        return []
    return [
        Route("GET", "/embeddings", list_route(library)),
        Route("GET", "/embeddings/about", about_route(library)),
        Route("GET", "/embeddings/file", file_route(library), gives=(FILE,)),
        Route("GET", "/embeddings/thumbnail", thumbnail_route(library), changing=False, gives=("image/jpeg",)),
    ]


def list_route(library: Library) -> Answer:
    """GET /embeddings."""

    def told(language: str) -> Iterator[dict[str, Any]]:
        from tinv_ext.library.thumbnails import picture_of, version_of

        for item in library.items():
            file = library.folder / item.key
            now = _size_and_time(file)
            if now is None:
                continue
            yield {
                "key": item.key,
                "name": item.name,
                "family": item.family,
                "vectors": item.vectors,
                "step": item.step,
                "problem": translated(item.problem, language),
                "size": now[0],
                "changed": now[1],
                "thumbnail": version_of(picture_of(file)),
            }

    async def listed(language: str = Language) -> JSONResponse:
        """Every embedding by its key, the trash, the snapshots of recent runs, the formats with what to call them."""

        def answer() -> JSONResponse:
            from tinv_ext.core.formats import FOLDERS, FORMATS, suffix_of
            from tinv_ext.server.language import page_labels

            trash = [{"id": one.id, "key": one.key, "when": one.when} for one in library.deleted()]
            found, labels = list(told(language)), page_labels(language)
            formats = [[name, f"{name} ({suffix_of(name)})"] for name in FORMATS]
            formats += [[name, labels.get(name, name)] for name in FOLDERS]
            more = {"deleted": trash, "snapshots": list(library.snapshots()), "formats": formats}
            return JSONResponse({"embeddings": found, **more})

        return await in_thread(answer, language)

    return listed


def _size_and_time(file: Path) -> tuple[int, float] | None:
    """Bytes, and when it was changed; None of a file that went away in this moment.

    Both are 0 of one that cannot be looked at, which stays in the list with the reason.
    """
    try:
        now = file.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return 0, 0.0
    return now.st_size, now.st_mtime


def about_route(library: Library) -> Answer:
    """GET /embeddings/about."""

    async def about(key: str, language: str = Language) -> JSONResponse:
        """What is known of one: its format, and of each embedding in the file its facts, norms and nearest tokens."""

        def answer() -> JSONResponse:
            found = library.inspect(key)
            return JSONResponse(
                {
                    "key": key,
                    "file": found["file"],
                    "container": translated(found["container"], language),
                    "layout": translated(found["layout"], language),
                    "left_out": found["left_out"],
                    "embeddings": [_described(one, language) for one in found["embeddings"]],
                }
            )

        return await in_thread(answer, language)

    return about


def _described(embedding: Mapping[str, Any], language: str) -> dict[str, Any]:
    from tinv_ext.core.settings import SETTINGS
    from tinv_ext.library.inspect import rows

    facts = embedding["facts"]
    settings = facts.get("settings")
    settings = settings if isinstance(settings, Mapping) else {}
    usable = {key: value for key, value in settings.items() if key in SETTINGS and isinstance(value, (str, int, float))}
    vocabulary, nearest = embedding.get("vocabulary", {}), embedding.get("nearest", {})
    return {
        "name": embedding["name"],
        "words": [translated(text, language) for text in _in_words(embedding)],
        "unfit": translated(embedding.get("unfit", ""), language),
        "rows": [[translated(label, language), translated(value, language)] for label, value in rows(embedding)],
        "settings": usable,
        "encoders": [
            {"name": key, "norms": norms, "vocabulary": vocabulary.get(key), "nearest": nearest.get(key)}
            for key, norms in embedding["norms"].items()
        ],
    }


def _in_words(embedding: Mapping[str, Any]) -> Iterator[Message]:
    """What most people want to know, in sentences."""
    facts, step = embedding["facts"], embedding["step"]
    images = facts.get("pictures")
    if isinstance(images, int) and step is not None:
        yield message(
            "ui.trained_on", "Trained on {images:image|images} for {steps:step|steps}.", images=images, steps=step
        )
    elif step is not None:
        yield message("ui.trained_for", "Trained for {steps:step|steps}.", steps=step)
    if embedding["model_name"]:
        yield message("ui.trained_in_model", "Model: {model}.", model=embedding["model_name"])
    if isinstance(facts.get("date"), str):
        yield message("ui.made_at", "Made on {date}.", date=facts["date"][:16].replace("T", " "))
    yield message(
        "ui.vectors_for",
        "{vectors:vector|vectors}, for {family}.",
        vectors=embedding["vectors"],
        family=embedding["family"] or message("library.unknown_family", "an unknown model family"),
    )


def thumbnail_route(library: Library) -> Answer:
    """GET /embeddings/thumbnail."""
    thumbnails = late_thumbnails()

    def thumbnail(key: str, language: str = Language) -> Response:
        """The picture of an embedding as a small JPEG; 404 where it has none. What it is changes with `thumbnail`."""
        from tinv_ext.library.thumbnails import picture_of

        try:
            small = thumbnails.of(picture_of(library.path(key)))
        except TinvError as error:
            raise refused(error, language, 404) from error
        if small is None:
            missing = message("api.no_thumbnail", '"{key}" has no picture.', key=key)
            raise HTTPException(404, translated(missing, language))
        return Response(small, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})

    return thumbnail


def file_route(library: Library) -> Answer:
    """GET /embeddings/file."""

    def file(key: str, language: str = Language) -> FileResponse:
        """The file itself, to be saved."""
        try:
            path = library.file(key)
        except TinvError as error:
            raise refused(error, language, 404) from error
        return FileResponse(path, media_type=FILE, filename=path.name)

    return file
