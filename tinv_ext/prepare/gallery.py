"""What the images of a folder look like: thumbnails and measures, each image decoded once, kept within bounds.

Looking takes a tenth of a second or more for each image, so it is done for those that are asked for first, and for the
others in a thread of its own.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tinv_ext.core.data.buckets import Size
from tinv_ext.core.data.decoding import Unusable
from tinv_ext.core.data.fitted_image import focal_corner
from tinv_ext.core.data.image_fit import Fit, FitRules
from tinv_ext.core.data.image_folder import files_in
from tinv_ext.core.messages import Message
from tinv_ext.prepare.options import PrepareOptions
from tinv_ext.prepare.plan import findings
from tinv_ext.prepare.scan import SourceImage, measured, on_white, upright, with_duplicates

SIDE = 320
"""Pixels of the longer side of a thumbnail."""
ROOM = 64 * 2**20
"""Bytes of thumbnails that are kept."""
_KEPT = 20_000  # images whose measures are kept
_AT_ONCE = 2  # images decoded at a time: one of 90 million pixels takes 270 MB
_QUALITY = 85

Stamp = tuple[int, int]
"""Bytes and time of change (nanoseconds) of a file: while they stay the same, so does what was seen."""


@dataclass(frozen=True)
class Frame:
    """What is trained on of an image: the part between left, top, width and height, as shares of the upright image,
    and the size in pixels that it comes to."""

    part: tuple[float, float, float, float]
    width: int
    height: int


@dataclass(frozen=True)
class SeenImage:
    """What was seen of a file: its measures and frame, or why it cannot be used."""

    stamp: Stamp
    image: SourceImage | None = None
    frame: Frame | None = None
    reason: Message | None = None


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """The files of a folder that may be images, in the order of their names. `InputError` if it is no folder."""
    names = {path: path.relative_to(folder).as_posix() for path in files_in(folder, recursive)}
    return sorted(names, key=lambda path: (names[path].lower(), names[path]))


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file; (0, 0) where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def frame_of(fit: Fit, width: int, height: int, corner: tuple[int, int]) -> Frame:
    """The frame of an image of this size that is cropped at `corner` of the scaled image."""
    (wide, high), (left, top) = fit.scaled(width, height), corner
    return Frame((left / wide, top / high, fit.width / wide, fit.height / high), fit.width, fit.height)


class Gallery:
    """Thumbnails and measures of images, for one size and way of cropping at a time."""

    def __init__(self) -> None:
        self._rules: FitRules | None = None
        self._size: Size = (512, 512)
        self._seen: OrderedDict[Path, SeenImage] = OrderedDict()
        self._thumbnails: OrderedDict[tuple[Path, Stamp], bytes] = OrderedDict()
        self._room = 0
        self._wanted: list[Path] = []
        self._told: tuple[object, dict[Path, dict[str, Message]]] | None = None  # of which images, and their findings
        self._worker: threading.Thread | None = None
        self._lock = threading.Lock()
        self._decoding = threading.Semaphore(_AT_ONCE)

    def look_at(self, paths: Sequence[Path], rules: FitRules, size: Size) -> None:
        """Have all these images seen, one after the other, in a thread; those that were asked for before are dropped.

        `rules` say to which sizes images are brought, and how they are cropped; `size` is the usual one of them.
        """
        with self._lock:
            if (rules, size) != (self._rules, self._size):
                self._rules, self._size = rules, size
                self._seen.clear()
            self._wanted = list(paths)
            if self._worker is None and self._wanted:
                self._worker = threading.Thread(target=self._work, name="tinv-gallery", daemon=True)
                self._worker.start()

    def seen(self, paths: Iterable[Path]) -> Iterator[SeenImage | None]:
        """Of each image what was seen of it; None where it was not looked at yet, or has changed since."""
        for path in paths:
            with self._lock:
                known = self._seen.get(path)
            yield known if known and known.stamp == stamp_of(path) else None

    def findings(self, folder: Path, paths: Sequence[Path]) -> dict[Path, dict[str, Message]]:
        """What is remarkable about those of the images in `folder` that were seen: sentences by kind, as in `KINDS`.

        Not that there is no caption, which is for those who use captions.
        """
        known = [(path, one) for path, one in zip(paths, self.seen(paths)) if one and one.image]
        asked = folder, self._size, [(path, one.stamp) for path, one in known]
        if self._told and self._told[0] == asked:  # every image is compared with every other one: once
            return {path: dict(kinds) for path, kinds in self._told[1].items()}
        images = [one.image for _, one in known if one.image]
        told = {image.path: dict(findings(image, self._options(folder))) for image in with_duplicates(images)}
        for kinds in told.values():
            kinds.pop("caption", None)
        self._told = asked, {path: dict(kinds) for path, kinds in told.items()}
        return told

    def thumbnail(self, path: Path) -> bytes | None:
        """An image as a JPEG of at most `SIDE` pixels a side; None where it cannot be used."""
        key = (path, stamp_of(path))
        with self._lock:
            made = self._thumbnails.get(key)
            if made is not None:
                self._thumbnails.move_to_end(key)
                return made
        self._look(path)
        with self._lock:
            return self._thumbnails.get(key)

    def _options(self, folder: Path) -> PrepareOptions:
        return PrepareOptions(folder, width=self._size[0], height=self._size[1])

    def _work(self) -> None:
        while True:
            with self._lock:
                known = self._seen
                while self._wanted and self._wanted[0] in known:
                    if known[self._wanted[0]].stamp != stamp_of(self._wanted[0]):
                        break
                    self._wanted.pop(0)
                if not self._wanted:
                    self._worker = None
                    return
                path = self._wanted.pop(0)
            self._look(path)

    def _look(self, path: Path) -> None:
        rules, size, stamp = self._rules, self._size, stamp_of(path)
        with self._decoding:
            seen, thumbnail = self._seen_of(path, stamp, rules)
        with self._lock:
            if (rules, size) == (self._rules, self._size):
                self._seen[path] = seen
                self._seen.move_to_end(path)
                while len(self._seen) > _KEPT:
                    self._seen.popitem(last=False)
            if thumbnail and (path, stamp) not in self._thumbnails:
                self._thumbnails[path, stamp] = thumbnail
                self._room += len(thumbnail)
            while self._room > ROOM and len(self._thumbnails) > 1:
                _, dropped = self._thumbnails.popitem(last=False)
                self._room -= len(dropped)

    def _seen_of(self, path: Path, stamp: Stamp, rules: FitRules | None) -> tuple[SeenImage, bytes]:
        try:
            image, digest = upright(path)
        except Unusable as unusable:
            return SeenImage(stamp, reason=unusable.reason), b""
        about = measured(path, image, digest, self._options(path.parent))
        rgb = on_white(image)
        frame = None
        if rules is not None:
            fit = rules.fit(*image.size)
            corner = focal_corner(rgb, fit) if fit.place is None else fit.corner(*image.size)
            frame = frame_of(fit, *image.size, corner)
        return SeenImage(stamp, about, frame), _jpeg(rgb)


def _jpeg(rgb: Image.Image) -> bytes:
    small = rgb.copy() if max(rgb.size) <= SIDE else rgb
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
