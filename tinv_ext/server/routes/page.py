"""What only the page itself asks for: its texts, and its script and styles."""

from __future__ import annotations

from fastapi import HTTPException
from fastapi.responses import FileResponse, JSONResponse

from tinv_ext.server.routes.route import Language, Route, Served

_HEADERS = {"Cache-Control": "private, max-age=604800, immutable", "X-Content-Type-Options": "nosniff"}


def routes(served: Served) -> list[Route]:
    """Those of this file."""
    return [
        Route("GET", "/texts", texts, changing=False),
        Route("GET", "/page/{version}/{path:path}", page_file, changing=False, described=False),
    ]


def texts(language: str = Language) -> JSONResponse:
    """The texts of the page's script by id; `{n:image|images}` counts, `{names:, }` joins, `{loss:.4f}` rounds."""
    from tinv_ext.server.page_texts import page_texts

    return JSONResponse({"language": language, "texts": page_texts(language)})


def page_file(version: str, path: str) -> FileResponse:
    """A file of the page's script; `version` is there so that a browser may keep it."""
    from tinv_ext.server.page_files import TYPES, file_at

    file = file_at(path)
    if file is None:
        raise HTTPException(404)
    return FileResponse(file, media_type=TYPES[file.suffix], headers=_HEADERS)
