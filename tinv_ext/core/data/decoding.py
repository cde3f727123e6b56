"""Opening an image file: its first frame, upright and in sRGB, whatever lies beside the pixels."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from tinv_ext.core.data.bare_image import bare_image
from tinv_ext.core.data.color_profile import to_srgb
from tinv_ext.core.data.png_colors import png_profile
from tinv_ext.core.messages import Message, message

_ORIENTATION = 0x0112  # EXIF and TIFF tag
_TRANSPOSE: Mapping[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OF_EXIF: tuple[type[Exception], ...] = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError),
    *(SyntaxError, TypeError, ValueError, struct.error),
)
"""What Pillow's readers of EXIF and XMP raise on data that are neither."""
_OTHER_FORMATS = (  # at which byte which bytes are, and the name of what is then only read with a plugin or not at all
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmiaf", b"ftypmsf1"), "HEIC"),
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL"),
)


class Unusable(Exception):
    """Why an image cannot be used."""

    def __init__(self, reason: Message) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class DecodedImage:
    """The first frame, upright and in sRGB; how many frames there are, what `to_srgb` did with the profile, and whether
    Pillow has turned it as it read it."""

    image: Image.Image
    frames: int
    profile: str
    turned: bool = False


def decode(file: BinaryIO) -> DecodedImage:
    """Decode an image file. `Unusable` if its pixels are not whole, too many or in an unknown format.

    Where Pillow stops at something beside the pixels, such as a text chunk that is too long, the pixels are taken from
    a copy without it. EXIF data that cannot be read counts as none.
    """
    try:
        return _decode(file)
    except Unusable as unusable:
        if unusable.reason.id == "images.too_large" or file.closed:  # Pillow may close what it cannot read
            raise
        file.seek(0)
        bare = bare_image(file)
        if bare is None:
            raise
        try:
            return _decode(bare.file, bare.profile, bare.exif)
        except Unusable:
            raise unusable from None


def _decode(file: BinaryIO, profile: bytes | None = None, exif: bytes | None = None) -> DecodedImage:
    """Decode what Pillow can open; a profile and EXIF data may come from elsewhere."""
    try:
        of_chunks = png_profile(file)
        with _WARNINGS, Image.open(file) as image:
            frames = int(getattr(image, "n_frames", 1))
            turn = _turn(image, exif)  # before the load, after which Pillow 9.5 has closed a TIFF of several pages
            turned = turn is not None and image.format == "TIFF"  # by Pillow, as it loads it
            image.load()
            upright = image if turn is None or turned else image.transpose(turn)  # no second copy of a large one
        profile = profile if of_chunks is None else of_chunks
        if profile is None and "icc_profile" in image.info:
            profile = image.info["icc_profile"] or b""  # None: Pillow saw one that is damaged
        upright, state = to_srgb(upright, profile)
        return DecodedImage(upright, frames, state, turned)
    except UnidentifiedImageError:
        raise Unusable(unknown_format(file)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise Unusable(
            message("images.too_large", "has more than {most} million pixels; save it at a smaller size", most=most)
        ) from None
    except Exception as error:  # of a damaged file Pillow's decoders raise whatever their parsers do
        raise Unusable(message("images.damaged", "is damaged or cut short ({reason})", reason=str(error))) from error


class _Warnings:
    """While entered, warnings on what lies beside the pixels are not shown, and that on too many pixels is an error.

    Python's filters are those of the process: of several threads the first one sets them, and the last restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._filters.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore", UserWarning)
                warnings.simplefilter("error", Image.DecompressionBombWarning)
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._filters.close()


_WARNINGS = _Warnings()


def _turn(image: Image.Image, exif: bytes | None) -> Image.Transpose | None:
    """How to turn an image upright, by its EXIF data; None where they cannot be read or say nothing."""
    try:
        if exif is None:
            return _TRANSPOSE.get(image.getexif().get(_ORIENTATION))
        tags = Image.Exif()
        tags.load(exif)
        return _TRANSPOSE.get(tags.get(_ORIENTATION))
    except _OF_EXIF:
        return None


def unknown_format(file: BinaryIO) -> Message:
    """Why a file is no image that can be read; names formats that this Pillow lacks."""
    file.seek(0)
    head = file.read(32)
    for start, signatures, name in _OTHER_FORMATS:
        if head[start:].startswith(signatures):
            return message(
                "images.unread_format",
                "is in the format {format}, which the installed Pillow cannot read; save it as PNG or JPEG",
                format=name,
            )
    return message("images.not_an_image", "is not an image that Pillow can read")
