"""Which names an embedding may have: legal as a file name on Windows and Linux, and kept as it is by the WebUI."""

from __future__ import annotations

from collections.abc import Iterator

from tinv_ext.core.messages import Message, message
from tinv_ext.core.suffixes import EMBEDDING_SUFFIXES, PREVIEW

RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "0123456789¹²³"]
)
"""Device names of Windows, which are reserved with any suffix behind them as well ("aux.pt")."""

MAX_CHARACTERS = 100
MAX_BYTES = 200
"""File systems allow 255 bytes (UTF-8); the rest is for '-100000', '.preview.png', '.pt.optim' and temporary files."""

SUFFIXES = (*EMBEDDING_SUFFIXES, PREVIEW)


def name_problems(name: str) -> list[str]:
    """Everything that keeps `name` from being the name of an embedding; empty when it is good.

    The characters are those that the WebUI keeps when it creates an embedding (v1.10.1 `create_embedding`: letters and
    digits of any script, and "._- "), so a legal name means the same word here, there and in the file's stem.
    """
    if not name.strip():
        return [message("names.empty", "The name is empty. Enter one.")]
    return [*_character_problems(name), *_shape_problems(name)]


def _character_problems(name: str) -> list[Message]:
    bad = sorted({character for character in name if not (character.isalnum() or character in "._- ")})
    if not bad:
        return []
    shown = " ".join(repr(character) if not character.isprintable() else character for character in bad)
    return [
        message(
            "names.bad_characters",
            "The name {name!r} contains characters that a file name or a prompt cannot hold ({characters}). Use "
            'letters, digits, ".", "_", "-" and spaces.',
            name=name,
            characters=shown,
        )
    ]


def _shape_problems(name: str) -> Iterator[Message]:
    if name != name.strip():
        yield message("names.space_around", "The name {name!r} starts or ends with a space. Remove it.", name=name)
    if name.endswith("."):
        yield message(
            "names.dot_at_end",
            "The name {name!r} ends with a dot, which Windows drops from file names. Remove it.",
            name=name,
        )
    if name.startswith("."):
        yield message(
            "names.dot_in_front",
            "The name {name!r} starts with a dot, which hides the file. Start with a letter or a digit.",
            name=name,
        )
    if name.split(".")[0].strip().lower() in RESERVED:
        yield message(
            "names.reserved",
            'The name {name!r} is reserved by Windows for a device. Choose another, such as "my-{name}".',
            name=name,
        )
    if name.lower().endswith(SUFFIXES):
        yield message(
            "names.suffix",
            "The name {name!r} ends like a file name. Enter the name alone; the suffix is added.",
            name=name,
        )
    if len(name) > MAX_CHARACTERS or len(name.encode("utf-8", "replace")) > MAX_BYTES:
        yield message(
            "names.too_long",
            "The name {name!r}… is too long ({length} characters). Use at most {most} characters, or {bytes} bytes in "
            "UTF-8.",
            name=name[:20],
            length=len(name),
            most=MAX_CHARACTERS,
            bytes=MAX_BYTES,
        )
