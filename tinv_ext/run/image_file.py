"""An image written in the format that the name of its file says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from tinv_ext.core.atomic import atomic_write
from tinv_ext.run.run_folder import write_image

IMAGE_FORMATS: Mapping[str, str] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", "": "PNG"}
"""Pillow's format for each suffix, in small letters; without one it is a PNG."""
_QUALITY = 95
_EXIF, _USER_COMMENT = 0x8769, 0x9286  # the Exif folder in TIFF's, and the comment in it (Exif 2.32, 4.6.5)


def write_image_file(image: Image.Image, path: Path, parameters: str) -> None:
    """Write an image with the parameters that it was generated with, whole or not at all.

    In a PNG they are the text chunk "parameters", else the user comment of its Exif, where WebUIs look for them too.
    """
    kind = IMAGE_FORMATS[path.suffix.lower()]
    if kind == "PNG":
        write_image(image, path, {"parameters": parameters})
        return
    exif = Image.Exif()
    exif[_EXIF] = {_USER_COMMENT: b"UNICODE\0" + parameters.encode("utf-16-be")}  # get_ifd() is a copy in Pillow 9
    with atomic_write(path) as file:
        image.convert("RGB").save(file, kind, quality=_QUALITY, exif=exif)
