"""Finished embeddings changed: added, renamed, converted, extended, averaged, thrown away and brought back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from tinv_ext.core.errors import InputError
from tinv_ext.core.messages import Message, message, translated
from tinv_ext.server.routes.body import file_body, flag, numbers, text, texts, whole
from tinv_ext.server.routes.route import FILE, Answer, Language, Route, Served, in_thread, json_body

if TYPE_CHECKING:
    from pathlib import Path

    from tinv_ext.library.convert import Written
    from tinv_ext.library.library import Library

Result = tuple["Path | None", Sequence[str]]  # the embedding that there is now, and sentences
Values = Mapping[str, Any]
MAX_FILE = 64 << 20  # bytes of an embedding that is added; one of 75 vectors for SDXL has 0.6 MB


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    library = served.library
    if library is None:
        return []
    actions: Mapping[str, Callable[[Library, Values], Result]] = {
        "rename": rename,
        "extend": extend,
        "average": average,
        "restore": restore,
    }
    return [
        *(Route("POST", f"/embeddings/{name}", action_route(library, action)) for name, action in actions.items()),
        Route("POST", "/embeddings/delete", delete_route(library)),
        Route("POST", "/embeddings/convert", convert_route(library), gives=(FILE,)),
        Route("POST", "/embeddings/add", add_route(library), takes="file"),
    ]


def action_route(library: Library, action: Callable[[Library, Values], Result]) -> Answer:
    """A POST route that does `action` and says what was done."""

    async def act(request: Request, language: str = Language) -> JSONResponse:
        """`key` of what there is now, and sentences; 422 and every problem, and then nothing was changed."""
        values = await json_body(request, language)
        return await in_thread(lambda: _done(library, action(library, values), language), language)

    act.__doc__ = f"{action.__doc__} {act.__doc__}"
    return act


def _done(library: Library, result: Result, language: str) -> JSONResponse:
    path, sentences = result
    key = library.key(path) if path else None
    return JSONResponse({"key": key, "sentences": [translated(sentence, language) for sentence in sentences]})


def rename(library: Library, values: Values) -> Result:
    """Rename the embedding `key` to `name`, with `anyway` also to one that another folder or the model has."""
    path = library.rename(text(values, "key"), text(values, "name").strip(), flag(values, "anyway"))
    return path, [message("ui.renamed", 'Renamed to "{name}".', name=path.stem)]


def extend(library: Library, values: Values) -> Result:
    """Make one of `count` vectors, called `name`, of the embedding `key`; `fill` is "repeat" or "zeros"."""
    key, name = text(values, "key"), text(values, "name").strip()
    return _created(library.extend(key, whole(values, "count"), text(values, "fill", "repeat"), name))


def average(library: Library, values: Values) -> Result:
    """Make the mean, called `name`, of the embeddings or snapshots `keys`; `weights` has a number for each."""
    keys, name = texts(values, "keys"), text(values, "name").strip()
    return _created(library.average(keys, name, numbers(values, "weights")))


def delete_route(library: Library) -> Answer:
    """POST /embeddings/delete."""

    async def delete(request: Request, language: str = Language) -> JSONResponse:
        """Move the embedding `key` into the trash; the answer has the `id` that brings it back."""
        values = await json_body(request, language)

        def answer() -> JSONResponse:
            gone = library.delete(text(values, "key"))
            told = message("ui.deleted", '"{file}" was moved to the trash.', file=gone.key)
            return JSONResponse({"key": None, "id": gone.id, "sentences": [translated(told, language)]})

        return await in_thread(answer, language)

    return delete


def restore(library: Library, values: Values) -> Result:
    """Move what was thrown away as `id` back."""
    path = library.undelete(text(values, "id"))
    return path, [message("ui.restored", '"{file}" was restored.', file=path.name)]


def _created(written: Written) -> Result:
    created: Message = message("ui.created", 'Created "{file}".', file=written.path.name)
    return written.path, [created, *written.notices]


def convert_route(library: Library) -> Answer:
    """POST /embeddings/convert."""

    async def convert(request: Request, language: str = Language) -> Response:
        """The embedding `key` in the format `to`, as a file to save, or as a ZIP archive where that is several.

        `author` and `license` are saved in it. 422 and every problem.
        """
        values = await json_body(request, language)
        return await in_thread(lambda: _converted(library, values), language)

    return convert


def _converted(library: Library, values: Values) -> Response:
    import io
    import tempfile
    import zipfile
    from pathlib import Path
    from urllib.parse import quote

    from tinv_ext.library.convert import ConvertOptions

    key = text(values, "key")
    options = ConvertOptions(text(values, "to"), author=text(values, "author", ""), license=text(values, "license", ""))
    with tempfile.TemporaryDirectory(prefix="tinv-converted-") as folder:
        files = library.convert(key, Path(folder), options)
        name, content = files[0].name, files[0].read_bytes()
        if len(files) > 1:
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as target:
                for file in files:
                    target.write(file, file.name)
            name, content = f"{Path(key).stem}.zip", archive.getvalue()
    kept = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"}
    return Response(content, media_type=FILE, headers=kept)


def add_route(library: Library) -> Answer:
    """POST /embeddings/add."""

    async def add(request: Request, name: str, overwrite: bool = False, language: str = Language) -> JSONResponse:
        """Take the embeddings of a file, which is the body, into the folder; `name` is what the file is called."""
        data = await file_body(request, MAX_FILE, language)
        return await in_thread(lambda: _done(library, _added(library, name, data, overwrite), language), language)

    return add


def _added(library: Library, name: str, data: bytes, overwrite: bool) -> Result:
    import tempfile
    from pathlib import Path

    from tinv_ext.core.names import name_problems

    bare = name.replace("\\", "/").rpartition("/")[2]
    problems = name_problems(Path(bare).stem)
    if problems:
        raise InputError(problems)
    with tempfile.TemporaryDirectory(prefix="tinv-added-") as folder:
        file = Path(folder, bare)
        file.write_bytes(data)
        paths = library.add(file, overwrite)
    return paths[0], [message("ui.added", "Added {files:, }.", files=[path.name for path in paths])]
