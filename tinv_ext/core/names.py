"""Which names an embedding may have: whatever a file name on Windows and Linux and a prompt can hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

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

_NOT_IN_FILES = frozenset('<>:"/\\|?*%') | frozenset("\u2044\u2215\u29f8\u29f9\ufe68\uff0f\uff3c")
"""What Windows forbids in file names or takes for a variable, and what looks like a slash."""

_NOT_IN_PROMPTS = frozenset("()[]{}#,\uff0c\u3001")
"""Emphasis, editing, comments (v1.10.1 `prompt_parser.py`, prompt-comments-min), and what parts tags."""

_JOINERS = "\u200c\u200d"
"""Letters are joined or kept apart with them in Persian, in scripts of India and in emoji."""

_KEYWORDS = re.compile(r"\b(AND|BREAK)\b")
_TOKEN = re.compile(r"<(.+)>")


def name_problems(name: str) -> list[str]:
    """Everything that keeps `name` from being the name of an embedding; empty when it is good.

    Letters with their marks, digits, signs and emoji of every script; no character that is invisible, that file systems
    refuse, or that means something else in a prompt. The WebUI loads an embedding by the file's stem, whatever it is.
    """
    if not name.strip():
        return [message("names.empty", "The name is empty. Enter one.")]
    return [*_character_problems(name), *_shape_problems(name)]


def bare_name(token: str) -> str:
    """A token of diffusers' users, "<cat-toy>", as a file can be called: "cat-toy"; any other text as it is."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match and not name_problems(match[1]) else token


def word_problems(name: str, ids: Sequence[int]) -> list[Message]:
    """Why a model whose tokenizer gives `ids` for the name cannot learn it as a new word."""
    if not ids:
        return [
            message(
                "preflight.name_without_tokens",
                'The name "{name}" contains nothing that the model can read. Use letters or digits.',
                name=name,
            )
        ]
    if len(ids) > 1:
        return []
    return [
        message(
            "preflight.name_is_a_token",
            '"{name}" is a word that the model already knows (token {token}). Choose one that it does not know, such '
            'as "{name}-1".',
            name=name,
            token=ids[0],
        )
    ]


def _is_legal(name: str, index: int) -> bool:
    """Whether the character at a place can be in a name: seen, or a mark or joiner that belongs to one that is."""
    character = name[index]
    if character in _JOINERS:  # between letters of scripts that need them; elsewhere it only hides
        return not (name[index - 1 : index] or "a").isascii() and not (name[index + 1 : index + 2] or "a").isascii()
    seen = character.isprintable() or unicodedata.category(character) in ("Mn", "Mc")
    return seen and character not in _NOT_IN_FILES and character not in _NOT_IN_PROMPTS


def _character_problems(name: str) -> list[Message]:
    bad = sorted({character for index, character in enumerate(name) if not _is_legal(name, index)})
    if not bad:
        return []
    shown = " ".join(repr(character) if not character.isprintable() else character for character in bad)
    return [
        message(
            "names.bad_characters",
            "The name {name!r} contains characters that a file name or a prompt cannot hold ({characters}). Leave them "
            "out.",
            name=name,
            characters=shown,
        )
    ]


def _shape_problems(name: str) -> Iterator[Message]:
    if keyword := _KEYWORDS.search(name):
        yield message(
            "names.keyword",
            "The name {name!r} contains {keyword}, which parts prompts in the WebUI. Write it in small letters.",
            name=name,
            keyword=keyword[0],
        )
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
