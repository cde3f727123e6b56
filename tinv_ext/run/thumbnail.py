"""The thumbnail of an embedding: `<name>.preview.png` beside the file, as the WebUI's extra networks tab shows it.

v1.10.1 `modules/ui_extra_networks.py`, `find_preview`: the first there is of <name>.png, <name>.preview.png, and those
with .jpg, .jpeg or .webp in place of .png.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tinv_ext.core.formats.image_read import IMAGE_ERRORS
from tinv_ext.run.run_folder import write_image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MARK = "tinv card"
"""The PNG text by which a thumbnail that was generated here is known from a person's own."""


def thumbnail_path(file: Path) -> Path:
    """Where the thumbnail of the embedding `file` is written."""
    return file.with_name(f"{file.stem}.preview.png")


def own_thumbnails(file: Path) -> list[Path]:
    """The images that the WebUI would show for the embedding `file` and that were not generated here."""
    names = [f"{file.stem}{middle}{suffix}" for suffix in SUFFIXES for middle in ("", ".preview")]
    there = [file.with_name(name) for name in names]
    return [path for path in there if path.is_file() and path != file and not _generated_here(path)]


def write_thumbnail(source: Path, file: Path) -> Path:
    """Write `source`, a preview with its generation parameters, as the thumbnail of the embedding `file`."""
    with Image.open(source) as image:
        texts = {key: str(value) for key, value in getattr(image, "text", {}).items()}
        write_image(image.convert("RGB"), thumbnail_path(file), {**texts, MARK: source.name})
    return thumbnail_path(file)


def _generated_here(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return MARK in getattr(image, "text", {})
    except IMAGE_ERRORS:
        return False  # whatever it is, it is not ours
