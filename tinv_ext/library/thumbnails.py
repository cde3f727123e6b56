"""The picture of an embedding, small enough for a gallery of hundreds; made when it is first looked at, and kept."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from tinv_ext.core.formats.image_pixels import MAX_PIXELS
from tinv_ext.core.formats.image_read import IMAGE_ERRORS
from tinv_ext.run.thumbnail import SUFFIXES

SIDE = 320  # pixels of the longer side: 160 on a card, on a screen with twice the pixels
_KEPT = 512


def picture_of(file: Path) -> Path | None:
    """The image that stands for the embedding `file`: itself, if it is one, else that of the WebUI's extra networks."""
    if file.suffix.lower() in SUFFIXES:
        return file
    names = [f"{file.stem}{middle}{suffix}" for suffix in SUFFIXES for middle in ("", ".preview")]
    return next((path for name in names if (path := file.with_name(name)).is_file()), None)


def version_of(picture: Path | None) -> str | None:
    """What changes when the picture does; None where there is none."""
    try:
        now = picture.stat() if picture else None
    except OSError:
        return None
    return f"{now.st_mtime_ns:x}-{now.st_size:x}" if now else None


class Thumbnails:
    """Small copies of pictures as JPEG, the last ones that were looked at."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[Path, str], bytes | None] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, picture: Path | None) -> bytes | None:
        """A small copy; None where there is no picture that can be read."""
        version = version_of(picture)
        if picture is None or version is None:
            return None
        key = (picture, version)
        with self._lock:
            if key in self._made:
                self._made.move_to_end(key)
                return self._made[key]
        small = _small(picture)
        with self._lock:
            self._made[key] = small
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return small


def _small(picture: Path) -> bytes | None:
    try:
        with Image.open(picture) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (SIDE, SIDE))
            image.thumbnail((SIDE, SIDE))
            content = io.BytesIO()
            image.convert("RGB").save(content, "JPEG", quality=88)
            return content.getvalue()
    except IMAGE_ERRORS:
        return None  # no image, whatever it is called
