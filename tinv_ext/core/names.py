"""Which names an embedding may have: legal as a file name on Windows and Linux, and kept as it is by the WebUI."""

from __future__ import annotations

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
    """Everything that keeps `name` from being an embedding's name, as sentences; empty when it is good.

    The characters are those that the WebUI keeps when it creates an embedding (v1.10.1 `create_embedding`: letters and
    digits of any script, and "._- "), so a legal name means the same word here, there and in the file's stem.
    """
    if not name.strip():
        return ["The name is empty: give the embedding a name, which will be the word that calls it up."]
    return [*_character_problems(name), *_shape_problems(name)]


def _character_problems(name: str) -> list[str]:
    bad = sorted({character for character in name if not (character.isalnum() or character in "._- ")})
    if not bad:
        return []
    shown = " ".join(repr(character) if not character.isprintable() else character for character in bad)
    return [
        f"The name {name!r} has characters that file names or prompts cannot hold ({shown}): use letters, "
        "digits, '.', '_', '-' or spaces."
    ]


def _shape_problems(name: str) -> list[str]:
    problems = []
    if name != name.strip():
        problems.append(f"The name {name!r} begins or ends with a space: leave it away.")
    if name.endswith("."):
        problems.append(f"The name {name!r} ends with a dot, which Windows drops from file names: leave it away.")
    if name.startswith("."):
        problems.append(f"The name {name!r} begins with a dot, which hides the file: begin with a letter or a digit.")
    if name.split(".")[0].strip().lower() in RESERVED:
        problems.append(f"The name {name!r} is reserved by Windows for a device: choose another, such as 'my-{name}'.")
    if name.lower().endswith(SUFFIXES):
        problems.append(f"The name {name!r} ends like a file's suffix: give the name only, the suffix is added.")
    if len(name) > MAX_CHARACTERS or len(name.encode("utf-8", "replace")) > MAX_BYTES:
        problems.append(
            f"The name {name[:20]!r}… is too long ({len(name)} characters): use at most {MAX_CHARACTERS} characters, "
            f"{MAX_BYTES} bytes as UTF-8."
        )
    return problems
